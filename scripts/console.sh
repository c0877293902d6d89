#!/usr/bin/env bash
# The console in a browser: Chromium, which it installs (Debian's), driven by Playwright (from PyPI, into target/python). Ends with
# 'N passed, M failed'; where they can't be had it says that it did not run. Arguments: names of tests, or --screenshots docs.
. "$(dirname "$0")/lib.sh"

BINARY=${REKEYFS:-$TARGET/release/rekeyfs}
PYTHON=$TARGET/python/bin/python

# Why it can't run here: said, and no failure.
did_not_run() {
    skip "the console in a browser" "$1"
    summary
    exit 0
}

[ -e /dev/fuse ] || did_not_run "no /dev/fuse"
(install_missing chromium:chromium) || did_not_run "Chromium could not be installed"
[ "${1-}" != --screenshots ] || install_missing pngquant:pngquant
if ! "$PYTHON" -c 'import playwright' 2>/dev/null; then
    echo "installing Playwright into $TARGET/python (once) ..."
    python3 -c 'import ensurepip, venv' 2>/dev/null || install_missing no-such-command:python3-venv
    mkdir -p "$LOGS"
    { [ -x "$PYTHON" ] || python3 -m venv "$TARGET/python"; } &&
        "$PYTHON" -m pip install -q --disable-pip-version-check --no-input --no-compile playwright >"$LOGS/playwright.log" 2>&1 ||
        did_not_run "Playwright could not be installed: $(tail -n 1 "$LOGS/playwright.log")"
fi
need_binary "$BINARY"
as_root env PATH="$PATH" REKEYFS="$BINARY" REKEYFS_TEST_DIR="$TARGET/console-tests" PYTHONDONTWRITEBYTECODE=1 \
    unshare --mount --propagation private --pid --fork --kill-child --mount-proc "$PYTHON" "$ROOT/tests/console/run.py" "$@"
status=$?
as_root rm -rf "$TARGET/console-tests"
exit $status
