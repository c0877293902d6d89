#!/usr/bin/env python3
"""Helpers of custodians against what they speak to: all tests, or those whose name contains an argument. Ends with
'N passed, M failed'."""

import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import runner  # noqa: E402

sys.exit(runner.main(HERE, sys.argv[1:]))
