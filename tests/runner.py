"""What the Python suites share: one line a test as it ends, failures in full, and 'N passed, M failed' at the end."""

import signal
import time
import unittest


class Result(unittest.TestResult):
    """One line a test as it ends; failures in full at once."""

    def __init__(self):
        super().__init__()
        self.passed = 0
        self.failed = set()

    def startTest(self, test):
        super().startTest(test)
        self.began = time.monotonic()

    def line(self, word, test, detail=""):
        print(f"{word:7} {test.id()} ({time.monotonic() - self.began:.1f} s){detail}", flush=True)

    def addSuccess(self, test):
        self.passed += 1
        self.line("ok", test)

    def fail_with(self, test, err):
        self.failed.add(test.id())
        self.line("FAILED", test)
        print("        " + self._exc_info_to_string(err, test).replace("\n", "\n        "), flush=True)

    def addFailure(self, test, err):
        self.fail_with(test, err)

    def addError(self, test, err):
        if not hasattr(test, "_testMethodName"):  # a class that could not be set up
            self.began = time.monotonic()
        self.fail_with(test, err)

    def addSubTest(self, test, subtest, err):
        if err is not None:
            self.fail_with(subtest, err)

    def addSkip(self, test, reason):
        self.skipped.append((test, reason))
        self.line("SKIPPED", test, f": {reason}")


def each(suite):
    for item in suite:
        if isinstance(item, unittest.TestSuite):
            yield from each(item)
        else:
            yield item


def main(directory, wanted):
    """Runs the tests of a directory: all, or those whose name contains one of `wanted`. Returns the exit status."""
    # nohup, and a shell that starts this in the background, have it ignore some signals, and so each program that it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for ignored in (signal.SIGHUP, signal.SIGQUIT):
        signal.signal(ignored, signal.SIG_DFL)
    found = unittest.defaultTestLoader.discover(str(directory), pattern="test_*.py")
    chosen = unittest.TestSuite(t for t in each(found) if not wanted or any(a in t.id() for a in wanted))
    result = Result()
    chosen.run(result)
    for test, reason in result.skipped:
        print(f"did not run: {test.id()}: {reason}")
    print(f"{result.passed} passed, {len(result.failed)} failed")
    return 1 if result.failed or result.passed == 0 else 0
