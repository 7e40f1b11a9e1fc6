/* Members and addresses: who is known, where they are dialled, and when. */
#include "failing_heap.h"
#include "unit.h"

#include "kv/members.h"

struct fixture {
    struct failing_heap heap;
    struct members m;
    struct random random;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    failing_heap_init(&f->heap);
    members_init(&f->m, &f->heap.heap);
    random_init(&f->random, 1);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    members_close(&f->m);
    bool leaked = f->heap.live != 0;
    free(f);
    return leaked;
}

static struct member *add(struct fixture *f, const char *name)
{
    return members_add(&f->m, bytes_text(name));
}

static struct address *add_address(struct fixture *f, const char *host, uint16_t port)
{
    return members_add_address(&f->m, bytes_text(host), port, true);
}

static void members_add_finds_who_is_known(void **state)
{
    struct fixture *f = *state;
    struct member *a = add(f, "a"), *b = add(f, "b");
    assert_non_null(a);
    assert_ptr_not_equal(a, b);
    assert_ptr_equal(add(f, "a"), a);
    assert_ptr_equal(members_find(&f->m, bytes_text("b")), b);
    assert_null(members_find(&f->m, bytes_text("c")));
    assert_int_equal(f->m.count, 2);
}

static void members_add_has_a_limit(void **state)
{
    struct fixture *f = *state;
    char name[16];
    for (uint32_t i = 0; i < MEMBERS_MAX; i++) {
        snprintf(name, sizeof name, "m%u", i);
        assert_non_null(add(f, name));
    }
    assert_null(add(f, "one too many"));
    assert_non_null(add(f, "m7"));
}

static void members_add_returns_null_without_memory(void **state)
{
    struct fixture *f = *state;
    failing_heap_arm(&f->heap, 1);
    assert_null(add(f, "a"));
    assert_true(failing_heap_disarm(&f->heap));
    assert_int_equal(f->m.count, 0);
    assert_non_null(add(f, "a"));
}

static void members_add_takes_the_longest_name(void **state)
{
    struct fixture *f = *state;
    char name[MEMBER_NAME_BYTES + 1];
    memset(name, 'n', MEMBER_NAME_BYTES);
    name[MEMBER_NAME_BYTES] = 0;
    assert_string_equal(add(f, name)->name, name);
}

static void members_generation_rises_with_what_peers_should_hear(void **state)
{
    struct fixture *f = *state;
    uint64_t before = f->m.generation;
    struct member *a = add(f, "a");
    assert_true(f->m.generation > before);
    before = f->m.generation;
    add(f, "a");
    assert_true(f->m.generation == before);
    members_set_address(&f->m, a, bytes_text("host"), 1);
    assert_true(f->m.generation > before);
    before = f->m.generation;
    members_set_address(&f->m, a, bytes_text("host"), 1);
    assert_true(f->m.generation == before);
}

/* --- addresses ----------------------------------------------------------------------------- */

static void members_add_address_finds_an_equal_one(void **state)
{
    struct fixture *f = *state;
    struct address *a = add_address(f, "host", 1);
    assert_ptr_equal(add_address(f, "host", 1), a);
    assert_ptr_not_equal(add_address(f, "host", 2), a);
    assert_ptr_not_equal(add_address(f, "other", 1), a);
    assert_int_equal(f->m.address_count, 3);
}

static void members_add_address_has_a_limit(void **state)
{
    struct fixture *f = *state;
    for (uint32_t i = 0; i < ADDRESSES_MAX; i++)
        assert_non_null(add_address(f, "host", (uint16_t)(i + 1)));
    assert_null(add_address(f, "host", 9999));
    assert_non_null(add_address(f, "host", 5));
}

static void members_set_address_makes_a_member_dialable(void **state)
{
    struct fixture *f = *state;
    struct member *a = add(f, "a");
    members_set_address(&f->m, a, bytes_text("host"), 1);
    assert_string_equal(a->host, "host");
    assert_int_equal(a->port, 1);
    assert_int_equal(f->m.address_count, 1);
    assert_ptr_equal(f->m.addresses[0].member, a);
    assert_false(f->m.addresses[0].configured);
    assert_true(address_is_due(&f->m.addresses[0], 0));
}

static void members_set_address_follows_a_member_that_moves(void **state)
{
    struct fixture *f = *state;
    struct member *a = add(f, "a");
    members_set_address(&f->m, a, bytes_text("old"), 1);
    address_failed(&f->m.addresses[0], 1000, &f->random, "refused");
    members_set_address(&f->m, a, bytes_text("new"), 2);
    assert_int_equal(f->m.address_count, 1);
    assert_string_equal(f->m.addresses[0].host, "new");
    assert_true(address_is_due(&f->m.addresses[0], 0));
}

static void members_set_address_leaves_configured_addresses_as_they_are(void **state)
{
    struct fixture *f = *state;
    struct member *a = add(f, "a");
    add_address(f, "given", 1)->member = a;
    members_set_address(&f->m, a, bytes_text("new"), 2);
    assert_int_equal(f->m.address_count, 2);
    assert_string_equal(f->m.addresses[0].host, "given");
    assert_string_equal(f->m.addresses[1].host, "new");
}

static void members_set_address_dials_again_what_once_led_to_this_node(void **state)
{
    struct fixture *f = *state;
    struct address *a = add_address(f, "moved", 1);
    a->state = ADDRESS_SELF;
    members_set_address(&f->m, add(f, "a"), bytes_text("moved"), 1);
    assert_int_equal(f->m.address_count, 1);
    assert_true(address_is_due(a, 0));
}

static void members_set_address_ignores_what_cannot_be_dialled(void **state)
{
    struct fixture *f = *state;
    char host[ADDRESS_HOST_BYTES + 2];
    struct member *a = add(f, "a");
    memset(host, 'h', sizeof host - 1);
    host[sizeof host - 1] = 0;
    members_set_address(&f->m, a, bytes_text(""), 1);
    members_set_address(&f->m, a, bytes_text("host"), 0);
    members_set_address(&f->m, a, bytes_text(host), 1);
    assert_int_equal(f->m.address_count, 0);
    assert_string_equal(a->host, "");
}

/* --- dialling ------------------------------------------------------------------------------ */

static void address_failed_backs_off_with_jitter_to_a_limit(void **state)
{
    struct fixture *f = *state;
    struct address *a = add_address(f, "host", 1);
    uint32_t backoff = DIAL_BACKOFF_MIN_MS;
    for (uint64_t now = 1000; now < 200000; now += 10000) {
        a->state = ADDRESS_LINKED;
        address_failed(a, now, &f->random, "refused");
        assert_int_equal(a->state, ADDRESS_IDLE);
        assert_int_equal(a->backoff_ms, backoff);
        assert_in_range(a->dial_mono_ms - now, backoff / 2, backoff);
        assert_false(address_is_due(a, a->dial_mono_ms - 1));
        assert_true(address_is_due(a, a->dial_mono_ms));
        backoff = backoff * 2 < DIAL_BACKOFF_MAX_MS ? backoff * 2 : DIAL_BACKOFF_MAX_MS;
    }
    assert_string_equal(a->reason, "refused");
}

static void address_failed_spreads_those_that_fail_together(void **state)
{
    struct fixture *f = *state;
    uint64_t first = 0, differ = 0;
    for (uint16_t i = 1; i <= 50; i++) {
        struct address *a = add_address(f, "host", i);
        a->backoff_ms = DIAL_BACKOFF_MAX_MS;
        address_failed(a, 0, &f->random, "");
        first = i == 1 ? a->dial_mono_ms : first;
        differ += a->dial_mono_ms != first;
    }
    assert_true(differ > 40);
}

static void address_is_due_only_while_idle_and_unlinked(void **state)
{
    struct fixture *f = *state;
    struct address *a = add_address(f, "host", 1);
    assert_true(address_is_due(a, 0));
    for (int i = ADDRESS_DIALING; i <= ADDRESS_SELF; i++) {
        a->state = (enum address_state)i;
        assert_false(address_is_due(a, UINT64_MAX));
    }
    a->state = ADDRESS_IDLE;
    a->member = add(f, "a");
    assert_true(address_is_due(a, 0));
    a->member->sender = (struct link *)(void *)f; /* any link: only whether there is one counts */
    assert_false(address_is_due(a, UINT64_MAX));
}

static void address_text_puts_brackets_round_ipv6(void **state)
{
    (void)state;
    char text[ADDRESS_TEXT_BYTES], host[ADDRESS_HOST_BYTES + 1];
    address_text("host", 80, text);
    assert_string_equal(text, "host:80");
    address_text("::1", 65535, text);
    assert_string_equal(text, "[::1]:65535");
    memset(host, ':', ADDRESS_HOST_BYTES);
    host[ADDRESS_HOST_BYTES] = 0;
    address_text(host, 65535, text);
    assert_int_equal(strlen(text), ADDRESS_HOST_BYTES + 8);
}

static void members_find_unmet_finds_only_whom_nobody_has_met(void **state)
{
    struct fixture *f = *state;
    struct address *a = add_address(f, "host", 80), *b = add_address(f, "::1", 81);
    assert_ptr_equal(members_find_unmet(&f->m, bytes_text("host:80")), a);
    assert_ptr_equal(members_find_unmet(&f->m, bytes_text("[::1]:81")), b);
    assert_null(members_find_unmet(&f->m, bytes_text("host:81")));
    assert_null(members_find_unmet(&f->m, bytes_text("host")));
    assert_null(members_find_unmet(&f->m, bytes_text("host:800")));
    assert_null(members_find_unmet(&f->m, bytes_text("")));
    a->member = add(f, "a");
    b->state = ADDRESS_SELF;
    assert_null(members_find_unmet(&f->m, bytes_text("host:80")));
    assert_null(members_find_unmet(&f->m, bytes_text("[::1]:81")));
}

static void member_kept_is_what_survives_a_crash_of_it(void **state)
{
    struct fixture *f = *state;
    struct member *a = add(f, "a");
    assert_ptr_equal(member_kept(a), &a->confirmed); /* it restarts empty: another run, then */
    a->keeps_disk = true;
    assert_ptr_equal(member_kept(a), &a->durable);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(members_add_finds_who_is_known),
        TEST(members_add_has_a_limit),
        TEST(members_add_returns_null_without_memory),
        TEST(members_add_takes_the_longest_name),
        TEST(members_generation_rises_with_what_peers_should_hear),
        TEST(members_add_address_finds_an_equal_one),
        TEST(members_add_address_has_a_limit),
        TEST(members_set_address_makes_a_member_dialable),
        TEST(members_set_address_follows_a_member_that_moves),
        TEST(members_set_address_leaves_configured_addresses_as_they_are),
        TEST(members_set_address_dials_again_what_once_led_to_this_node),
        TEST(members_set_address_ignores_what_cannot_be_dialled),
        TEST(address_failed_backs_off_with_jitter_to_a_limit),
        TEST(address_failed_spreads_those_that_fail_together),
        TEST(address_is_due_only_while_idle_and_unlinked),
        TEST(members_find_unmet_finds_only_whom_nobody_has_met),
        TEST(member_kept_is_what_survives_a_crash_of_it),
        TEST(address_text_puts_brackets_round_ipv6),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
