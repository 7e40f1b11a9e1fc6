/* Forgetting: a member that stays away holds up no deletes any longer, and is one again when it
 * returns; by FORGET, by time, and by hearsay. */
#include "pair.h"
#include "peer.h"
#include "records.h"
#include "unit.h"

#define FORGET_AFTER_MS 12000u

static int set_up(void **state)
{
    struct pair *p = calloc(1, sizeof *p);
    pair_open(p, 3);
    *state = p;
    return 0;
}

static int tear_down(void **state)
{
    struct pair *p = *state;
    pair_close(p);
    free(p);
    return 0;
}

static void start_meshed(struct pair *p)
{
    pair_start_all(p);
    pair_run(p, 3000);
    assert_true(pair_is_meshed(p));
}

static struct member *member(struct pair *p, uint32_t node, const char *name)
{
    return members_find(&p->nodes[node].node->members, bytes_text(name));
}

static bool forgotten(struct pair *p, uint32_t node, const char *name)
{
    return member(p, node, name)->forgotten_ms != 0;
}

static bool peers_tell(struct pair *p, uint32_t node, const char *text)
{
    return strstr(pair_command(p, node, "PEERS"), text) != NULL;
}

static uint64_t tombstones(struct pair *p, uint32_t node)
{
    return store_tombstone_count(p->nodes[node].node->store);
}

/* --- the command --------------------------------------------------------------------------- */

static void command_forget_refuses_whom_it_does_not_know(void **state)
{
    struct pair *p = *state;
    char line[512] = "FORGET ";
    pair_start(p, 0);
    assert_string_equal(pair_command(p, 0, "FORGET nobody"),
                        "ERROR no member 'nobody'; PEERS lists them");
    memset(line + 7, 'x', 400);
    const char *reply = pair_command(p, 0, line);
    assert_non_null(strstr(reply, "ERROR no member 'xxxx"));
    assert_true(strlen(reply) < 120);
}

static void command_forget_refuses_who_is_linked(void **state)
{
    struct pair *p = *state;
    start_meshed(p);
    assert_string_equal(pair_command(p, 0, "FORGET b"),
                        "ERROR member 'b' is linked; only one that is gone can be forgotten");
    /* In one direction is enough. */
    struct member *b = members_find(&p->nodes[0].node->members, bytes_text("b"));
    struct link *sender = b->sender;
    b->sender = NULL;
    assert_non_null(b->receiver);
    assert_string_equal(pair_command(p, 0, "FORGET b"),
                        "ERROR member 'b' is linked; only one that is gone can be forgotten");
    b->sender = sender;
    assert_false(forgotten(p, 0, "b"));
}

static void command_forget_forgets_who_is_gone_everywhere(void **state)
{
    struct pair *p = *state;
    start_meshed(p);
    pair_command(p, 0, "SET k v");
    pair_run(p, 1000);
    pair_stop(p, 2);
    pair_run(p, 1000);
    pair_command(p, 1, "DEL k");
    pair_run(p, 20000);
    assert_int_equal(tombstones(p, 0), 1);
    assert_true(peers_tell(p, 0, "name=c address=10.0.0.3:8080 state=down"));
    assert_string_equal(pair_command(p, 0, "FORGET c"), "OK");
    uint64_t when = member(p, 0, "c")->forgotten_ms;
    assert_true(when == p->now.wall_ms);
    pair_run(p, 2000);
    assert_true(forgotten(p, 0, "c") && forgotten(p, 1, "c"));
    assert_true(member(p, 1, "c")->forgotten_ms == when); /* the time goes round with it */
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(tombstones(p, i), 0);
        assert_true(peers_tell(p, i, "name=c address=10.0.0.3:8080 state=forgotten"));
        assert_int_equal(pair_info(p, i, "members_forgotten"), 1);
        assert_int_equal(pair_info(p, i, "peers_expected"), 1);
    }
    assert_string_equal(pair_command(p, 0, "FORGET c"), "OK");
    assert_true(member(p, 0, "c")->forgotten_ms == when);
}

static void command_forget_takes_an_address_that_was_never_met(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    pair_start(p, 1);
    pair_run(p, 3000);
    pair_command(p, 0, "SET k v\nDEL k");
    pair_run(p, 20000);
    assert_int_equal(tombstones(p, 0), 1);
    assert_string_equal(pair_command(p, 0, "FORGET 10.0.0.3:8080"), "OK");
    assert_true(peers_tell(p, 0, "name=? address=10.0.0.3:8080 state=forgotten"));
    pair_run(p, 2000);
    assert_int_equal(tombstones(p, 0), 0);
    assert_int_equal(tombstones(p, 1), 1); /* an address is a node's own affair */
    pair_start(p, 2);
    pair_run(p, 12000);
    assert_true(pair_is_meshed(p));
    assert_int_equal(pair_info(p, 0, "peers_expected"), 2);
}

/* --- returning ----------------------------------------------------------------------------- */

static void
node_lets_a_forgotten_member_return_with_its_writes_but_not_with_deleted_keys(void **state)
{
    struct pair *p = *state;
    char keys[2][16], deleted[32], kept[32], line[64];
    records_keys_of_partition(7, keys, 2); /* so that what is kept is in the list */
    snprintf(deleted, sizeof deleted, "GET %s", keys[0]);
    snprintf(kept, sizeof kept, "GET %s", keys[1]);
    start_meshed(p);
    snprintf(line, sizeof line, "SET %s v\nSET %s v", keys[0], keys[1]);
    pair_command(p, 0, line);
    pair_run(p, 1000);
    pair_cut(p, 0, 2);
    pair_cut(p, 1, 2);
    pair_run(p, 8000);
    snprintf(line, sizeof line, "DEL %s", keys[0]);
    pair_command(p, 0, line);
    assert_string_equal(pair_command(p, 2, "SET own v"), "OK");
    assert_string_equal(pair_command(p, 1, "FORGET c"), "OK");
    pair_run(p, 10000);
    assert_int_equal(tombstones(p, 0) + tombstones(p, 1), 0);
    assert_string_equal(pair_command(p, 2, deleted), "v");
    pair_heal(p, 0, 2);
    pair_heal(p, 1, 2);
    pair_run(p, 15000);
    assert_true(pair_is_meshed(p));
    assert_true(pair_is_equal(p));
    for (uint32_t i = 0; i < 3; i++) {
        assert_string_equal(pair_command(p, i, deleted), "NOT_FOUND");
        assert_string_equal(pair_command(p, i, "GET own"), "v");
        assert_string_equal(pair_command(p, i, kept), "v");
        assert_int_equal(p->nodes[i].node->counters.divergence_repaired, 0);
        assert_int_equal(pair_info(p, i, "members_forgotten"), 0);
    }
    assert_true(p->nodes[2].node->counters.comparisons_received > 0);
    /* It counts again: what it has not confirmed stays. */
    pair_cut(p, 0, 2);
    pair_cut(p, 1, 2);
    snprintf(line, sizeof line, "DEL %s", keys[1]);
    pair_command(p, 0, line);
    pair_run(p, 20000);
    assert_int_equal(tombstones(p, 0), 1);
}

/* --- by time ------------------------------------------------------------------------------- */

static void node_forgets_who_is_away_for_too_long_and_nobody_sooner(void **state)
{
    struct pair *p = *state;
    for (uint32_t i = 0; i < 3; i++)
        p->nodes[i].config.forget_after_ms = FORGET_AFTER_MS;
    start_meshed(p);
    pair_run(p, 2 * FORGET_AFTER_MS); /* who is there is not forgotten */
    assert_false(forgotten(p, 0, "b") || forgotten(p, 0, "c"));
    pair_stop(p, 2);
    pair_run(p, FORGET_AFTER_MS - 500);
    assert_false(forgotten(p, 0, "c"));
    pair_start(p, 2); /* an absence that ends begins anew the next time */
    pair_run(p, 8000);
    pair_stop(p, 2);
    pair_run(p, FORGET_AFTER_MS - 500);
    assert_false(forgotten(p, 0, "c"));
    pair_run(p, 1000);
    assert_true(forgotten(p, 0, "c") && forgotten(p, 1, "c"));
}

static void node_forgets_an_address_that_nobody_answers_at(void **state)
{
    struct pair *p = *state;
    p->nodes[0].config.forget_after_ms = FORGET_AFTER_MS;
    pair_start(p, 0);
    pair_start(p, 1);
    pair_run(p, FORGET_AFTER_MS - 500);
    assert_int_equal(pair_info(p, 0, "peers_expected"), 2);
    pair_run(p, 1000);
    assert_int_equal(pair_info(p, 0, "peers_expected"), 1);
    assert_false(forgotten(p, 0, "b"));
}

static void node_forgets_nobody_when_no_time_is_given(void **state)
{
    struct pair *p = *state;
    start_meshed(p);
    pair_stop(p, 2);
    p->now.mono_ms += UINT64_C(366) * 24 * 3600 * 1000;
    pair_run(p, 8000);
    assert_false(forgotten(p, 0, "c"));
}

/* --- hearsay ------------------------------------------------------------------------------- */

static void link_listens_to_who_has_forgotten_somebody_it_has_not_met_since(void **state)
{
    struct pair *p = *state;
    struct peer x;
    p->nodes[0].peers = 2;
    p->nodes[1].peers = 1;
    pair_start(p, 0);
    pair_start(p, 1);
    pair_run(p, 3000);
    struct node *n = p->nodes[0].node;
    peer_open(&x, n, p->now, LINK_RECEIVER);
    peer_hello(&x, NULL, 0);
    peer_members_forgotten(&x, "b", p->now.wall_ms + 1); /* which is linked here */
    assert_false(forgotten(p, 0, "b"));
    pair_stop(p, 1);
    pair_run(p, 1000);
    x.now = p->now;
    uint64_t met = member(p, 0, "b")->contact_wall_ms;
    peer_members_forgotten(&x, "b", met);
    assert_false(forgotten(p, 0, "b"));
    uint64_t generation = n->members.generation;
    peer_members_forgotten(&x, "b", met + 1);
    assert_true(member(p, 0, "b")->forgotten_ms == met + 1);
    assert_true(n->members.generation > generation); /* it is passed on */
    peer_members_forgotten(&x, "a", met + 1); /* itself */
    peer_members_forgotten(&x, "nobody", met + 1);
    assert_null(members_find(&n->members, bytes_text("nobody")));
    assert_null(members_find(&n->members, bytes_text("a")));
    assert_int_not_equal(x.link.state, LINK_CLOSED);
    peer_close(&x);
}

/* Who was told of a member that had been forgotten by then does not call it back by that. */
static void link_does_not_call_back_by_hearsay_who_was_forgotten(void **state)
{
    struct pair *p = *state;
    struct peer x;
    start_meshed(p);
    pair_stop(p, 2);
    pair_run(p, 1000);
    assert_string_equal(pair_command(p, 0, "FORGET c"), "OK");
    peer_open(&x, p->nodes[0].node, p->now, LINK_RECEIVER);
    peer_hello(&x, NULL, 0);
    peer_members(&x, "c", "10.0.0.3", 8080);
    assert_true(forgotten(p, 0, "c"));
    peer_close(&x);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(command_forget_refuses_whom_it_does_not_know),
        TEST(command_forget_refuses_who_is_linked),
        TEST(command_forget_forgets_who_is_gone_everywhere),
        TEST(command_forget_takes_an_address_that_was_never_met),
        TEST(node_lets_a_forgotten_member_return_with_its_writes_but_not_with_deleted_keys),
        TEST(node_forgets_who_is_away_for_too_long_and_nobody_sooner),
        TEST(node_forgets_an_address_that_nobody_answers_at),
        TEST(node_forgets_nobody_when_no_time_is_given),
        TEST(link_listens_to_who_has_forgotten_somebody_it_has_not_met_since),
        TEST(link_does_not_call_back_by_hearsay_who_was_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
