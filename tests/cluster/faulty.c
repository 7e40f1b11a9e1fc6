/* A disk that fails: loaded before the program (LD_PRELOAD), it stands between it and libc in every call
 * that changes a file, or makes a change last.
 *
 * KV_FAULT_FILE     a file of rules, read anew at every call, so that they may change meanwhile. A line
 *                   is a call, a colon and part of the file's name if it is about some files only, and
 *                   what happens; the first that fits counts:
 *                       pwrite:journal ENOSPC    it fails, with this error
 *                       pwrite short             it writes half of what it was given, at least a byte
 *                       fdatasync delay          it takes half a second
 * KV_FAULT_KILL_AT  a call and a number, as in "renameat 2": at that one of these calls the process
 *                   kills itself (SIGKILL), …
 * KV_FAULT_KILL     … "before" it or "after" it; a pwrite has then written half of what it was given
 *
 * Calls: openat (only if it may create the file), pwrite, ftruncate, fallocate, fdatasync, fsync, renameat,
 * unlinkat. It makes system calls itself, and never looks libc's functions up, so that it works
 * below a sanitizer too. */
#define _GNU_SOURCE /* system calls, and the names of what is stood between */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#define NAME_BYTES  512
#define RULES_BYTES 4096
#define WHAT_BYTES  32
#define DELAY_NS    500000000

enum fault { FAULT_NONE, FAULT_ERROR, FAULT_SHORT };

/* One call that was made, and what becomes of it. */
struct call {
    const char *name;
    char file[NAME_BYTES];
    enum fault fault;
    int error;
    bool dies; /* after it, or within a write */
};

static atomic_ulong calls_made; /* of the kind that is counted */

/* The last part of the path of an open file. */
static void name_descriptor(int fd, char name[NAME_BYTES])
{
    char link[64], path[NAME_BYTES];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    long size = syscall(SYS_readlinkat, AT_FDCWD, link, path, sizeof path - 1);
    path[size < 0 ? 0 : size] = '\0';
    const char *slash = strrchr(path, '/');
    snprintf(name, NAME_BYTES, "%s", slash == NULL ? path : slash + 1);
}

static int error_of(const char *what)
{
    static const struct {
        const char *name;
        int error;
    } errors[] = {{"ENOSPC", ENOSPC}, {"EIO", EIO},       {"EROFS", EROFS},
                  {"EMFILE", EMFILE}, {"EACCES", EACCES}, {"EDQUOT", EDQUOT}};
    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
        if (strcmp(what, errors[i].name) == 0)
            return errors[i].error;
    }
    fprintf(stderr, "faulty.so: unknown fault %s\n", what);
    abort();
}

static bool rule_fits(char *rule, const struct call *c)
{
    char *part = strchr(rule, ':');
    if (part != NULL)
        *part++ = '\0';
    return strcmp(rule, c->name) == 0 && (part == NULL || strstr(c->file, part) != NULL);
}

static void apply_rule(struct call *c, const char *what)
{
    const struct timespec delay = {.tv_nsec = DELAY_NS};
    if (strcmp(what, "delay") == 0) {
        syscall(SYS_nanosleep, &delay, NULL);
    } else if (strcmp(what, "short") == 0) {
        c->fault = FAULT_SHORT;
    } else {
        c->fault = FAULT_ERROR;
        c->error = error_of(what);
    }
}

static void read_rules(struct call *c)
{
    const char *path = getenv("KV_FAULT_FILE");
    char rules[RULES_BYTES], *rest = rules, *line;
    int fd = path == NULL ? -1 : (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    long size = syscall(SYS_read, fd, rules, sizeof rules - 1);
    syscall(SYS_close, fd);
    rules[size < 0 ? 0 : size] = '\0';
    while ((line = strsep(&rest, "\n")) != NULL) {
        char rule[NAME_BYTES], what[WHAT_BYTES];
        if (sscanf(line, "%511s %31s", rule, what) == 2 && rule_fits(rule, c)) {
            apply_rule(c, what);
            return;
        }
    }
}

static void die(void)
{
    syscall(SYS_kill, getpid(), SIGKILL);
    for (;;)
        pause();
}

/* Whether this is the call to be killed at. */
static bool kills(const struct call *c)
{
    const char *kill_at = getenv("KV_FAULT_KILL_AT");
    char name[WHAT_BYTES];
    unsigned long number;
    return kill_at != NULL && sscanf(kill_at, "%31s %lu", name, &number) == 2 &&
           strcmp(name, c->name) == 0 && atomic_fetch_add(&calls_made, 1) + 1 == number;
}

static void begin(struct call *c)
{
    const char *when = getenv("KV_FAULT_KILL");
    if (kills(c)) {
        if (when == NULL || strcmp(when, "after") != 0)
            die();
        c->dies = true;
    }
    read_rules(c);
}

/* The call is made by this, unless it is to fail. */
#define CALL(call_name, file_name_into, system_call)                                               \
    struct call c = {.name = call_name};                                                           \
    file_name_into;                                                                                \
    begin(&c);                                                                                     \
    if (c.fault == FAULT_ERROR) {                                                                  \
        errno = c.error;                                                                           \
        return -1;                                                                                 \
    }                                                                                              \
    long result = system_call;                                                                     \
    if (c.dies)                                                                                    \
        die();                                                                                     \
    return (int)result

static ssize_t write_faulty(int fd, const void *data, size_t size, int64_t offset)
{
    struct call c = {.name = "pwrite"};
    name_descriptor(fd, c.file);
    begin(&c);
    if (c.fault == FAULT_ERROR) {
        errno = c.error;
        return -1;
    }
    if (size > 1 && (c.fault == FAULT_SHORT || c.dies))
        size /= 2;
    long result = syscall(SYS_pwrite64, fd, data, size, offset);
    if (c.dies)
        die();
    return result;
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset)
{
    return write_faulty(fd, data, size, offset);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset)
{
    return write_faulty(fd, data, size, offset);
}

static int open_faulty(int directory, const char *path, int flags, mode_t mode)
{
    if ((flags & O_CREAT) == 0)
        return (int)syscall(SYS_openat, directory, path, flags, mode);
    CALL("openat", snprintf(c.file, sizeof c.file, "%s", path),
         syscall(SYS_openat, directory, path, flags, mode));
}

int openat(int directory, const char *path, int flags, ...)
{
    va_list rest;
    va_start(rest, flags);
    mode_t mode = (flags & O_CREAT) != 0 ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    return open_faulty(directory, path, flags, mode);
}

int openat64(int directory, const char *path, int flags, ...)
{
    va_list rest;
    va_start(rest, flags);
    mode_t mode = (flags & O_CREAT) != 0 ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    return open_faulty(directory, path, flags, mode);
}

static int truncate_faulty(int fd, int64_t size)
{
    CALL("ftruncate", name_descriptor(fd, c.file), syscall(SYS_ftruncate, fd, size));
}

int ftruncate(int fd, off_t size)
{
    return truncate_faulty(fd, size);
}

int ftruncate64(int fd, off64_t size)
{
    return truncate_faulty(fd, size);
}

static int allocate_faulty(int fd, int mode, int64_t offset, int64_t size)
{
    CALL("fallocate", name_descriptor(fd, c.file), syscall(SYS_fallocate, fd, mode, offset, size));
}

int fallocate(int fd, int mode, off_t offset, off_t size)
{
    return allocate_faulty(fd, mode, offset, size);
}

int fallocate64(int fd, int mode, off64_t offset, off64_t size)
{
    return allocate_faulty(fd, mode, offset, size);
}

int fdatasync(int fd)
{
    CALL("fdatasync", name_descriptor(fd, c.file), syscall(SYS_fdatasync, fd));
}

int fsync(int fd)
{
    CALL("fsync", name_descriptor(fd, c.file), syscall(SYS_fsync, fd));
}

int renameat(int from, const char *name, int to, const char *new_name)
{
    CALL("renameat", snprintf(c.file, sizeof c.file, "%s", name),
         syscall(SYS_renameat2, from, name, to, new_name, 0));
}

int unlinkat(int directory, const char *name, int flags)
{
    CALL("unlinkat", snprintf(c.file, sizeof c.file, "%s", name),
         syscall(SYS_unlinkat, directory, name, flags));
}
