"""A bounded share of what `scripts/kills.sh` does at length."""

import kills
from harness import MountedTest


class Kills(MountedTest):
    options = None

    def test_what_was_promised_before_a_sigkill_is_there_after_the_next_mount(self):
        (self.dir / "under-load").mkdir()
        kills.run(self.dir / "under-load", 20, self.id())
