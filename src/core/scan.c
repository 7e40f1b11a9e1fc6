/* Steps through the positions of keys. */
#include "kv/scan.h"

#include "kv/hash.h"

/* Positions of one partition. */
#define SPAN (SCAN_POSITIONS / STORE_PARTITIONS)

/* A partition is gone through so many times at most, for a part of its keys each time: small steps in
 * a large store must not take the square of its size. */
#define PASSES_MAX 8u

void scan_keys_init(struct scan_keys *keys, struct heap *heap)
{
    buffer_init(&keys->list, heap);
    keys->bytes = 0;
}

void scan_keys_close(struct scan_keys *keys)
{
    buffer_close(&keys->list);
}

void scan_keys_add(struct scan_keys *keys, struct bytes key)
{
    buffer_append(&keys->list, bytes_of(&key, sizeof key));
    keys->bytes += key.size;
}

uint64_t scan_keys_count(const struct scan_keys *keys)
{
    return buffer_size(&keys->list) / sizeof(struct bytes);
}

struct bytes scan_keys_at(const struct scan_keys *keys, uint64_t index)
{
    struct bytes key;
    memcpy(&key, buffer_bytes(&keys->list).data + index * sizeof key, sizeof key);
    return key;
}

static uint64_t position_of(struct bytes key)
{
    return hash_key(key) >> (64 - SCAN_POSITION_BITS);
}

/* How many positions hold about `count` keys. */
static uint64_t width_for(const struct store *s, uint64_t count)
{
    uint64_t entries = (store_live_count(s) + store_tombstone_count(s)) / STORE_PARTITIONS + 1;
    uint64_t wanted = entries / PASSES_MAX + 1;
    if (wanted < count)
        wanted = count;
    return wanted >= entries ? SPAN : SPAN / entries * wanted;
}

/* What there is from one position to another, both of one partition. */
struct window {
    struct store *store;
    uint64_t wall_ms;
    uint64_t from, to;
    const struct bytes *glob;
    uint64_t visited, looked_at; /* out: these add up */
};

static void visit(struct window *w, struct scan_keys *keys)
{
    struct record rec;
    struct store_cursor cursor;
    bool whole = w->to - w->from == SPAN;
    store_cursor_open(&cursor, w->store, (uint32_t)(w->from / SPAN));
    while (store_cursor_next(&cursor, &rec)) {
        w->looked_at++;
        if (rec.tombstone || record_expired(&rec, w->wall_ms))
            continue;
        uint64_t position = whole ? w->from : position_of(rec.key);
        if (position < w->from || position >= w->to)
            continue;
        w->visited++;
        if (w->glob == NULL || bytes_match_glob(*w->glob, rec.key))
            scan_keys_add(keys, rec.key);
    }
    store_cursor_close(&cursor);
}

uint64_t scan_step(struct store *s, uint64_t wall_ms, uint64_t from, uint64_t count,
                   const struct bytes *glob, struct scan_keys *keys)
{
    struct window w = {.store = s, .wall_ms = wall_ms, .from = from, .glob = glob};
    uint64_t width = width_for(s, count);
    while (w.from < SCAN_POSITIONS && w.visited < count && w.looked_at < SCAN_LOOKS_MAX) {
        uint64_t end = (w.from / SPAN + 1) * SPAN;
        w.to = end - w.from > width ? w.from + width : end;
        visit(&w, keys);
        w.from = w.to;
    }
    return w.from < SCAN_POSITIONS ? w.from : 0;
}
