/* Preloaded into fsx, which has neither of these by itself: files are opened with O_DIRECT (FSX_DIRECT=1), and each
 * fdatasync is preceded by an allocation that keeps the size, before and beyond the end, which must change nothing. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/types.h>

typedef int (*open_call)(const char *, int, ...);
typedef int (*sync_call)(int);

static int open_as(const char *name, const char *path, int flags, mode_t mode)
{
    open_call next = (open_call)dlsym(RTLD_NEXT, name);
    if (getenv("FSX_DIRECT") && (flags & O_ACCMODE) == O_RDWR)
        flags |= O_DIRECT;
    return next(path, flags, mode);
}

int open(const char *path, int flags, ...)
{
    va_list arguments;
    va_start(arguments, flags);
    mode_t mode = va_arg(arguments, mode_t);
    va_end(arguments);
    return open_as("open", path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
    va_list arguments;
    va_start(arguments, flags);
    mode_t mode = va_arg(arguments, mode_t);
    va_end(arguments);
    return open_as("open64", path, flags, mode);
}

int fdatasync(int fd)
{
    static unsigned calls;
    sync_call next = (sync_call)dlsym(RTLD_NEXT, "fdatasync");
    off_t offset = (off_t)(++calls * 2654435761u % 300000);
    if (fallocate(fd, FALLOC_FL_KEEP_SIZE, offset, 1 + (off_t)(calls * 40503u % 70000)) != 0) {
        perror("fallocate with KEEP_SIZE");
        abort();
    }
    return next(fd);
}
