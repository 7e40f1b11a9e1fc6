/* The node and its members: who has confirmed what, who is behind and by how much; and a node for
 * which there is no memory. */
#include "pair.h"
#include "unit.h"

static int set_up(void **state)
{
    struct pair *p = calloc(1, sizeof *p);
    if (p == NULL)
        return 1;
    pair_open(p, 1);
    pair_start(p, 0);
    *state = p;
    return 0;
}

static int tear_down(void **state)
{
    pair_close(*state);
    free(*state);
    return 0;
}

static struct node *node_of(struct pair *p)
{
    return p->nodes[0].node;
}

static struct record record_of(const char *key, const char *value)
{
    return (struct record){.key = bytes_text(key), .value = bytes_text(value)};
}

static void node_new_without_memory_gives_back_everything(void **state)
{
    struct pair *p = *state;
    for (uint64_t n = 1;; n++) {
        struct failing_heap heap;
        failing_heap_init(&heap);
        failing_heap_arm(&heap, n);
        struct node *node = node_new(&node_of(p)->config, &heap.heap, p->now);
        bool failed = failing_heap_disarm(&heap);
        assert_int_equal(node == NULL, failed);
        if (node != NULL)
            node_free(node);
        assert_int_equal(heap.live, 0);
        if (!failed) {
            assert_true(n > 4);
            return;
        }
    }
}

static void node_receive_discards_what_was_here_and_is_gone(void **state)
{
    struct pair *p = *state;
    struct node *n = node_of(p);
    struct record found, rec = record_of("k", "v");
    rec.origin = 7;
    rec.stamp = 1000;
    assert_int_equal(vector_advance(&n->vector, 7, 1000), 0);
    assert_int_equal(node_receive(n, &rec), 0);
    assert_false(store_find(n->store, rec.key, &found));
    rec.stamp = 1001;
    assert_int_equal(node_receive(n, &rec), 0);
    assert_true(store_find(n->store, rec.key, &found));
}

static void confirmations_count_members_whose_vector_covers_the_stamp(void **state)
{
    struct pair *p = *state;
    struct node *n = node_of(p);
    struct member *a = members_add(&n->members, bytes_text("x"));
    struct member *b = members_add(&n->members, bytes_text("y"));
    assert_int_equal(node_confirmations(n, 100), 0);
    assert_int_equal(vector_advance(&a->confirmed, n->config.origin, 100), 0);
    assert_int_equal(vector_advance(&b->confirmed, n->config.origin + 1, 1000), 0);
    assert_int_equal(node_confirmations(n, 100), 1);
    assert_int_equal(node_confirmations(n, 101), 0);
    assert_int_equal(vector_advance(&b->confirmed, n->config.origin, 99), 0);
    assert_int_equal(node_confirmations(n, 100), 1);
    assert_int_equal(node_confirmations(n, 99), 2);
}

static void before_any_write_whoever_is_linked_confirms(void **state)
{
    struct pair *p = *state;
    struct node *n = node_of(p);
    struct link some_link = {.state = LINK_CLOSED};
    struct member *m = members_add(&n->members, bytes_text("x"));
    assert_int_equal(node_confirmations(n, 0), 0);
    m->sender = &some_link;
    assert_int_equal(node_confirmations(n, 0), 1);
    m->sender = NULL;
}

static void lag_is_the_age_of_what_was_confirmed_last(void **state)
{
    struct pair *p = *state;
    struct node *n = node_of(p);
    struct member *m = members_add(&n->members, bytes_text("x"));
    struct record rec = record_of("k", "v");
    uint64_t start = p->now.wall_ms;
    p->now.wall_ms = start + 1000;
    assert_int_equal(node_lag_ms(n, m, p->now), 0);
    assert_int_equal(node_write(n, p->now, &rec), 0);
    p->now.wall_ms = start + 3000;
    assert_int_equal(node_lag_ms(n, m, p->now), 3000);
    assert_int_equal(vector_advance(&m->confirmed, n->config.origin, rec.stamp), 0);
    assert_int_equal(node_lag_ms(n, m, p->now), 0);
    assert_int_equal(node_write(n, p->now, &rec), 0);
    p->now.wall_ms = start + 3500;
    assert_int_equal(node_lag_ms(n, m, p->now), 2500);
    p->now.wall_ms = start; /* the clock went back */
    assert_int_equal(node_lag_ms(n, m, p->now), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(node_new_without_memory_gives_back_everything),
        TEST(node_receive_discards_what_was_here_and_is_gone),
        TEST(confirmations_count_members_whose_vector_covers_the_stamp),
        TEST(before_any_write_whoever_is_linked_confirms),
        TEST(lag_is_the_age_of_what_was_confirmed_last),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
