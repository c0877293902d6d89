"""Runs the tests of the package as it is installed: all, or those whose name contains an argument. Ends with
'N passed, M failed'. Where no machine can be made (see machine.py) it says so and that nothing ran."""

import pathlib
import sys

HERE = pathlib.Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from machine import CannotRun, base_archive, check_host, package  # noqa: E402
from runner import main  # noqa: E402

if __name__ == "__main__":
    try:
        check_host()
        print(f"        {package()}", flush=True)
        base_archive()
    except CannotRun as reason:
        print(f"did not run: tests of the installed package: {reason}\n0 passed, 0 failed")
        sys.exit(0)
    sys.exit(main(HERE, sys.argv[1:]))
