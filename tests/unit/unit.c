/* Seeds and byte comparisons for the tests. */
#include "unit.h"

#include <time.h>

uint64_t unit_seed(const char *test)
{
    const char *given = getenv("KV_SEED");
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t seed = (uint64_t)now.tv_sec * 1000000007u + (uint64_t)now.tv_nsec;
    if (given != NULL)
        seed = strtoull(given, NULL, 0);
    print_message("%s: KV_SEED=%llu\n", test, (unsigned long long)seed);
    return seed;
}

bool unit_in_valgrind(void)
{
    const char *preloaded = getenv("LD_PRELOAD");
    return preloaded != NULL && strstr(preloaded, "vgpreload") != NULL;
}

uint64_t unit_rounds(uint64_t usual)
{
    const char *given = getenv("KV_ROUNDS");
    if (given != NULL)
        return strtoull(given, NULL, 0);
    return unit_in_valgrind() ? usual / 20 + 1 : usual;
}

static void show(const char *what, struct bytes bytes)
{
    print_error("%s %zu bytes: ", what, bytes.size);
    for (size_t i = 0; i < bytes.size && i < 200; i++) {
        uint8_t c = bytes.data[i];
        print_error(c >= ' ' && c <= '~' && c != '\\' ? "%c" : "\\x%02x", c);
    }
    print_error("\n");
}

void unit_assert_bytes(struct bytes actual, struct bytes expected, const char *file, int line)
{
    if (bytes_equal(actual, expected))
        return;
    show("actual  ", actual);
    show("expected", expected);
    _fail(file, line);
}
