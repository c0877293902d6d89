"""Several at once at one file: what one has written stays as it is whatever others do to other bytes, and no one is shown
what was there before."""

import os

from at_once import as_many_as_go, asynchronous, overlapping
from harness import MountedTest

SECONDS = 4


class OverlappingWrites(MountedTest):
    flags = os.O_DIRECT

    def test_bytes_beside_a_mapped_page_are_those_of_the_last_write(self):
        path = self.write("f", bytes(256 << 10), fsync=True)
        rounds, lost = overlapping(path, SECONDS, self.flags)
        self.assertEqual(lost, 0, f"of {rounds} writes so many came back with old bytes beside the page")


class OverlappingBufferedWrites(OverlappingWrites):
    """The same through the page cache, where each write is sent as it is made."""

    options = ("--no-writeback",)
    flags = 0


class AsynchronousDirectWrites(MountedTest):
    def test_a_completed_write_is_what_everybody_reads(self):
        path = self.write("f", bytes(256 << 10), fsync=True)
        rounds, stale = asynchronous(path, SECONDS)
        self.assertEqual(stale, {"read": 0, "mapping": 0, "disk": 0}, f"old pages in {rounds} rounds")

    def test_as_many_as_the_kernel_lets_go_on_dont_wait_for_each_other(self):
        path = self.write("f", bytes(128 << 10), fsync=True)
        self.assertGreater(as_many_as_go(path, 2 * SECONDS), 0)


class AsynchronousDirectWritesWithoutWriteback(AsynchronousDirectWrites):
    options = ("--no-writeback",)
