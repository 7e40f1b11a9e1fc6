/* The heap interface: the C library's behind it, and the failing one that the tests rely on. */
#include "failing_heap.h"
#include "unit.h"

static void heap_of_c_library_allocates_grows_and_releases(void **state)
{
    (void)state;
    struct heap heap = heap_of_c_library();
    char *text = heap_alloc(&heap, 4);
    assert_non_null(text);
    memcpy(text, "abc", 4);
    text = heap_resize(&heap, text, 100000);
    assert_string_equal(text, "abc");
    heap_free(&heap, text);
    heap_free(&heap, NULL);
}

static void heap_zalloc_gives_zeroed_memory(void **state)
{
    (void)state;
    struct heap heap = heap_of_c_library();
    uint8_t *bytes = heap_zalloc(&heap, 1000);
    for (size_t i = 0; i < 1000; i++)
        assert_int_equal(bytes[i], 0);
    heap_free(&heap, bytes);
}

static void failing_heap_fails_at_the_call_it_is_told(void **state)
{
    (void)state;
    struct failing_heap heap;
    failing_heap_init(&heap);
    void *first = heap_alloc(&heap.heap, 10);
    failing_heap_arm(&heap, 2);
    void *second = heap_alloc(&heap.heap, 10);
    assert_non_null(second);
    assert_null(heap_resize(&heap.heap, first, 20));
    void *third = heap_zalloc(&heap.heap, 10);
    assert_non_null(third);
    assert_true(failing_heap_disarm(&heap));
    failing_heap_arm(&heap, 1);
    assert_false(failing_heap_disarm(&heap));
    assert_int_equal(heap.live, 3);
    assert_int_equal(heap.live_bytes, 30);
    heap_free(&heap.heap, first);
    heap_free(&heap.heap, second);
    heap_free(&heap.heap, third);
    assert_int_equal(heap.live, 0);
    assert_int_equal(heap.live_bytes, 0);
}

static void failing_heap_moves_what_grows_with_its_content(void **state)
{
    (void)state;
    struct failing_heap heap;
    failing_heap_init(&heap);
    char *text = heap_alloc(&heap.heap, 4);
    memcpy(text, "abc", 4);
    text = heap_resize(&heap.heap, text, 50);
    assert_string_equal(text, "abc");
    text = heap_resize(&heap.heap, text, 2);
    assert_memory_equal(text, "ab", 2);
    assert_int_equal(heap.live, 1);
    heap_free(&heap.heap, text);
}

static void heap_zalloc_returns_null_without_memory(void **state)
{
    (void)state;
    struct failing_heap heap;
    failing_heap_init(&heap);
    failing_heap_arm(&heap, 1);
    assert_null(heap_zalloc(&heap.heap, 10));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(heap_of_c_library_allocates_grows_and_releases),
        cmocka_unit_test(heap_zalloc_gives_zeroed_memory),
        cmocka_unit_test(failing_heap_fails_at_the_call_it_is_told),
        cmocka_unit_test(failing_heap_moves_what_grows_with_its_content),
        cmocka_unit_test(heap_zalloc_returns_null_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
