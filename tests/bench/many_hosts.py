"""What a shared vault costs by its hosts and by its files: one that writes and many that read, on one machine. Hosts are UTS
namespaces. scripts/many-hosts.sh runs it. Prints two tables in Markdown; each figure of a command is the median of five."""

import contextlib
import os
import pathlib
import statistics
import sys
import time

HERE = pathlib.Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "mounted")]

from test_readers import Shared  # noqa: E402

READERS = (0, 1, 8, 32, 62)
FILES = (100, 20_000)
REPEATS = 5
# A reader looks whether keys have changed, and renews its lease, in this time several times.
IDLE_SECONDS = 15


def used(pid):
    """Seconds of processor time and system calls that read or write, of a process so far."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    calls = dict(line.split(": ") for line in pathlib.Path(f"/proc/{pid}/io").read_text().splitlines())
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"), int(calls["syscr"]) + int(calls["syscw"])


def resident(pid):
    """MiB of a process's own memory: what it shares with others, as its program, is left out."""
    pages = pathlib.Path(f"/proc/{pid}/statm").read_text().split()
    return (int(pages[1]) - int(pages[2])) * os.sysconf("SC_PAGE_SIZE") / 2**20


class Measured(Shared):
    def timed(self, call):
        began = time.perf_counter()
        call()
        return time.perf_counter() - began

    def median(self, *calls):
        """Of calls that are made one after the other, again and again: the median of each."""
        rows = [[self.timed(call) for call in calls] for _ in range(REPEATS)]
        return [statistics.median(column) for column in zip(*rows, strict=True)]

    def by_hosts(self):
        self.mount_writer()
        (self.writer.mnt / "f").write_bytes(b"content")
        readers, rows = [], []
        for count in READERS:
            mounts = []
            while len(readers) < count:
                began = time.perf_counter()
                readers.append(self.reader(f"reader-{len(readers)}"))
                mounts.append(time.perf_counter() - began)
            rotate, disable, enable = self.median(self.writer.rotate, self.disable, self.enable)
            for reader in readers:
                self.assertEqual((reader.mnt / "f").read_bytes(), b"content")
            rows.append((count, mounts[-1] if mounts else None, rotate, disable, enable))
        self.assertEqual(self.writer.events("Keyring Change Unconfirmed"), [])
        before = [used(vault.pid) for vault in (self.writer, *readers)]
        time.sleep(IDLE_SECONDS)
        after = [used(vault.pid) for vault in (self.writer, *readers)]
        each = [((now[0] - then[0]) / IDLE_SECONDS, (now[1] - then[1]) / IDLE_SECONDS) for then, now in zip(before, after, strict=True)]
        return rows, each[0], [statistics.median(column) for column in zip(*each[1:], strict=True)], resident(readers[0].pid)

    def by_files(self):
        self.mount_writer()
        reader, rows, made = self.reader("reader"), [], 0
        for count in FILES:
            for n in range(made, count):
                directory = self.writer.mnt / f"d{n // 1000}"
                directory.mkdir(exist_ok=True)
                (directory / str(n)).write_bytes(b"content")
            made = count
            walk = self.timed(lambda: [path.read_bytes() for path in reader.mnt.rglob("*") if path.is_file()])
            with contextlib.ExitStack() as held:
                # Both have them open, up to what one host may.
                for mnt in (self.writer.mnt, reader.mnt):
                    for n in range(min(count, 400)):
                        held.enter_context(open(mnt / f"d{n // 1000}" / str(n), "rb"))
                rotate, disable, enable = self.median(self.writer.rotate, self.disable, self.enable)
            rows.append((count, rotate, disable, enable, walk / count * 1e6))
        return rows

    def runTest(self):
        raise NotImplementedError


def of(measure):
    test = Measured()
    test.setUp()
    try:
        return getattr(test, measure)()
    finally:
        test.doCleanups()
        test.tearDown()


def shown(seconds):
    return "-" if seconds is None else f"{seconds:.2f} s"


def main():
    rows, writer, reader, memory = of("by_hosts")
    print("| readers | `mount` of the last one | `rotate` | `disable-key` | `enable-key` |\n|--|--|--|--|--|")
    for count, *seconds in rows:
        print(f"| {count} | {' | '.join(map(shown, seconds))} |")
    for name, (cpu, calls) in (("writer", writer), ("reader", reader)):
        print(f"\nAn idle {name}, beside {READERS[-1]} readers: {cpu * 100:.1f} % of a core, {calls:.0f} reads and writes a second.")
    print(f"A reader has {memory:.0f} MiB of memory to itself.\n")
    print("| files | `rotate` | `disable-key` | `enable-key` | walked and read by a reader |\n|--|--|--|--|--|")
    for count, *seconds, each in of("by_files"):
        print(f"| {count:,} | {' | '.join(map(shown, seconds))} | {each:.0f} µs a file |")


if __name__ == "__main__":
    main()
