/* A backup as a file from anywhere: RESTORE, --check FILE and --export survive it, and neither of the
 * others takes what --check calls damaged. */
#include "input.h"
#include "pair.h"
#include "repair.h"

#include "kv/backup.h"
#include "kv/segment.h"

#include "check.h"
#include "exchange.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define RAW       1u /* checksums stay as they are */
#define POSITIONS 2u /* marks' positions are made right, too */
#define PLAIN     4u /* the whole file at once, as --check and --export read it */

/* The journal's ring, and a value of --max-value while it is gathered. */
#define MEMORY_BYTES (4u << 20)

/* In pieces, what is left of one waiting for the next, as in a session. True when it was whole. */
static bool restore(struct fuzz_input in)
{
    struct pair p;
    struct buffer pending;
    pair_open(&p, 1);
    pair_start(&p, 0);
    fuzz_limit(&p.heap, MEMORY_BYTES);
    buffer_init(&pending, &p.heap.heap);
    struct backup *b = restore_new(p.nodes[0].node);
    CHECK(b != NULL);
    bool ended = false;
    while (b->state == BACKUP_RESTORING && !ended) {
        size_t size;
        ended = in.rest.size == 0;
        uint8_t *piece = fuzz_piece(&in, &size);
        buffer_append(&pending, bytes_of(piece, size));
        free(piece);
        do {
            restore_resume(b);
            buffer_consume(&pending, restore_read(b, p.now, buffer_bytes(&pending), ended));
        } while (b->state == BACKUP_RESTORING && restore_is_paused(b));
    }
    CHECK(b->state == BACKUP_COMPLETE || (b->state == BACKUP_FAILED && b->reason[0] != 0));
    bool complete = b->state == BACKUP_COMPLETE;
    CHECK(store_live_count(p.nodes[0].node->store) <= b->written);
    backup_free(b);
    buffer_close(&pending);
    pair_close(&p);
    return complete;
}

static bool check(struct bytes bytes)
{
    char path[FUZZ_PATH_BYTES];
    int fd = fuzz_file(bytes, path);
    int status = check_file(path);
    CHECK(status >= CHECK_CLEAN && status <= CHECK_UNREADABLE);
    close(fd);
    return status == CHECK_CLEAN;
}

/* --check reads the vectors of marks, which the others have no use for. */
static bool vectors_are_sound(struct bytes from)
{
    struct heap heap = heap_of_c_library();
    struct vector v;
    struct segment_entry e;
    bool sound = true;
    vector_init(&v, &heap);
    for (int64_t size = SEGMENT_HEADER_BYTES; size > 0 && sound && (uint64_t)size <= from.size;) {
        from = bytes_after(from, (size_t)size);
        size = segment_entry_decode(&e, from);
        if (size > 0 && e.kind == ENTRY_MARK)
            sound = mark_vectors(&e.mark, &v, &v) == 0;
    }
    vector_close(&v);
    return sound;
}

static bool export(struct bytes bytes)
{
    char *lines = NULL, *messages = NULL;
    size_t lines_bytes, messages_bytes;
    FILE *in = fmemopen((void *)(uintptr_t)bytes.data, bytes.size, "r");
    FILE *out = open_memstream(&lines, &lines_bytes);
    FILE *said = open_memstream(&messages, &messages_bytes);
    CHECK(in != NULL && out != NULL && said != NULL);
    int status = exchange_export(in, out, said);
    fclose(in);
    fclose(out);
    fclose(said);
    CHECK((status == 0) == (messages_bytes == 0));
    CHECK(lines_bytes == 0 || status != 0 || lines[lines_bytes - 1] == '\n');
    free(lines);
    free(messages);
    return status == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in;
    if (!fuzz_input_begin(&in, data, size) || in.rest.size == 0)
        return 0;
    struct bytes given = in.rest;
    uint8_t *copy = fuzz_copy(given);
    if ((in.choices & RAW) == 0)
        repair_file(copy, given.size, (in.choices & POSITIONS) != 0);
    in.rest = bytes_of(copy, given.size);
    if ((in.choices & PLAIN) != 0) {
        bool exported = export(in.rest), clean = check(in.rest);
        CHECK(clean || !exported || !vectors_are_sound(in.rest));
    } else if (restore(in)) {
        CHECK(check(in.rest) || !vectors_are_sound(in.rest));
    }
    free(copy);
    return 0;
}
