"""Operations on a vault ask a FUSE filesystem below for no more than docs/lower-calls.md says."""

from harness import ROOT, MountedTest
from lower_requests import budgets, measure, total

PAGE = ROOT / "docs" / "lower-calls.md"
# A request that comes by chance comes in one of them.
RUNS = 3


class LowerRequests(MountedTest):
    options = None

    def setUp(self):
        super().setUp()
        # A user's bindfs shows other owners.
        self.need_root()
        self.need_tools("bindfs", "fusermount3")

    def test_an_operation_takes_no_more_requests_than_the_table_says(self):
        allowed = budgets(PAGE.read_text())
        too_many = {}
        for run in range(RUNS):
            base = self.dir / f"run{run}"
            base.mkdir()
            counted = {name: counts for name, (_, counts) in measure(base).items()}
            self.assertEqual(set(counted), set(allowed), "operations measured, and operations of the table")
            # Where a directory's listing is cut into requests depends on the kernel.
            most = {name: count + count // 50 for name, count in allowed.items()}
            now = {name: f"{name}: {counts}, and may take {most[name]}" for name, counts in counted.items() if total(counts) > most[name]}
            too_many = now if run == 0 else {name: said for name, said in now.items() if name in too_many}
            if not too_many:
                return
        self.fail(f"{PAGE.name} has what each may take:\n" + "\n".join(too_many.values()))
