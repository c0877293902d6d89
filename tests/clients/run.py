"""Runs AWS's clients that take long: all, or those whose name contains an argument. Ends with 'N passed, M failed'."""

import pathlib
import sys

HERE = pathlib.Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent / "mounted")]

from runner import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main(HERE, sys.argv[1:]))
