/* The decoders of records, vectors and files' entries: what they accept encodes to the same bytes. */
#include "input.h"
#include "repair.h"

#include "kv/segment.h"

#include <errno.h>
#include <stdlib.h>

enum { RECORD, VECTOR, ENTRY, HEADER, KINDS };
#define RAW          0x80u /* checksums stay as they are */
#define MEMORY_BYTES (1u << 20)

static void decode_record(struct bytes from)
{
    struct record rec;
    int64_t size = record_decode(&rec, from);
    CHECK(size >= -EBADMSG && size <= (int64_t)from.size);
    if (size <= 0)
        return;
    CHECK(record_bytes(&rec) == (size_t)size && record_size_at(from.data) == (size_t)size);
    uint8_t *again = malloc((size_t)size);
    CHECK(again != NULL);
    record_encode(&rec, again);
    CHECK(memcmp(again, from.data, (size_t)size) == 0);
    CHECK(bytes_equal(record_key_at(from.data), rec.key));
    CHECK(record_stamp_at(from.data) == rec.stamp && record_compare(&rec, &rec) == 0);
    free(again);
}

static void decode_vector(struct bytes from, struct heap *heap)
{
    struct vector v;
    struct buffer again;
    vector_init(&v, heap);
    buffer_init(&again, heap);
    int64_t size = vector_decode(&v, from);
    CHECK(size != 0 && size <= (int64_t)from.size);
    if (size > 0) {
        vector_encode(&v, &again);
        CHECK(bytes_equal(buffer_bytes(&again), bytes_of(from.data, (size_t)size)));
        CHECK(vector_covers_vector(&v, &v));
    }
    vector_close(&v);
    buffer_close(&again);
}

static void decode_mark(const struct mark *m, struct bytes entry, struct heap *heap)
{
    struct vector vector, dropped;
    struct buffer again;
    vector_init(&vector, heap);
    vector_init(&dropped, heap);
    buffer_init(&again, heap);
    if (mark_vectors(m, &vector, &dropped) == 0) {
        mark_encode(m, &vector, &dropped, &again);
        CHECK(bytes_equal(buffer_bytes(&again), entry));
    }
    vector_close(&vector);
    vector_close(&dropped);
    buffer_close(&again);
}

static void decode_entries(struct bytes from, struct heap *heap)
{
    struct bytes keys[16];
    struct segment_entry e;
    int64_t size;
    size_t count = segment_keys(from, keys, 16);
    for (size_t i = 0; i < count; i++)
        CHECK(keys[i].data >= from.data && keys[i].data + keys[i].size <= from.data + from.size);
    while ((size = segment_entry_decode(&e, from)) > 0) {
        CHECK(size == segment_entry_claims(from) && (uint64_t)size <= from.size);
        if (e.kind == ENTRY_RECORD)
            decode_record(bytes_of(from.data, (size_t)size));
        else if (e.kind == ENTRY_MARK)
            decode_mark(&e.mark, bytes_of(from.data, (size_t)size), heap);
        from = bytes_after(from, (size_t)size);
    }
    CHECK(size == 0 || size == -EBADMSG);
}

static void decode_header(struct bytes from)
{
    struct segment_header h;
    uint8_t again[SEGMENT_HEADER_BYTES];
    if (segment_header_decode(&h, from) <= 0)
        return;
    CHECK(h.kind >= SEGMENT_JOURNAL && h.kind <= SEGMENT_BACKUP);
    segment_header_encode(&h, again);
    CHECK(memcmp(again, from.data, 48) == 0); /* what follows is kept for later versions */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in;
    struct failing_heap heap;
    if (!fuzz_input_begin(&in, data, size))
        return 0;
    failing_heap_init(&heap);
    fuzz_limit(&heap, MEMORY_BYTES);
    uint8_t *copy = fuzz_copy(in.rest);
    struct bytes from = bytes_of(copy, in.rest.size);
    unsigned kind = (in.choices & 0x7f) % KINDS;
    if ((in.choices & RAW) == 0 && kind == HEADER)
        repair_file(copy, from.size, false);
    else if ((in.choices & RAW) == 0 && kind != VECTOR)
        repair_records(copy, from.size);
    if (kind == RECORD)
        decode_record(from);
    else if (kind == VECTOR)
        decode_vector(from, &heap.heap);
    else if (kind == ENTRY)
        decode_entries(from, &heap.heap);
    else
        decode_header(from);
    free(copy);
    fuzz_check_released(&heap);
    return 0;
}
