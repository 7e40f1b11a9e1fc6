/* The files of a data directory: whatever they hold, a start survives them within bounded memory, says
 * why when it does not serve; and after a clean one the next is clean and finds the same. --check changes
 * nothing.
 *
 * The input is files, one behind another:
 *
 *     offset  bytes
 *          0      1  number, 0 … 63; + 64: a snapshot; + 128: filled up with zeros to a segment's size
 *          1      2  size
 *          3      …  its bytes, cut off where the input ends */
#include "input.h"
#include "repair.h"
#include "stored.h"

#include <stdio.h>
#include <stdlib.h>

#define RAW          1u /* checksums stay as they are */
#define POSITIONS    2u /* marks' positions are made right, too */
#define READ_ONLY    4u
#define REPAIRS_TAIL 8u
#define SALVAGES     16u
#define ALONE        32u /* no peers are expected */

#define FILE_PREFIX_BYTES 3u
#define FILES_MAX         8u

/* The node's ring and what it reads at once, and some of each again while buffers grow. */
#define MEMORY_BYTES (8u << 20)

static void add_file(struct stored *t, const struct fuzz_input *in, uint8_t what,
                     struct bytes bytes)
{
    char name[DISK_NAME_BYTES];
    bool fills = (what & 128) != 0 && bytes.size < STORAGE_SEGMENT_BYTES_MIN;
    size_t size = fills ? STORAGE_SEGMENT_BYTES_MIN : bytes.size;
    uint8_t *copy = calloc(1, size == 0 ? 1 : size);
    CHECK(copy != NULL);
    if (bytes.size > 0)
        memcpy(copy, bytes.data, bytes.size);
    if ((in->choices & RAW) == 0)
        repair_file(copy, bytes.size, (in->choices & POSITIONS) != 0);
    snprintf(name, sizeof name, "%s-%016x", (what & 64) != 0 ? "snapshot" : "journal", what & 63u);
    if (memory_disk_find(&t->disk, name) == NULL)
        memory_disk_add(&t->disk, name, bytes_of(copy, size));
    free(copy);
}

static void add_files(struct stored *t, const struct fuzz_input *in)
{
    struct bytes rest = in->rest;
    for (uint32_t i = 0; i < FILES_MAX && rest.size >= FILE_PREFIX_BYTES; i++) {
        uint8_t what = rest.data[0];
        size_t size = get_u16(rest.data + 1);
        rest = bytes_after(rest, FILE_PREFIX_BYTES);
        size = size < rest.size ? size : rest.size;
        add_file(t, in, what, bytes_of(rest.data, size));
        rest = bytes_after(rest, size);
    }
}

static int start(struct stored *t)
{
    t->heap.limit_bytes = MEMORY_BYTES;
    int outcome = stored_start(t);
    CHECK(t->node != NULL);
    CHECK(outcome >= 0 || t->storage->reason[0] != 0);
    CHECK(memchr(t->storage->reason, 0, sizeof t->storage->reason) != NULL);
    return outcome;
}

/* Nothing is read anew that was not there before, and nothing is lost. */
static void check_next_start(struct stored *t)
{
    uint64_t digest = store_digest(t->node->store), live = store_live_count(t->node->store);
    bool covered = t->node->vector.count > 0;
    stored_settle(t);
    stored_crash(t, MEMORY_POWER_CUT_LOSES);
    CHECK(start(t) == 0);
    CHECK(!t->storage->recovery.damaged);
    CHECK(store_digest(t->node->store) == digest);
    CHECK(store_live_count(t->node->store) == live);
    CHECK(!covered || t->node->vector.count > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in;
    struct stored t;
    if (!fuzz_input_begin(&in, data, size))
        return 0;
    stored_open(&t, STORAGE_SYNC_ALWAYS);
    t.config.read_only = (in.choices & READ_ONLY) != 0;
    t.config.repair_tail = t.config.read_only && (in.choices & REPAIRS_TAIL) != 0;
    t.config.salvage = !t.config.read_only && (in.choices & SALVAGES) != 0;
    t.config.expects_peers = (in.choices & ALONE) == 0;
    add_files(&t, &in);
    uint64_t steps = t.disk.steps;
    int outcome = start(&t);
    CHECK(!t.config.read_only || t.config.repair_tail || t.disk.steps == steps);
    if (outcome == 0 && !t.config.read_only && !t.storage->recovery.damaged)
        check_next_start(&t);
    stored_close(&t);
    fuzz_check_released(&t.heap);
    return 0;
}
