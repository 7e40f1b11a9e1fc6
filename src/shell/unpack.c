/* zstd's stream into a file beside it, which then replaces it. */
#define _GNU_SOURCE
#include "unpack.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#define UNPACK_MODE 0640

struct unpack {
    int in, out;
    ZSTD_DStream *stream;
    uint8_t *packed, *plain; /* of the sizes that zstd recommends */
    size_t packed_bytes, plain_bytes;
    const char *what; /* that went wrong, for a damaged file */
};

/* The one file there that is neither hidden, nor the lock, nor put aside. False when there is none,
 * or more. */
static bool find_only(struct file_disk *d, char name[DISK_NAME_BYTES], int *error)
{
    struct buffer names;
    uint32_t count = 0;
    buffer_init(&names, d->heap);
    *error = d->disk.list(&d->disk, &names);
    if (*error == 0 && buffer_failed(&names))
        *error = -ENOMEM;
    for (size_t at = 0; *error == 0 && at < buffer_size(&names); at += DISK_NAME_BYTES) {
        const char *one = (const char *)buffer_bytes(&names).data + at;
        size_t size = strlen(one);
        bool aside = size > 8 && strcmp(one + size - 8, ".damaged") == 0;
        if (one[0] == '.' || strcmp(one, FILE_DISK_LOCK) == 0 || aside)
            continue;
        count++;
        memcpy(name, one, DISK_NAME_BYTES);
    }
    buffer_close(&names);
    return *error == 0 && count == 1;
}

static bool is_packed(int fd)
{
    static const uint8_t magic[] = {0x28, 0xb5, 0x2f, 0xfd};
    uint8_t begin[sizeof magic];
    return pread(fd, begin, sizeof begin, 0) == (ssize_t)sizeof begin &&
           memcmp(begin, magic, sizeof magic) == 0;
}

static int write_all(int fd, const uint8_t *at, size_t size)
{
    while (size > 0) {
        ssize_t written = write(fd, at, size);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return -errno;
        at += written;
        size -= (size_t)written;
    }
    return 0;
}

/* *more: out: whether the frame goes on behind what was given. */
static int unpack_some(struct unpack *u, size_t size, bool *more)
{
    ZSTD_inBuffer in = {u->packed, size, 0};
    size_t produced = 0;
    do {
        ZSTD_outBuffer out = {u->plain, u->plain_bytes, 0};
        size_t hint = ZSTD_decompressStream(u->stream, &out, &in);
        if (ZSTD_isError(hint)) {
            u->what = ZSTD_getErrorName(hint);
            return -EBADMSG;
        }
        int error = write_all(u->out, u->plain, out.pos);
        if (error != 0)
            return error;
        *more = hint != 0;
        produced = out.pos;
    } while (in.pos < in.size || produced == u->plain_bytes);
    return 0;
}

static int unpack_all(struct unpack *u)
{
    bool more = true;
    for (;;) {
        ssize_t got = read(u->in, u->packed, u->packed_bytes);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -errno;
        if (got == 0)
            break;
        int error = unpack_some(u, (size_t)got, &more);
        if (error != 0)
            return error;
    }
    if (more) {
        u->what = "it is cut off";
        return -EBADMSG;
    }
    return fdatasync(u->out) == 0 ? 0 : -errno;
}

static int unpack_file(struct file_disk *d, int in, const char **what)
{
    struct unpack u = {.in = in,
                       .stream = ZSTD_createDStream(),
                       .packed_bytes = ZSTD_DStreamInSize(),
                       .plain_bytes = ZSTD_DStreamOutSize()};
    u.packed = malloc(u.packed_bytes);
    u.plain = malloc(u.plain_bytes);
    int error = u.stream == NULL || u.packed == NULL || u.plain == NULL ? -ENOMEM : 0;
    if (error == 0) {
        u.out = openat(d->directory, UNPACK_NAME, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC,
                       UNPACK_MODE);
        error = u.out < 0 ? -errno : unpack_all(&u);
        if (u.out >= 0)
            close(u.out); /* it has been synced */
    }
    *what = u.what;
    free(u.packed);
    free(u.plain);
    ZSTD_freeDStream(u.stream);
    return error;
}

int unpack_backup(struct file_disk *d, char name[DISK_NAME_BYTES],
                  char reason[FILE_DISK_REASON_BYTES])
{
    int error;
    const char *what = NULL;
    char only[DISK_NAME_BYTES];
    name[0] = 0;
    if (!find_only(d, only, &error)) {
        if (error != 0)
            snprintf(reason, FILE_DISK_REASON_BYTES, "cannot list the data directory: %s",
                     strerror(-error));
        return error;
    }
    int in = openat(d->directory, only, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    bool packed = in >= 0 && is_packed(in);
    if (packed) {
        error = unpack_file(d, in, &what);
        if (error == 0)
            error = d->disk.rename_now(&d->disk, UNPACK_NAME, only);
        if (error == 0)
            memcpy(name, only, sizeof only);
        else
            unlinkat(d->directory, UNPACK_NAME, 0);
    }
    if (in >= 0)
        close(in); /* what cannot be opened is for the storage to judge */
    if (error != 0)
        snprintf(reason, FILE_DISK_REASON_BYTES,
                 "cannot unpack the backup %s in the data directory: %s", only,
                 what != NULL ? what : strerror(-error));
    return error;
}
