/* Random records, and comparing what stores hold. */
#include "records.h"

#include "unit.h"

#include "kv/check.h"

static const char POOL[] =
    "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ,.-;:_#+*~<>|!$%&/()=?`^"
    "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ,.-;:_#+*~<>|!$%&/()=?`^"
    "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";

static const char *const KEYS[RECORDS_KEYS_MAX] = {
    "a",    "bb",      "ccc",     "dddd",     "eeeee",    "key with spaces", "0",  "1",
    "user", "user:10", "user:11", "\x01\xff", "\"quoted", "long-long-long",  "zz", "z"};

struct bytes records_key(uint32_t i)
{
    return bytes_text(KEYS[i]);
}

struct record records_random(struct random *r, const struct records_space *space)
{
    struct record rec = {.key = records_key((uint32_t)random_below(r, space->keys)),
                         .stamp = 1 + random_below(r, space->stamps),
                         .origin = 1 + random_below(r, space->origins)};
    if (random_below(r, 4) == 0) {
        rec.tombstone = true;
        return rec;
    }
    rec.value = bytes_of(POOL + random_below(r, 4), random_below(r, space->value_bytes + 1));
    if (random_below(r, 3) == 0)
        rec.expires_ms = 1 + random_below(r, 3) * 1000;
    return rec;
}

bool records_equal(const struct record *a, const struct record *b)
{
    return bytes_equal(a->key, b->key) && record_compare(a, b) == 0;
}

void records_keys_of_partition(uint32_t partition, char (*keys)[16], uint32_t count)
{
    uint32_t found = 0;
    for (uint32_t i = 0; found < count; i++) {
        snprintf(keys[found], sizeof keys[found], "p%u", i);
        found += store_partition(bytes_text(keys[found])) == partition;
    }
}

void records_model_merge(struct records_model *m, const struct record *rec)
{
    uint32_t i = 0;
    while (!bytes_equal(rec->key, records_key(i)))
        i++;
    if (!m->present[i] || record_compare(rec, &m->best[i]) > 0)
        m->best[i] = *rec;
    m->present[i] = true;
}

/* Whether b holds every record of a. */
static bool holds_all(struct store *a, struct store *b, uint64_t *count)
{
    struct record rec, found;
    bool all = true;
    for (uint32_t p = 0; p < STORE_PARTITIONS; p++) {
        struct store_cursor c;
        store_cursor_open(&c, a, p);
        while (store_cursor_next(&c, &rec)) {
            ++*count;
            all = all && store_find(b, rec.key, &found) && records_equal(&rec, &found);
        }
        store_cursor_close(&c);
    }
    return all;
}

bool records_same_store(struct store *a, struct store *b)
{
    uint64_t in_a = 0, in_b = 0;
    return holds_all(a, b, &in_a) && holds_all(b, a, &in_b) && in_a == in_b &&
           in_a == store_live_count(a) + store_tombstone_count(a) &&
           store_live_count(a) == store_live_count(b) && store_digest(a) == store_digest(b);
}

bool records_same_as_model(struct store *s, const struct records_model *m)
{
    uint64_t live = 0, tombstones = 0;
    for (uint32_t i = 0; i < RECORDS_KEYS_MAX; i++) {
        struct record found;
        if (store_find(s, records_key(i), &found) != m->present[i])
            return false;
        if (!m->present[i])
            continue;
        if (!records_equal(&found, &m->best[i]))
            return false;
        live += !found.tombstone;
        tombstones += found.tombstone;
    }
    return store_live_count(s) == live && store_tombstone_count(s) == tombstones;
}

void records_copy_store(struct store *into, struct store *from)
{
    struct record rec;
    for (uint32_t p = 0; p < STORE_PARTITIONS; p++) {
        struct store_cursor c;
        store_cursor_open(&c, from, p);
        while (store_cursor_next(&c, &rec))
            CHECK(store_merge(into, &rec, false) == STORE_MERGED);
        store_cursor_close(&c);
    }
}
