/* Partitioned uthash tables behind one merge.
 *
 * An entry is one allocation:
 *
 *     +----------------+-------+--------------+-------------------+-----------+-----+-------+
 *     | UT_hash_handle | stamp | origin index | value size, flags | (expires) | key | value |
 *     +----------------+-------+--------------+-------------------+-----------+-----+-------+
 *             56           8          4                 4               8
 *
 * Origins are few and long, so an entry holds the index of its origin in the store's table. */
#include "kv/store.h"

#include "kv/check.h"
#include "kv/hash.h"
#include "kv/mutation.h"

#include <errno.h>

/* Out of memory must refuse a write and change nothing. The macros below expect a `struct store *s`
 * and a `bool oom` where they are used. */
#define HASH_NONFATAL_OOM          1
#define uthash_nonfatal_oom(entry) (oom = true)
#define uthash_malloc(size)        table_alloc(s, size)
#define uthash_free(pointer, size) table_free(s, pointer, size)
#include "store_internal.h"

#define PARTITION_SHIFT 52
_Static_assert(STORE_PARTITIONS == 1u << (64 - PARTITION_SHIFT), "a partition is 12 bits of hash");

/* malloc's granularity: its pieces are multiples of 16 bytes, of which it keeps 8 itself. A value that
 * changes within that is updated in place. */
#define ENTRY_GRAIN       16u
#define ENTRY_GRAIN_SPARE 8u

/* Entries a bucket, at most; uthash itself lets a table grow only when one chain has ten. More make longer chains, each step of which is a miss of the caches; fewer
 * make more buckets, at 16 bytes each. docs/performance.md has both measured. */
#define TABLE_LOAD_MAX 2.5

#define VALUE_BYTES_MASK 0x3fffffffu
#define FLAG_TOMBSTONE   0x40000000u
#define FLAG_EXPIRES     0x80000000u
_Static_assert(RECORD_VALUE_BYTES_MAX <= VALUE_BYTES_MASK, "a size leaves room for the flags");

/* Where a key is, or would be. */
struct place {
    struct partition *partition;
    uint64_t key_hash;
    unsigned bucket_hash;
    struct entry *entry; /* NULL when absent */
};

static void *table_alloc(struct store *s, size_t size)
{
    void *memory = heap_alloc(s->heap, size);
    if (memory != NULL)
        s->memory += size;
    return memory;
}

static void table_free(struct store *s, void *pointer, size_t size)
{
    s->memory -= size;
    heap_free(s->heap, pointer);
}

struct store *store_new(struct heap *heap, uint64_t hash_seed)
{
    struct store *s = heap_zalloc(heap, sizeof *s);
    if (s == NULL)
        return NULL;
    s->heap = heap;
    s->hash_seed = hash_seed;
    list_init(&s->cursors);
    for (uint32_t p = 0; p < STORE_PARTITIONS; p++)
        s->partitions[p].expires_min = s->partitions[p].tombstone_min = UINT64_MAX;
    return s;
}

/* --- entries ------------------------------------------------------------------------------- */

static size_t value_bytes(const struct entry *e)
{
    return e->size_and_flags & VALUE_BYTES_MASK;
}

static bool has_expiry(const struct entry *e)
{
    return (e->size_and_flags & FLAG_EXPIRES) != 0;
}

static bool is_tombstone(const struct entry *e)
{
    return (e->size_and_flags & FLAG_TOMBSTONE) != 0;
}

static uint8_t *entry_key(struct entry *e)
{
    return e->data + (has_expiry(e) ? RECORD_EXPIRY_BYTES : 0);
}

uint64_t store_entry_bytes(size_t key_bytes, size_t value_size, bool expires)
{
    size_t size =
        offsetof(struct entry, data) + (expires ? RECORD_EXPIRY_BYTES : 0) + key_bytes + value_size;
    return (size + ENTRY_GRAIN_SPARE + ENTRY_GRAIN - 1) / ENTRY_GRAIN * ENTRY_GRAIN -
           ENTRY_GRAIN_SPARE;
}

static size_t bytes_for(const struct record *rec)
{
    return store_entry_bytes(rec->key.size, rec->value.size, rec->expires_ms != 0);
}

static size_t entry_bytes(const struct entry *e)
{
    return store_entry_bytes(e->hh.keylen, value_bytes(e), has_expiry(e));
}

static void entry_record(const struct store *s, struct entry *e, struct record *rec)
{
    uint8_t *key = entry_key(e);
    *rec = (struct record){.key = bytes_of(key, e->hh.keylen),
                           .value = bytes_of(key + e->hh.keylen, value_bytes(e)),
                           .stamp = e->stamp,
                           .origin = s->by_index[e->origin_index]->id,
                           .expires_ms = has_expiry(e) ? get_u64(e->data) : 0,
                           .tombstone = is_tombstone(e)};
}

/* Writes everything but the key. The value may overlap the entry's own. */
static void entry_write(struct entry *e, const struct record *rec, uint32_t origin_index)
{
    e->stamp = rec->stamp;
    e->origin_index = origin_index;
    e->size_and_flags = (uint32_t)rec->value.size | (rec->tombstone ? FLAG_TOMBSTONE : 0) |
                        (rec->expires_ms != 0 ? FLAG_EXPIRES : 0);
    if (rec->value.size > 0)
        memmove(entry_key(e) + rec->key.size, rec->value.data, rec->value.size);
    if (rec->expires_ms != 0)
        put_u64(e->data, rec->expires_ms);
}

/* A new entry outside any table, NULL when out of memory. */
static struct entry *entry_new(struct store *s, const struct record *rec, uint32_t origin_index)
{
    size_t size = bytes_for(rec);
    struct entry *e = table_alloc(s, size);
    if (e == NULL)
        return NULL;
    entry_write(e, rec, origin_index);
    memcpy(entry_key(e), rec->key.data, rec->key.size);
    return e;
}

/* --- origins ------------------------------------------------------------------------------- */

static int intern_origin(struct store *s, uint64_t id, uint32_t *index)
{
    struct origin *o = s->origin_last;
    bool oom = false;
    if (o == NULL || o->id != id)
        HASH_FIND(hh, s->origins, &id, sizeof id, o);
    if (o != NULL) {
        s->origin_last = o;
        *index = o->index;
        return 0;
    }
    if (s->origin_count == s->origin_capacity) {
        uint32_t capacity = s->origin_capacity == 0 ? 16 : s->origin_capacity * 2;
        struct origin **grown =
            heap_resize(s->heap, s->by_index, capacity * sizeof(struct origin *));
        if (grown == NULL)
            return -ENOMEM;
        s->by_index = grown;
        s->origin_capacity = capacity;
    }
    o = heap_alloc(s->heap, sizeof *o);
    if (o == NULL)
        return -ENOMEM;
    o->id = id;
    o->index = s->origin_count;
    uint64_t memory = s->memory;
    HASH_ADD(hh, s->origins, id, sizeof o->id, o);
    s->memory = memory;
    if (oom) {
        heap_free(s->heap, o);
        return -ENOMEM;
    }
    s->by_index[s->origin_count++] = o;
    *index = o->index;
    return 0;
}

/* --- tables -------------------------------------------------------------------------------- */

uint32_t store_partition(struct bytes key)
{
    return (uint32_t)(hash_key(key) >> PARTITION_SHIFT);
}

/* What leads to a table's entries has changed, or may have. */
static void note_table(struct partition *p)
{
    const UT_hash_table *table = p->entries == NULL ? NULL : p->entries->hh.tbl;
    p->buckets = table == NULL ? NULL : table->buckets;
    p->bucket_mask = table == NULL ? 0 : table->num_buckets - 1;
}

static struct place locate(struct store *s, struct bytes key)
{
    struct place at = {.key_hash = hash_key(key),
                       .bucket_hash = (unsigned)hash_seeded(key, s->hash_seed)};
    at.partition = &s->partitions[at.key_hash >> PARTITION_SHIFT];
    if (at.partition->buckets == NULL)
        return at;
    const struct UT_hash_handle *hh =
        at.partition->buckets[at.bucket_hash & at.partition->bucket_mask].hh_head;
    while (hh != NULL && (hh->hashv != at.bucket_hash || hh->keylen != key.size ||
                          memcmp(hh->key, key.data, key.size) != 0))
        hh = hh->hh_next;
    at.entry = hh == NULL ? NULL : container_of(hh, struct entry, hh);
    return at;
}

static uint64_t record_digest(uint64_t key_hash, const struct record *rec)
{
    return hash_mix(key_hash, hash_mix(rec->origin, rec->stamp));
}

static void count_out(struct store *s, const struct place *at, const struct record *rec)
{
    if (rec->tombstone) {
        s->tombstones--;
        s->tombstone_memory -= bytes_for(rec);
    } else {
        s->live--;
        s->expiring -= rec->expires_ms != 0;
        s->live_bytes -= record_bytes(rec);
        at->partition->digest -= record_digest(at->key_hash, rec);
    }
}

static void count_in(struct store *s, const struct place *at, const struct record *rec)
{
    if (rec->tombstone) {
        s->tombstones++;
        s->tombstone_memory += bytes_for(rec);
        if (at->partition->tombstone_min > rec->stamp)
            at->partition->tombstone_min = rec->stamp;
    } else {
        s->live++;
        s->expiring += rec->expires_ms != 0;
        s->live_bytes += record_bytes(rec);
        at->partition->digest += record_digest(at->key_hash, rec);
    }
    if (at->partition->stamp_max < rec->stamp)
        at->partition->stamp_max = rec->stamp;
    if (rec->expires_ms != 0 && rec->expires_ms < at->partition->expires_min)
        at->partition->expires_min = rec->expires_ms;
}

static int table_add(struct store *s, const struct place *at, const struct record *rec,
                     uint32_t origin_index)
{
    bool oom = false;
    struct partition *p = at->partition;
    struct entry *e = entry_new(s, rec, origin_index);
    if (e == NULL)
        return -ENOMEM;
    UT_hash_table *table = p->entries == NULL ? NULL : p->entries->hh.tbl;
    /* (One that takes the place of another makes them no more.) */
    if (table != NULL && at->entry == NULL &&
        table->num_items >= table->num_buckets * TABLE_LOAD_MAX)
        HASH_EXPAND_BUCKETS(hh, table, oom);
    if (!oom)
        HASH_ADD_KEYPTR_BYHASHVALUE(hh, p->entries, entry_key(e), (unsigned)rec->key.size,
                                    at->bucket_hash, e);
    note_table(p);
    if (!oom)
        return 0;
    table_free(s, e, bytes_for(rec));
    return -ENOMEM;
}

static void table_remove(struct store *s, struct partition *p, struct entry *e)
{
    list_for_each (item, &s->cursors) {
        struct store_cursor *c = container_of(item, struct store_cursor, active);
        if (c->next == e)
            c->next = e->hh.next;
    }
    HASH_DELETE(hh, p->entries, e);
    note_table(p);
    table_free(s, e, entry_bytes(e));
}

int store_merge(struct store *s, const struct record *rec, bool covered)
{
    struct place at = locate(s, rec->key);
    struct record old;
    uint32_t origin_index;
    bool gone = at.entry == NULL || (!rec->tombstone && !MUTATED(COVERED_OVER_OLDER));
    if (covered && gone && !MUTATED(NO_ZOMBIE_RULE))
        return STORE_STALE;
    if (at.entry != NULL) {
        entry_record(s, at.entry, &old);
        if (record_compare(rec, &old) <= 0 && !MUTATED(LAST_ARRIVAL_WINS))
            return STORE_STALE;
    }
    int error = intern_origin(s, rec->origin, &origin_index);
    if (error != 0)
        return error;
    if (at.entry != NULL && entry_bytes(at.entry) == bytes_for(rec) &&
        has_expiry(at.entry) == (rec->expires_ms != 0)) {
        uint64_t digest = at.partition->digest;
        count_out(s, &at, &old);
        struct record written = *rec;
        if (MUTATED(VALUE_NOT_COPIED) && old.value.size == rec->value.size)
            written.value = old.value;
        entry_write(at.entry, &written, origin_index);
        if (MUTATED(DIGEST_FORGETS) && !old.tombstone && !rec->tombstone)
            at.partition->digest = digest - record_digest(at.key_hash, rec);
    } else {
        /* The new entry goes in before the old one leaves, so that a failure changes nothing. */
        error = table_add(s, &at, rec, origin_index);
        if (error != 0)
            return error;
        if (at.entry != NULL) {
            count_out(s, &at, &old);
            table_remove(s, at.partition, at.entry);
        }
    }
    /* rec's bytes may have been the old entry's: only its numbers are read from here on. */
    count_in(s, &at, rec);
    return STORE_MERGED;
}

uint64_t store_expiring_count(const struct store *s)
{
    return s->expiring;
}

bool store_find(struct store *s, struct bytes key, struct record *rec)
{
    struct place at = locate(s, key);
    if (at.entry == NULL)
        return false;
    entry_record(s, at.entry, rec);
    return true;
}

bool store_get(struct store *s, struct bytes key, uint64_t wall_ms, struct record *rec)
{
    return store_find(s, key, rec) && !rec->tombstone &&
           (!record_expired(rec, wall_ms) || MUTATED(EXPIRED_IS_READ));
}

void store_drop_tombstone(struct store *s, const struct record *tombstone)
{
    struct record found;
    struct place at = locate(s, tombstone->key);
    if (at.entry == NULL)
        return;
    entry_record(s, at.entry, &found);
    if (!found.tombstone || found.stamp != tombstone->stamp || found.origin != tombstone->origin)
        return;
    count_out(s, &at, &found);
    table_remove(s, at.partition, at.entry);
}

void store_free(struct store *s)
{
    struct origin *o, *next;
    if (s->sweeping)
        store_cursor_close(&s->sweep);
    CHECK(list_is_empty(&s->cursors));
    for (uint32_t p = 0; p < STORE_PARTITIONS; p++) {
        while (s->partitions[p].entries != NULL)
            table_remove(s, &s->partitions[p], s->partitions[p].entries);
    }
    CHECK(s->memory == 0);
    HASH_ITER(hh, s->origins, o, next)
    {
        HASH_DEL(s->origins, o);
        heap_free(s->heap, o);
    }
    heap_free(s->heap, s->by_index);
    heap_free(s->heap, s);
}

/* --- cursors ------------------------------------------------------------------------------ */

void store_cursor_open(struct store_cursor *c, struct store *s, uint32_t partition)
{
    *c = (struct store_cursor){.store = s, .next = s->partitions[partition].entries};
    list_push_back(&s->cursors, &c->active);
}

void store_cursor_close(struct store_cursor *c)
{
    list_remove(&c->active);
}

bool store_cursor_next(struct store_cursor *c, struct record *rec)
{
    if (c->next == NULL)
        return false;
    entry_record(c->store, c->next, rec);
    c->next = c->next->hh.next;
    /* Whatever is done with this record, the caches get the next one meanwhile. */
    __builtin_prefetch(c->next);
    if (c->next != NULL)
        __builtin_prefetch((const uint8_t *)c->next + offsetof(struct entry, data));
    return true;
}
