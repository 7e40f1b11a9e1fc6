/* Notices: a bounded queue of texts. */
#include "unit.h"

#include "kv/notice.h"

static struct notices notices;

static int set_up(void **state)
{
    (void)state;
    memset(&notices, 0, sizeof notices);
    return 0;
}

static void notice_take_gives_them_in_order(void **state)
{
    (void)state;
    struct notice n;
    notice_add(&notices, NOTICE_INFO, "first %d", 1);
    notice_add(&notices, NOTICE_WARN, "second");
    assert_true(notice_take(&notices, &n));
    assert_string_equal(n.text, "first 1");
    assert_int_equal(n.level, NOTICE_INFO);
    assert_true(notice_take(&notices, &n));
    assert_string_equal(n.text, "second");
    assert_int_equal(n.level, NOTICE_WARN);
    assert_false(notice_take(&notices, &n));
}

static void notice_add_goes_round_its_queue(void **state)
{
    (void)state;
    struct notice n;
    char expected[16];
    for (int i = 0; i < 500; i++) {
        notice_add(&notices, NOTICE_DEBUG, "%d", i);
        if (i < 10)
            continue;
        snprintf(expected, sizeof expected, "%d", i - 10);
        assert_true(notice_take(&notices, &n));
        assert_string_equal(n.text, expected);
    }
}

static void notice_add_counts_what_has_no_room(void **state)
{
    (void)state;
    struct notice n;
    for (int i = 0; i < NOTICES_MAX + 7; i++)
        notice_add(&notices, NOTICE_INFO, "%d", i);
    for (int i = 0; i < NOTICES_MAX; i++)
        assert_true(notice_take(&notices, &n));
    assert_true(notice_take(&notices, &n));
    assert_string_equal(n.text, "7 further events were not logged");
    assert_int_equal(n.level, NOTICE_WARN);
    assert_false(notice_take(&notices, &n));
}

static void notice_add_cuts_a_text_that_is_too_long(void **state)
{
    (void)state;
    struct notice n;
    notice_add(&notices, NOTICE_INFO, "%0*d", 2 * NOTICE_TEXT_BYTES, 1);
    assert_true(notice_take(&notices, &n));
    assert_int_equal(strlen(n.text), NOTICE_TEXT_BYTES - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(notice_take_gives_them_in_order, set_up),
        cmocka_unit_test_setup(notice_add_goes_round_its_queue, set_up),
        cmocka_unit_test_setup(notice_add_counts_what_has_no_room, set_up),
        cmocka_unit_test_setup(notice_add_cuts_a_text_that_is_too_long, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
