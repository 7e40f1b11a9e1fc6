/* Intrusive lists. */
#include "unit.h"

#include "kv/check.h"
#include "kv/list.h"

struct item {
    int number;
    struct list node;
};

static void assert_numbers(const struct list *head, const char *expected)
{
    char text[32] = "";
    list_for_each (node, head)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%d",
                 container_of(node, struct item, node)->number);
    assert_string_equal(text, expected);
}

static void fill(struct list *head, struct item *items, int count)
{
    list_init(head);
    for (int i = 0; i < count; i++) {
        items[i].number = i;
        list_push_back(head, &items[i].node);
    }
}

static void list_keeps_the_order_of_arrival(void **state)
{
    (void)state;
    struct list head;
    struct item items[4];
    fill(&head, items, 4);
    assert_false(list_is_empty(&head));
    assert_numbers(&head, "0123");
}

static void list_remove_takes_an_item_out_of_anywhere(void **state)
{
    (void)state;
    struct list head;
    struct item items[4];
    fill(&head, items, 4);
    list_remove(&items[1].node);
    assert_numbers(&head, "023");
    list_remove(&items[3].node);
    list_remove(&items[0].node);
    list_remove(&items[2].node);
    assert_true(list_is_empty(&head));
}

static void list_remove_is_harmless_for_an_item_in_no_list(void **state)
{
    (void)state;
    struct list head;
    struct item items[2];
    fill(&head, items, 2);
    list_remove(&items[0].node);
    list_remove(&items[0].node);
    assert_true(list_is_empty(&items[0].node));
    assert_numbers(&head, "1");
}

static void list_for_each_allows_the_visited_item_to_go(void **state)
{
    (void)state;
    struct list head;
    struct item items[4];
    fill(&head, items, 4);
    list_for_each (node, &head) {
        if (container_of(node, struct item, node)->number != 2)
            list_remove(node);
    }
    assert_numbers(&head, "2");
}

static void list_take_all_moves_every_item(void **state)
{
    (void)state;
    struct list head, into;
    struct item items[3];
    for (int count = 0; count <= 3; count++) {
        fill(&head, items, count);
        list_init(&into);
        list_take_all(&into, &head);
        assert_true(list_is_empty(&head));
        assert_numbers(&into, count == 0 ? "" : count == 1 ? "0" : count == 2 ? "01" : "012");
        if (count > 0)
            list_remove(&items[0].node);
        assert_numbers(&into, count < 2 ? "" : count == 2 ? "1" : "12");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(list_keeps_the_order_of_arrival),
        cmocka_unit_test(list_remove_takes_an_item_out_of_anywhere),
        cmocka_unit_test(list_remove_is_harmless_for_an_item_in_no_list),
        cmocka_unit_test(list_for_each_allows_the_visited_item_to_go),
        cmocka_unit_test(list_take_all_moves_every_item),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
