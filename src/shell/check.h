/* --check: verifies a data directory, or a backup, and prints what it holds. */
#ifndef SHELL_CHECK_H
#define SHELL_CHECK_H

#include "kv/vector.h"
#include "options.h"

enum check_status {
    CHECK_CLEAN = 0,
    CHECK_DAMAGED = 1,
    CHECK_UNREADABLE = 2 /* or nothing of simple-kv */
};

/* Checks the directory or file o->check. Prints to standard output; what keeps it from checking, to
 * standard error. Returns the exit status. */
int check_run(const struct options *o);

/* check_file.c: a segment, a snapshot or a backup, also one compressed by zstd (.zst). */
int check_file(const char *path);

/* A line for each origin, with the time of its stamp. */
void check_print_vector(const char *title, const struct vector *v);

#endif
