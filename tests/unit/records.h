/* Records for the tests: random ones over few keys, stamps and origins, so that they meet and tie
 * often; and what a store holds, compared with what it should hold. */
#ifndef RECORDS_H
#define RECORDS_H

#include "kv/random.h"
#include "kv/record.h"
#include "kv/store.h"

#define RECORDS_KEYS_MAX 16u

/* From how much random records are taken. */
struct records_space {
    uint32_t keys; /* at most RECORDS_KEYS_MAX */
    uint32_t stamps, origins;
    uint32_t value_bytes; /* at most 200 */
};

/* Key and value point into constant memory: such records can be copied and kept. */
struct record records_random(struct random *r, const struct records_space *space);

/* Key number i of the above. */
struct bytes records_key(uint32_t i);

/* Every field, key included. */
bool records_equal(const struct record *a, const struct record *b);

/* Keys that all lie in one partition; `count` of them at 16 bytes each, NUL-terminated. */
void records_keys_of_partition(uint32_t partition, char (*keys)[16], uint32_t count);

/* What a store should hold: the greatest record of each key. */
struct records_model {
    struct record best[RECORDS_KEYS_MAX];
    bool present[RECORDS_KEYS_MAX];
};
void records_model_merge(struct records_model *m, const struct record *rec);

/* Whether both hold the very same records, tombstones included. */
bool records_same_store(struct store *a, struct store *b);
bool records_same_as_model(struct store *s, const struct records_model *m);

/* Merges everything that `from` holds into `into`. */
void records_copy_store(struct store *into, struct store *from);

#endif
