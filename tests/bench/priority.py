"""What is measured goes before what else runs on the machine, so that ratios hold on one that isn't idle."""

import contextlib
import os
import pathlib

_NICE = -15


def raise_all():
    """Raises the priority of all processes of this PID namespace, daemons included. Without the right to, it changes
    nothing."""
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            for thread in (process / "task").iterdir():
                os.setpriority(os.PRIO_PROCESS, int(thread.name), _NICE)
        # Where the kernel groups processes by session, it is the group that counts.
        with contextlib.suppress(OSError):
            (process / "autogroup").write_text(str(_NICE))
