/* A thread that makes the kernel map pages before they are touched. */
#define _GNU_SOURCE /* madvise and processors */
#include "prefault.h"

#include "kv/check.h"

#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

/* A heap that grows waits for the piece that is being mapped. */
#define PIECE_BYTES (64u << 10)

static void ready(uintptr_t from, uintptr_t until)
{
#ifdef MADV_POPULATE_WRITE
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    from -= from % page;
    until += (page - until % page) % page;
    /* Fails where nothing is mapped any more, and where it is not known: then there is nothing to do. */
    (void)madvise((void *)from, until - from, MADV_POPULATE_WRITE);
#else
    (void)from;
    (void)until;
#endif
}

static void run(void *argument)
{
    struct prefault *p = argument;
    uv_mutex_lock(&p->mutex);
    while (!p->ending) {
        uintptr_t from = p->from, left = p->until - from;
        if (left == 0) {
            uv_cond_wait(&p->told, &p->mutex);
            continue;
        }
        p->from += left < PIECE_BYTES ? left : PIECE_BYTES;
        uintptr_t until = p->from;
        uv_mutex_unlock(&p->mutex);
        ready(from, until);
        uv_mutex_lock(&p->mutex);
    }
    uv_mutex_unlock(&p->mutex);
}

void prefault_begin(struct prefault *p)
{
    CHECK(!p->running);
    /* On a single processor its work would only be done in another order. */
    if (uv_available_parallelism() < 2)
        return;
    *p = (struct prefault){.beside = -1};
    if (uv_mutex_init(&p->mutex) != 0)
        return;
    bool told = uv_cond_init(&p->told) == 0;
    p->running = told && uv_thread_create(&p->thread, run, p) == 0;
    if (p->running)
        return;
    if (told)
        uv_cond_destroy(&p->told);
    uv_mutex_destroy(&p->mutex);
}

/* Left to itself the scheduler likes to wake it where who tells it runs, most of all in a virtual machine,
 * whose idle processors it takes for busy. Then one would only hold up the other. */
static void keep_apart(struct prefault *p)
{
    cpu_set_t others;
    int here = sched_getcpu();
    if (here == p->beside || here < 0 || here >= CPU_SETSIZE ||
        sched_getaffinity(0, sizeof others, &others) != 0)
        return;
    CPU_CLR((size_t)here, &others);
    (void)pthread_setaffinity_np(p->thread, sizeof others, &others);
    p->beside = here;
}

void prefault_range(struct prefault *p, uintptr_t from, size_t bytes)
{
    if (!p->running)
        return;
    keep_apart(p);
    uv_mutex_lock(&p->mutex);
    uintptr_t until = from + bytes;
    bool goes_on = p->begun <= from && from <= p->from;
    p->begun = from;
    if (!goes_on)
        p->from = from;
    else if (p->from > until)
        p->from = until;
    p->until = until;
    uv_cond_signal(&p->told);
    uv_mutex_unlock(&p->mutex);
}

void prefault_ahead(struct prefault *p, struct heap *heap)
{
    if (!p->running)
        return;
    /* Where so much is free at once is where small pieces will be taken from next. */
    void *at = heap_alloc(heap, PREFAULT_AHEAD_BYTES);
    uintptr_t from = (uintptr_t)at;
    heap_free(heap, at);
    if (from != 0)
        prefault_range(p, from, PREFAULT_AHEAD_BYTES);
}

void prefault_end(struct prefault *p)
{
    if (!p->running)
        return;
    uv_mutex_lock(&p->mutex);
    p->ending = true;
    uv_cond_signal(&p->told);
    uv_mutex_unlock(&p->mutex);
    CHECK(uv_thread_join(&p->thread) == 0);
    uv_cond_destroy(&p->told);
    uv_mutex_destroy(&p->mutex);
    p->running = false;
}
