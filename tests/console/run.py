"""Runs the console's tests in Chromium: all, or those whose name contains an argument. Ends with 'N passed, M failed'.

    --screenshots DIR   makes the pictures of docs instead"""

import pathlib
import sys

HERE = pathlib.Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent / "mounted")]

from runner import main  # noqa: E402

if __name__ == "__main__":
    if sys.argv[1:2] == ["--screenshots"]:
        import screenshots

        screenshots.make(pathlib.Path(sys.argv[2]))
    else:
        sys.exit(main(HERE, sys.argv[1:]))
