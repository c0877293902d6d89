"""FIDO2 keys without one: the programs of fido2-tools with a libfido2 whose devices are directories (fido2_device.c). What these programs
read and print is theirs."""

import pathlib
import shutil
import subprocess

HERE = pathlib.Path(__file__).resolve().parent
PROGRAMS = ("fido2-token", "fido2-cred", "fido2-assert")
# No id has it in it, which may be what is shown.
PIN = "zebra 2468"


def lacking():
    """What isn't installed here of what they need."""
    return [tool for tool in (*PROGRAMS, "cc") if shutil.which(tool) is None]


class Keys:
    """A host's USB sockets: `programs` is the directory of the programs that find what is plugged in there."""

    def __init__(self, directory):
        self.sockets, self.programs, self.drawer = directory / "sockets", directory / "programs", directory / "drawer"
        for one in (self.sockets, self.programs, self.drawer):
            one.mkdir()
        device = directory / "device.so"
        command = ["cc", "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", f'-DDEVICES="{self.sockets}"']
        subprocess.run([*command, "-o", device, HERE / "fido2_device.c"], check=True, timeout=30)
        for program in PROGRAMS:
            script = self.programs / program
            script.write_text(f'#!/bin/sh\nLD_PRELOAD={device} exec {shutil.which(program)} "$@"\n')
            script.chmod(0o755)

    def make(self, name="hidraw0", pin=PIN):
        """A new key, which is plugged in."""
        key = self.sockets / name
        key.mkdir()
        if pin:
            (key / "pin").write_text(pin)
        return key

    def unplug(self, name="hidraw0"):
        (self.sockets / name).rename(self.drawer / name)

    def plug(self, name="hidraw0", socket=None):
        """It takes PINs again after three wrong ones in a row."""
        key = (self.drawer / name).rename(self.sockets / (socket or name))
        (key / "in-a-row").unlink(missing_ok=True)

    def stop_at(self, step):
        """At this step a program waits, from now on."""
        (self.sockets / "stopped").unlink(missing_ok=True)
        (self.sockets / "stop").write_text(step)

    def stopped(self):
        """Who runs the program that waits, once one does."""
        path = self.sockets / "stopped"
        return int(path.read_text()) if path.exists() else None

    def goes_on(self):
        (self.sockets / "stop").unlink()

    def steps(self):
        """What was asked of keys since the last time."""
        path = self.sockets / "log"
        steps = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return steps
