/* What the tests of the options share: parsing, its outcome, and configuration files. */
#ifndef TESTS_OPTIONS_FIXTURE_H
#define TESTS_OPTIONS_FIXTURE_H

#include "options.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define ARGUMENTS_MAX   8
#define COUNT_OF(array) (sizeof(array) / sizeof *(array))
#define KIB             UINT64_C(1024)
#define MIB             (1024 * KIB)

struct fixture {
    struct options o;
    char error[OPTIONS_ERROR_BYTES];
    char path[64]; /* of the file that write_file has made */
};

static inline int set_up(void **state)
{
    *state = calloc(1, sizeof(struct fixture));
    return *state == NULL;
}

static inline int tear_down(void **state)
{
    struct fixture *f = *state;
    if (f->path[0] != '\0')
        unlink(f->path);
    free(f);
    return 0;
}

/* Parses `arguments` (NULL-terminated, without the program) and `env` (NULL = empty). */
static inline int parse(struct fixture *f, const char *const *arguments, const char *const *env)
{
    char program[] = "simple-kv";
    char *argv[ARGUMENTS_MAX + 2] = {program};
    char *none[] = {NULL};
    int argc = 1;
    for (; *arguments != NULL; arguments++)
        argv[argc++] = (char *)(uintptr_t)*arguments;
    f->error[0] = '\0';
    memset(&f->o, 0xa5, sizeof f->o);
    return options_parse(&f->o, argc, argv, env == NULL ? none : (char **)(uintptr_t)env, f->error,
                         sizeof f->error);
}

#define ARGUMENTS(...) ((const char *const[]){__VA_ARGS__, NULL})
#define NOTHING        ((const char *const[]){NULL})

static inline void assert_accepted(struct fixture *f, const char *const *arguments,
                                   const char *const *env)
{
    if (parse(f, arguments, env) != 0)
        fail_msg("%s", f->error);
}

/* Refused with one short line that holds both texts. */
static inline void assert_refused(struct fixture *f, const char *const *arguments,
                                  const char *const *env, const char *first, const char *second)
{
    assert_int_equal(parse(f, arguments, env), -EINVAL);
    assert_true(strlen(f->error) < 400);
    assert_null(strpbrk(f->error, "\r\n"));
    if (strstr(f->error, first) == NULL || strstr(f->error, second) == NULL)
        fail_msg("\"%s\" and \"%s\" expected in: %s", first, second, f->error);
}

/* Makes a configuration file of `bytes` bytes. Returns its path. */
static inline const char *write_bytes(struct fixture *f, const char *text, size_t bytes)
{
    if (f->path[0] != '\0')
        unlink(f->path);
    strcpy(f->path, "/tmp/simple-kv-test-XXXXXX");
    int fd = mkstemp(f->path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, bytes), bytes);
    close(fd);
    return f->path;
}

static inline const char *write_file(struct fixture *f, const char *text)
{
    return write_bytes(f, text, strlen(text));
}

#endif
