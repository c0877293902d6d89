"""System calls that Python's library lacks: mount, fallocate, renameat2, sync_file_range, parent-death signal."""

import ctypes
import os
import signal

_libc = ctypes.CDLL(None, use_errno=True)

MS_NOSUID = 2
MS_NODEV = 4
FALLOC_KEEP_SIZE = 1
FALLOC_PUNCH_HOLE = 2
FALLOC_ZERO_RANGE = 16
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_SYNC_FILE_RANGE_WRITE = 2
_PR_SET_PDEATHSIG = 1


def _checked(result, what):
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), what)


def mount(source, target, kind, flags=0, data=""):
    """mount(2)."""
    _checked(_libc.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), data.encode()), target)


def fallocate(fd, mode, offset, length):
    """fallocate(2); glibc's posix_fallocate would emulate what the filesystem refuses."""
    _checked(_libc.fallocate64(fd, mode, ctypes.c_longlong(offset), ctypes.c_longlong(length)), f"fallocate {mode}")


def exchange(a, b):
    """Swaps two names."""
    _checked(_libc.renameat2(_AT_FDCWD, os.fsencode(a), _AT_FDCWD, os.fsencode(b), _RENAME_EXCHANGE), str(a))


def start_writeback(fd):
    """Has the dirty pages of a file written, as the kernel does in its own time; nothing is promised by it."""
    _checked(_libc.sync_file_range(fd, ctypes.c_longlong(0), ctypes.c_longlong(0), _SYNC_FILE_RANGE_WRITE), "writeback")


def die_with_parent():
    """Asks for SIGKILL when the parent goes."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
