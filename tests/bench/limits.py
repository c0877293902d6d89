"""A time limit for workloads: a peer that stalls is recorded as such and holds up nothing."""

import contextlib
import signal


class NotFinishedError(Exception):
    """The limit passed."""


@contextlib.contextmanager
def limited():
    """Within it, what [arm] set ends the work by raising NotFinishedError."""

    def late(_number, _frame):
        raise NotFinishedError

    before = signal.signal(signal.SIGALRM, late)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def arm(seconds):
    """From now on, `seconds` are left."""
    signal.setitimer(signal.ITIMER_REAL, seconds)
