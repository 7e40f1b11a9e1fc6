/* Memory that is readied by another thread: what it was told of is mapped, and nothing else about it has
 * changed. */
#define _GNU_SOURCE /* mincore and processors */
#include "prefault.h"

#include "kv/check.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define REGION_BYTES (4u << 20)
#define DEADLINE_S   60
#define PAGES_MAX    (REGION_BYTES / 4096)

static uint8_t *region_new(void)
{
    void *region =
        mmap(NULL, REGION_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(region != MAP_FAILED);
    return region;
}

static void region_free(uint8_t *region)
{
    assert_int_equal(munmap(region, REGION_BYTES), 0);
}

static size_t resident_pages(uint8_t *at, size_t bytes)
{
    unsigned char pages[PAGES_MAX];
    size_t count = bytes / (size_t)sysconf(_SC_PAGESIZE), resident = 0;
    assert_int_equal(mincore(at, bytes, pages), 0);
    for (size_t i = 0; i < count; i++)
        resident += pages[i] & 1;
    return resident;
}

static void assert_becomes_resident(uint8_t *at, size_t bytes)
{
    time_t deadline = time(NULL) + DEADLINE_S;
    while (resident_pages(at, bytes) < bytes / (size_t)sysconf(_SC_PAGESIZE)) {
        if (time(NULL) > deadline)
            fail_msg("%zu of the pages are mapped", resident_pages(at, bytes));
        usleep(1000);
    }
}

static int set_up(void **state)
{
    *state = calloc(1, sizeof(struct prefault));
    return *state == NULL;
}

/* However it ended: the thread must not outlive it. */
static int tear_down(void **state)
{
    prefault_end(*state);
    free(*state);
    return 0;
}

/* Begun; skips the test where there is no processor for it, or the kernel does not know how. */
static void begin(struct prefault *p)
{
    bool known = false;
#ifdef MADV_POPULATE_WRITE
    uint8_t *region = region_new();
    known = madvise(region, 4096, MADV_POPULATE_WRITE) == 0;
    region_free(region);
#endif
    prefault_begin(p);
    assert_int_equal(p->running, uv_available_parallelism() > 1);
    if (!known || !p->running)
        skip();
}

static void prefault_maps_what_it_was_told_of_and_leaves_its_contents(void **state)
{
    struct prefault *p = *state;
    begin(p);
    uint8_t *region = region_new();
    memset(region + REGION_BYTES / 4, 0x5a, 100);
    prefault_range(p, (uintptr_t)region, REGION_BYTES / 2);
    assert_becomes_resident(region, REGION_BYTES / 2);
    for (size_t i = 0; i < REGION_BYTES / 2; i++) {
        bool written = i >= REGION_BYTES / 4 && i < REGION_BYTES / 4 + 100;
        if (region[i] != (written ? 0x5a : 0))
            fail_msg("byte %zu has become %u", i, region[i]);
    }
    prefault_end(p);
    assert_int_equal(resident_pages(region + REGION_BYTES / 2, REGION_BYTES / 2), 0);
    region_free(region);
}

/* The one told last lies just before the one before it, or behind, or in it. */
static void prefault_takes_nothing_for_ready_that_is_not(void **state)
{
    struct prefault *p = *state;
    static const size_t begins[] = {3, 2, 0, 1, 3, 0};
    begin(p);
    for (size_t i = 0; i < sizeof begins / sizeof *begins; i++) {
        uint8_t *region = region_new(), *at = region + REGION_BYTES / 8 * begins[i];
        if (i > 0)
            prefault_range(p, (uintptr_t)region + REGION_BYTES / 8 * begins[i - 1],
                           REGION_BYTES / 8);
        prefault_range(p, (uintptr_t)at, REGION_BYTES / 2);
        assert_becomes_resident(at, REGION_BYTES / 2);
        prefault_end(p);
        region_free(region); /* the next one may be there again */
        prefault_begin(p);
    }
}

static void prefault_follows_a_range_that_moves_on(void **state)
{
    struct prefault *p = *state;
    begin(p);
    uint8_t *region = region_new();
    size_t step = 100 * 1000; /* no multiple of a page */
    for (size_t from = 0; from + REGION_BYTES / 4 <= REGION_BYTES; from += step)
        prefault_range(p, (uintptr_t)region + from, REGION_BYTES / 4);
    prefault_range(p, (uintptr_t)region + REGION_BYTES / 4 * 3, REGION_BYTES / 4);
    assert_becomes_resident(region + REGION_BYTES / 4 * 3, REGION_BYTES / 4);
    prefault_end(p);
    region_free(region);
}

static void prefault_bears_a_range_that_is_gone(void **state)
{
    struct prefault *p = *state;
    begin(p);
    uint8_t *gone = region_new(), *region = region_new();
    region_free(gone);
    prefault_range(p, (uintptr_t)gone, REGION_BYTES);
    prefault_range(p, (uintptr_t)region, REGION_BYTES);
    assert_becomes_resident(region, REGION_BYTES);
    prefault_end(p);
    region_free(region);
}

/* A heap that always hands out the same. */
struct one_region {
    struct heap heap;
    uint8_t *region; /* NULL = there is no memory */
    size_t bytes; /* asked for last; 0 = given back */
};

static void *one_resize(struct heap *heap, void *pointer, size_t size)
{
    struct one_region *h = container_of(heap, struct one_region, heap);
    assert_null(pointer);
    h->bytes = size;
    return h->region;
}

static void one_release(struct heap *heap, void *pointer)
{
    struct one_region *h = container_of(heap, struct one_region, heap);
    assert_ptr_equal(pointer, h->region);
    h->bytes = 0;
}

static void prefault_maps_what_the_heap_hands_out_next(void **state)
{
    struct prefault *p = *state;
    begin(p);
    struct one_region h = {.heap = {.resize = one_resize, .release = one_release}};
    prefault_ahead(p, &h.heap);
    h.region = region_new();
    prefault_ahead(p, &h.heap);
    assert_int_equal(h.bytes, 0);
    assert_becomes_resident(h.region, PREFAULT_AHEAD_BYTES);
    prefault_end(p);
    region_free(h.region);
}

static void prefault_keeps_off_the_processor_of_who_tells_it(void **state)
{
    struct prefault *p = *state;
    cpu_set_t ours, one, its;
    begin(p);
    assert_int_equal(sched_getaffinity(0, sizeof ours, &ours), 0);
    for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &ours))
            continue;
        /* Moved there, and free to go on. */
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
        assert_int_equal(sched_getcpu(), (int)cpu);
        assert_int_equal(sched_setaffinity(0, sizeof ours, &ours), 0);
        prefault_range(p, 0, 0);
        assert_int_equal(pthread_getaffinity_np(p->thread, sizeof its, &its), 0);
        assert_int_equal(CPU_COUNT(&its), CPU_COUNT(&ours) - 1);
        assert_true(p->beside >= 0 && !CPU_ISSET((size_t)p->beside, &its));
    }
}

static void prefault_ends_at_any_time(void **state)
{
    struct prefault *p = *state;
    begin(p);
    prefault_end(p);
    prefault_end(p); /* it does not run */
    uint8_t *region = region_new();
    for (int round = 0; round < 20; round++) {
        prefault_begin(p);
        assert_true(p->running);
        prefault_range(p, (uintptr_t)region, REGION_BYTES);
        prefault_end(p);
        assert_false(p->running);
    }
    prefault_range(p, (uintptr_t)region, REGION_BYTES);
    region_free(region);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(prefault_maps_what_it_was_told_of_and_leaves_its_contents,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(prefault_takes_nothing_for_ready_that_is_not, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(prefault_follows_a_range_that_moves_on, set_up, tear_down),
        cmocka_unit_test_setup_teardown(prefault_bears_a_range_that_is_gone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(prefault_maps_what_the_heap_hands_out_next, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(prefault_keeps_off_the_processor_of_who_tells_it, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(prefault_ends_at_any_time, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
