/*
 * A disk that fails on command, and one that forgets what was not synced: loaded into a server by LD_PRELOAD.
 *
 * The file that DISK_CONTROL names says what the disk does to the database, its log and its shared memory:
 *   before      a write fails and writes nothing
 *   after       a write fails although it wrote
 *   sync        a sync fails, and what was written since the last one is taken for clean, as Linux does
 *   checkpoint  a write to the database itself fails, while its log takes more
 *   database    a sync of the database itself fails, as with `sync`, while its log can be synced; it leaves a file `.failed`
 * Beside database and log a file `.durable` holds what a loss of power would leave of each: what was synced.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#define PATH_BYTES 4096
#define FILES_MAX 16

struct range { off_t at; size_t length; };
struct file { dev_t device; ino_t number; struct range *dirty; size_t count, room; };

static struct file files[FILES_MAX];
static size_t files_known;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static int ends_with(const char *text, const char *end) {
    size_t length = strlen(text), tail = strlen(end);
    return length >= tail && strcmp(text + length - tail, end) == 0;
}

/* Whether it is one of the three files; then also its path. */
static int is_ours(int fd, char *path) {
    char link[64];
    if (fd < 3) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_BYTES - 16);
    if (length <= 0) return 0;
    path[length] = 0;
    return ends_with(path, ".db") || ends_with(path, ".db-wal") || ends_with(path, ".db-shm");
}

static int commanded(const char *mode) {
    const char *control = getenv("DISK_CONTROL");
    char text[32];
    if (!control) return 0;
    int fd = open(control, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    ssize_t length = read(fd, text, sizeof text - 1);
    close(fd);
    text[length > 0 ? length : 0] = 0;
    return strcmp(text, mode) == 0;
}

static int write_fails(const char *path) {
    return commanded("before") || (commanded("checkpoint") && ends_with(path, ".db"));
}

static struct file *known(const struct stat *found) {
    for (size_t i = 0; i < files_known; i++)
        if (files[i].device == found->st_dev && files[i].number == found->st_ino) return &files[i];
    if (files_known == FILES_MAX) abort();
    files[files_known] = (struct file){.device = found->st_dev, .number = found->st_ino};
    return &files[files_known++];
}

static void written(int fd, const char *path, off_t at, size_t length) {
    struct stat found;
    if (ends_with(path, "-shm") || fstat(fd, &found) != 0) return;
    pthread_mutex_lock(&lock);
    struct file *file = known(&found);
    if (file->count == file->room) {
        file->room = file->room * 2 + 64;
        file->dirty = realloc(file->dirty, file->room * sizeof *file->dirty);
        if (!file->dirty) abort();
    }
    file->dirty[file->count++] = (struct range){at, length};
    pthread_mutex_unlock(&lock);
}

/* What was written since the last sync reaches the disk, or never will. */
static void synced(int fd, const char *path, int reaches) {
    struct stat found;
    char durable[PATH_BYTES + 16], copied[1 << 16], link[64];
    if (ends_with(path, "-shm") || fstat(fd, &found) != 0) return;
    pthread_mutex_lock(&lock);
    struct file *file = known(&found);
    snprintf(durable, sizeof durable, "%s.durable", path);
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    int to = reaches ? open(durable, O_WRONLY | O_CREAT | O_CLOEXEC, 0600) : -1;
    int from = reaches ? open(link, O_RDONLY | O_CLOEXEC) : -1;
    for (size_t i = 0; to >= 0 && from >= 0 && i < file->count; i++) {
        struct range left = file->dirty[i];
        while (left.length > 0) {
            size_t part = left.length < sizeof copied ? left.length : sizeof copied;
            ssize_t length = syscall(SYS_pread64, from, copied, part, left.at);
            if (length <= 0) break;
            if (syscall(SYS_pwrite64, to, copied, (size_t)length, left.at) != length) abort();
            left.at += length;
            left.length -= (size_t)length;
        }
    }
    if (to >= 0) close(to);
    if (from >= 0) close(from);
    file->count = 0;
    pthread_mutex_unlock(&lock);
}

ssize_t write(int fd, const void *bytes, size_t length) {
    char path[PATH_BYTES];
    if (!is_ours(fd, path)) return syscall(SYS_write, fd, bytes, length);
    if (write_fails(path)) { errno = EIO; return -1; }
    off_t at = lseek(fd, 0, SEEK_CUR);
    ssize_t done = syscall(SYS_write, fd, bytes, length);
    if (done > 0) written(fd, path, at, (size_t)done);
    if (commanded("after")) { errno = EIO; return -1; }
    return done;
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off_t at) {
    char path[PATH_BYTES];
    if (!is_ours(fd, path)) return syscall(SYS_pwrite64, fd, bytes, length, at);
    if (write_fails(path)) { errno = EIO; return -1; }
    ssize_t done = syscall(SYS_pwrite64, fd, bytes, length, at);
    if (done > 0) written(fd, path, at, (size_t)done);
    if (commanded("after")) { errno = EIO; return -1; }
    return done;
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t at) { return pwrite64(fd, bytes, length, at); }

static int sync_file(int fd, long number) {
    char path[PATH_BYTES], failed[PATH_BYTES + 16];
    if (!is_ours(fd, path)) return (int)syscall(number, fd);
    int database = ends_with(path, ".db") && commanded("database");
    int fails = database || commanded("sync");
    synced(fd, path, !fails);
    if (database) {
        snprintf(failed, sizeof failed, "%s.failed", path);
        close(open(failed, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    }
    if (fails) { errno = EIO; return -1; }
    return 0;
}

int fsync(int fd) { return sync_file(fd, SYS_fsync); }

int fdatasync(int fd) { return sync_file(fd, SYS_fdatasync); }

int ftruncate64(int fd, off_t length) {
    char path[PATH_BYTES], durable[PATH_BYTES + 16];
    if (!is_ours(fd, path)) return (int)syscall(SYS_ftruncate, fd, length);
    if (write_fails(path)) { errno = EIO; return -1; }
    snprintf(durable, sizeof durable, "%s.durable", path);
    if (truncate(durable, length) != 0 && errno != ENOENT) abort();
    return (int)syscall(SYS_ftruncate, fd, length);
}

int ftruncate(int fd, off_t length) { return ftruncate64(fd, length); }

int unlink(const char *path) {
    struct stat found;
    char durable[PATH_BYTES + 16];
    if (ends_with(path, ".db-wal") && stat(path, &found) == 0) {
        pthread_mutex_lock(&lock);
        known(&found)->count = 0;
        pthread_mutex_unlock(&lock);
        snprintf(durable, sizeof durable, "%s.durable", path);
        syscall(SYS_unlinkat, AT_FDCWD, durable, 0);
    }
    return (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
}
