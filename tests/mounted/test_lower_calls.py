"""Operations take no more system calls on the tree below than docs/lower-calls.md says."""

import pathlib
import shutil

from harness import ROOT, MountedTest
from lower_calls import RANDOM, budgets, measure

PAGE = ROOT / "docs" / "lower-calls.md"
# A call that comes by chance comes in one of them.
RUNS = 3


def over(counted, allowed):
    """The operations that took more than they may, and what they took."""
    for name, calls in counted.items():
        most = allowed[name]
        # Where a directory's listing is cut into requests depends on the kernel.
        most = (most[0] + most[0] // 50, *most[1:])
        took = (calls.storage(), calls.syncs(), calls[RANDOM])
        if any(count > budget for count, budget in zip(took, most)):
            yield name, f"{name}: {took} calls, syncs and draws, and may take {most}: {dict(calls)}"


class LowerCalls(MountedTest):
    options = None

    def setUp(self):
        super().setUp()
        # A root's mount leaves permissions to nobody, and strace attaches to it.
        self.need_root()
        self.need_tools("strace")

    def test_an_operation_takes_no_more_lower_calls_than_the_table_says(self):
        allowed = budgets(PAGE.read_text())
        too_many = {}
        for run in range(RUNS):
            base = self.dir / f"run{run}"
            base.mkdir()
            vault = self.new_vault(base)
            vault.mount()
            counted = measure(vault)
            vault.umount()
            shutil.rmtree(base)
            self.assertEqual(set(counted), set(allowed), "operations measured, and operations of the table")
            now = dict(over(counted, allowed))
            too_many = now if run == 0 else {name: said for name, said in now.items() if name in too_many}
            if not too_many:
                return
        self.fail(f"{pathlib.Path(PAGE).name} has what each may take:\n" + "\n".join(too_many.values()))
