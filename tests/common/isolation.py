"""The first process of a PID namespace, for rigs that scripts start in namespaces of their own."""

import os
import signal
import sys


def as_init(work):
    """Runs `work()` in a child and returns its status; reaps what daemons leave, passes signals on."""
    child = os.fork()
    if child == 0:
        status = 2
        try:
            status = work()
        except Exception:
            sys.excepthook(*sys.exc_info())
        sys.stdout.flush()
        os._exit(status)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _frame: os.kill(child, number))
    while True:
        pid, status = os.wait()
        if pid == child:
            return os.waitstatus_to_exitcode(status)
