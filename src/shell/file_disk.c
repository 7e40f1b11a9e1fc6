/* Files by way of the descriptor of their directory, so that nobody can move it away underneath. */
#define _GNU_SOURCE /* fallocate and locks that belong to a descriptor */
#include "file_disk.h"

#include "kv/check.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define DIRECTORY_MODE 0750
#define FILE_MODE      0640

/* A file is filled in writes of so much, with a sync after so much. */
#define FILL_BYTES      (64u << 10)
#define FILL_SYNC_BYTES (1u << 20)

struct disk_file {
    int fd;
};

static struct file_disk *of(struct disk *d)
{
    return container_of(d, struct file_disk, disk);
}

static int outcome(int result)
{
    return result == 0 ? 0 : -errno;
}

static const char *error_text(struct disk *d, int error)
{
    (void)d;
    return strerror(-error);
}

/* --- files --------------------------------------------------------------------------------- */

static int64_t write_some(struct disk *d, struct disk_file *f, uint64_t offset, struct bytes bytes)
{
    ssize_t written;
    (void)d;
    do
        written = pwrite(f->fd, bytes.data, bytes.size, (off_t)offset);
    while (written < 0 && errno == EINTR);
    if (written < 0)
        return -errno;
    return written == 0 ? -EIO : written;
}

static int64_t read_some(struct disk *d, struct disk_file *f, uint64_t offset, uint8_t *at,
                         size_t size)
{
    ssize_t got;
    (void)d;
    do
        got = pread(f->fd, at, size, (off_t)offset);
    while (got < 0 && errno == EINTR);
    return got < 0 ? -errno : got;
}

static int truncate_file(struct disk *d, struct disk_file *f, uint64_t size)
{
    int result;
    (void)d;
    do
        result = ftruncate(f->fd, (off_t)size);
    while (result < 0 && errno == EINTR);
    return outcome(result);
}

static void close_file(struct disk *d, struct disk_file *f)
{
    close(f->fd); /* nothing is synced by it, so that its result tells nothing */
    heap_free(of(d)->heap, f);
}

static int open_file(struct disk *d, const char *name, struct disk_file **f, uint64_t *size)
{
    struct file_disk *disk = of(d);
    struct stat status;
    int flags = disk->mode == FILE_DISK_LOOK || disk->unclaimed ? O_RDONLY : O_RDWR;
    struct disk_file *file = heap_alloc(disk->heap, sizeof *file);
    if (file == NULL)
        return -ENOMEM;
    file->fd = openat(disk->directory, name, flags | O_CLOEXEC | O_NOFOLLOW);
    int error = file->fd < 0 ? -errno : outcome(fstat(file->fd, &status));
    if (error != 0) {
        if (file->fd >= 0)
            close(file->fd);
        heap_free(disk->heap, file);
        return error;
    }
    *f = file;
    *size = (uint64_t)status.st_size;
    return 0;
}

/* A failed sync is never tried again: what the kernel could not write it may have dropped. */
static int sync_now(struct disk *d, struct disk_file *f)
{
    (void)d;
    return outcome(fdatasync(f->fd));
}

/* --- the directory ------------------------------------------------------------------------- */

static int remove_now(struct disk *d, const char *name)
{
    struct file_disk *disk = of(d);
    if (unlinkat(disk->directory, name, 0) != 0 && errno != ENOENT)
        return -errno;
    return outcome(fsync(disk->directory));
}

static int rename_now(struct disk *d, const char *name, const char *new_name)
{
    struct file_disk *disk = of(d);
    if (renameat(disk->directory, name, disk->directory, new_name) != 0)
        return -errno;
    return outcome(fsync(disk->directory));
}

static bool is_plain(int directory, const char *name)
{
    struct stat status;
    return fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(status.st_mode);
}

static int list_names(struct disk *d, struct buffer *names)
{
    struct file_disk *disk = of(d);
    int fd = openat(disk->directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *directory = fd < 0 ? NULL : fdopendir(fd);
    if (directory == NULL) {
        int error = -errno;
        if (fd >= 0)
            close(fd);
        return error;
    }
    struct dirent *entry;
    while (errno = 0, (entry = readdir(directory)) != NULL) {
        char name[DISK_NAME_BYTES] = "";
        if (strlen(entry->d_name) >= sizeof name || !is_plain(disk->directory, entry->d_name))
            continue;
        memcpy(name, entry->d_name, strlen(entry->d_name));
        buffer_append(names, bytes_of(name, sizeof name));
    }
    int error = -errno;
    closedir(directory);
    return error;
}

/* --- requests ------------------------------------------------------------------------------ */

/* Takes the space now, so that writing does not run out of it halfway, and a sync need not wait for
 * the file to grow. A file system that cannot is no reason to do without the file. */
static int preallocate(int fd, uint64_t bytes)
{
    int result;
    if (bytes == 0)
        return 0;
    do
        result = fallocate(fd, 0, 0, (off_t)bytes);
    while (result != 0 && errno == EINTR);
    return result == 0 || errno == EOPNOTSUPP || errno == ENOSYS ? 0 : -errno;
}

/* In pieces that are synced each, so that a sync which somebody waits for never waits for more. */
static int fill_with_zeros(int fd, uint64_t bytes)
{
    static const uint8_t zeros[FILL_BYTES];
    uint64_t unsynced = 0;
    for (uint64_t at = 0; at < bytes;) {
        size_t left = bytes - at < sizeof zeros ? (size_t)(bytes - at) : sizeof zeros;
        ssize_t written = pwrite(fd, zeros, left, (off_t)at);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return written < 0 ? -errno : -EIO;
        at += (uint64_t)written;
        unsynced += (uint64_t)written;
        if (unsynced >= FILL_SYNC_BYTES || at == bytes) {
            if (fdatasync(fd) != 0)
                return -errno;
            unsynced = 0;
        }
    }
    return 0;
}

static int create(struct file_disk *d, struct disk_request *r)
{
    if (r->file == NULL)
        return -ENOMEM;
    int fd = openat(d->directory, r->name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, FILE_MODE);
    if (fd < 0)
        return -errno;
    int error = preallocate(fd, r->bytes);
    if (error == 0 && r->filled)
        error = fill_with_zeros(fd, r->bytes);
    if (error == 0)
        error = outcome(fsync(d->directory));
    if (error != 0) {
        close(fd);
        unlinkat(d->directory, r->name, 0); /* if it stays, the next start finds it unused */
        return error;
    }
    r->file->fd = fd;
    return 0;
}

/* A journal fills the machine's memory with pages that nobody reads, and takes a new one for every 4 KiB: on a
 * virtual machine from its host, for several µs. What is given up here is used again instead. If that
 * fails, the system gives it up when it has to. */
static void leave_cache(int fd)
{
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
}

static int publish(struct file_disk *d, const struct disk_request *r)
{
    int error = outcome(fdatasync(r->file->fd));
    if (error != 0)
        return error;
    return rename_now(&d->disk, r->name, r->new_name);
}

/* In a thread of the pool. The request is left alone by its owner until it is done. */
static void on_work(uv_work_t *work)
{
    struct file_disk_work *w = container_of(work, struct file_disk_work, work);
    struct disk_request *r = w->request;
    struct disk *d = &w->disk->disk;
    switch (r->operation) {
    case DISK_CREATE:
        w->status = create(w->disk, r);
        break;
    case DISK_SYNC:
        w->status = sync_now(d, r->file);
        if (w->status == 0 && r->complete)
            leave_cache(r->file->fd);
        break;
    case DISK_PUBLISH:
        w->status = publish(w->disk, r);
        break;
    case DISK_REMOVE:
        w->status = remove_now(d, r->name);
        break;
    case DISK_RENAME:
        w->status = rename_now(d, r->name, r->new_name);
        break;
    }
}

/* In the loop's thread. */
static void on_worked(uv_work_t *work, int cancelled)
{
    struct file_disk_work *w = container_of(work, struct file_disk_work, work);
    struct disk_request *r = w->request;
    struct file_disk *d = w->disk;
    CHECK(cancelled == 0);
    w->request = NULL;
    if (r->operation == DISK_CREATE && w->status != 0 && r->file != NULL) {
        heap_free(d->heap, r->file);
        r->file = NULL;
    }
    if (r->operation == DISK_PUBLISH) {
        close_file(&d->disk, r->file);
        r->file = NULL;
    }
    d->done(d, r, w->status);
}

static void begin(struct disk *disk, struct disk_request *r)
{
    struct file_disk *d = of(disk);
    size_t slot = 0;
    while (slot < FILE_DISK_REQUESTS_MAX && d->works[slot].request != NULL)
        slot++;
    CHECK(slot < FILE_DISK_REQUESTS_MAX);
    struct file_disk_work *w = &d->works[slot];
    *w = (struct file_disk_work){.disk = d, .request = r};
    if (r->operation == DISK_CREATE) /* here, since only this thread uses the heap */
        r->file = heap_alloc(d->heap, sizeof *r->file);
    CHECK(uv_queue_work(d->loop, &w->work, on_work, on_worked) == 0);
}

bool file_disk_is_busy(const struct file_disk *d)
{
    for (size_t i = 0; i < FILE_DISK_REQUESTS_MAX; i++) {
        if (d->works[i].request != NULL)
            return true;
    }
    return false;
}

/* --- who may write ------------------------------------------------------------------------- */

static int lock_file(int fd, short type)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET};
    return outcome(fcntl(fd, F_OFD_SETLK, &lock));
}

/* The two locks are of two open files, and one would keep the other out: for a moment this process has
 * none. Whoever takes it then has the directory. */
static int claim(struct disk *disk)
{
    struct file_disk *d = of(disk);
    if (!d->unclaimed)
        return 0;
    int fd = openat(d->directory, FILE_DISK_LOCK, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int error = lock_file(d->lock, F_UNLCK);
    if (error == 0)
        error = lock_file(fd, F_WRLCK);
    if (error != 0) {
        close(fd);
        bool taken = error == -EAGAIN || error == -EACCES || lock_file(d->lock, F_RDLCK) != 0;
        return taken ? -EBUSY : error;
    }
    close(d->lock);
    d->lock = fd;
    d->unclaimed = false;
    return 0;
}

/* --- open and close ------------------------------------------------------------------------ */

/* Says what is wrong with the directory. */
static int refuse(const struct file_disk *d, const char *path, int error, const char *doing,
                  char reason[FILE_DISK_REASON_BYTES])
{
    const char *advice = "";
    char permission[120];
    if (error == -EACCES || error == -EPERM) {
        snprintf(permission, sizeof permission,
                 "; it has to belong to the user that runs simple-kv, who is uid %u here",
                 (unsigned)geteuid());
        advice = permission;
    } else if (error == -ENOENT) {
        advice = "; the directory that it is to be in has to exist";
    } else if (error == -ENOTDIR) {
        advice = "; expected a directory, or nothing yet";
    } else if (error == -EROFS) {
        advice = "; expected one that can be written";
    } else if (error == -ENOSPC || error == -EDQUOT) {
        advice = "; the file system is full: make room on it";
    }
    snprintf(reason, FILE_DISK_REASON_BYTES, "%s directory \"%.200s\": cannot %s: %s%s",
             d->mode == FILE_DISK_SHARED ? "backup" : "data", path, doing, strerror(-error),
             advice);
    return error;
}

static int sync_parent(int directory)
{
    int parent = openat(directory, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (parent < 0)
        return -errno;
    int error = outcome(fsync(parent));
    close(parent);
    return error;
}

static int open_directory(struct file_disk *d, const char *path,
                          char reason[FILE_DISK_REASON_BYTES])
{
    bool creates = d->mode == FILE_DISK_OWN || d->mode == FILE_DISK_SHARED;
    bool created = creates && mkdir(path, DIRECTORY_MODE) == 0;
    if (creates && !created && errno != EEXIST)
        return refuse(d, path, -errno, "create it", reason);
    d->directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (d->directory < 0)
        return refuse(d, path, -errno, "open it", reason);
    int error = created ? sync_parent(d->directory) : 0;
    return error == 0 ? 0 : refuse(d, path, error, "sync the directory that it is in", reason);
}

/* Only asks, so that a node may be started meanwhile. Without the right to read the file there is
 * nothing to ask. */
static void look_at_lock(struct file_disk *d)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    d->lock = openat(d->directory, FILE_DISK_LOCK, O_RDONLY | O_CLOEXEC);
    d->in_use = d->lock >= 0 && fcntl(d->lock, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

/* A file that cannot be opened for writing can only have a lock for reading. That keeps out whoever writes,
 * wherever the file system may be writable; others that only read, the second lock does. */
static int lock_for_reading(int fd)
{
    int error = lock_file(fd, F_RDLCK);
    if (error == 0 && flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
        error = -EAGAIN;
    return error;
}

/* The lock belongs to the open file: it goes when this process does, however it ends. */
static int take_lock(struct file_disk *d, const char *path, char reason[FILE_DISK_REASON_BYTES])
{
    d->lock = openat(d->directory, FILE_DISK_LOCK, O_RDWR | O_CREAT | O_CLOEXEC, FILE_MODE);
    int error = d->lock < 0 ? -errno : 0;
    if (error == -EROFS && d->mode == FILE_DISK_OWN) {
        d->lock = openat(d->directory, FILE_DISK_LOCK, O_RDONLY | O_CLOEXEC);
        d->unclaimed = d->lock >= 0;
    }
    if (d->lock < 0)
        return refuse(d, path, error, "write its file \"" FILE_DISK_LOCK "\"", reason);
    error = d->unclaimed ? lock_for_reading(d->lock) : lock_file(d->lock, F_WRLCK);
    if (error == 0)
        return 0;
    if (error != -EAGAIN && error != -EACCES)
        return refuse(d, path, error, "lock its file \"" FILE_DISK_LOCK "\"", reason);
    snprintf(reason, FILE_DISK_REASON_BYTES,
             "data directory \"%.200s\": in use by another process; each node needs one of its own "
             "(--data-dir)",
             path);
    return -EBUSY;
}

int file_disk_open(struct file_disk *d, const char *path, enum file_disk_mode mode,
                   struct heap *heap, uv_loop_t *loop, char reason[FILE_DISK_REASON_BYTES])
{
    *d = (struct file_disk){.heap = heap, .loop = loop, .directory = -1, .lock = -1, .mode = mode};
    d->disk = (struct disk){.begin = begin,
                            .claim = claim,
                            .write = write_some,
                            .truncate = truncate_file,
                            .close = close_file,
                            .error_text = error_text,
                            .list = list_names,
                            .open = open_file,
                            .read = read_some,
                            .sync_now = sync_now,
                            .remove_now = remove_now,
                            .rename_now = rename_now};
    int error = open_directory(d, path, reason);
    if (error == 0 && mode == FILE_DISK_LOOK)
        look_at_lock(d);
    else if (error == 0 && mode != FILE_DISK_SHARED)
        error = take_lock(d, path, reason);
    if (error != 0)
        file_disk_close(d);
    return error;
}

void file_disk_close(struct file_disk *d)
{
    CHECK(!file_disk_is_busy(d));
    if (d->lock >= 0)
        close(d->lock);
    if (d->directory >= 0)
        close(d->directory);
    d->lock = d->directory = -1;
}
