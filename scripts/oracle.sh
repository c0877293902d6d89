#!/usr/bin/env bash
# Compares `rekeyfs kms` with an oracle: the same verbs through the aws command on LocalStack's KMS, which it starts on
# a loopback port. Both come from PyPI, at fixed versions, into a virtual environment under target/. Ends with
# 'N passed, M failed'; where PyPI can't be reached it says that it did not run.
# Options: --help.
. "$(dirname "$0")/lib.sh"

BINARY=${REKEYFS:-$TARGET/release/rekeyfs}
PLACE=$TARGET/oracle
PINS=$ROOT/tests/oracle/requirements.txt
PYTHON=$PLACE/venv/bin/python
case " $* " in
*" -h "* | *" --help "*) exec env PYTHONDONTWRITEBYTECODE=1 python3 "$ROOT/tests/oracle/run.py" --help ;;
esac

# Why it can't run here: said, and no failure.
did_not_run() {
    skip "comparison with LocalStack's KMS" "$1"
    summary
    exit 0
}

install_missing python3:python3
python3 -c 'import ensurepip, venv' 2>/dev/null || install_missing no-such-command:python3-venv
python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
    did_not_run "it needs Python 3.10, this is $(python3 --version)"
if ! cmp -s "$PINS" "$PLACE/installed"; then
    echo "installing LocalStack and the aws command into $PLACE (once) ..."
    rm -rf "$PLACE"
    mkdir -p "$PLACE"
    if ! { python3 -m venv "$PLACE/venv" && "$PYTHON" -m pip install --disable-pip-version-check --no-input \
        --no-deps --no-compile -r "$PINS"; } >"$PLACE/log" 2>&1; then
        did_not_run "their packages could not be installed: $(grep -i 'error' "$PLACE/log" | tail -n 1)"
    fi
    cp "$PINS" "$PLACE/installed"
fi
need_binary "$BINARY"
exec env PYTHONDONTWRITEBYTECODE=1 "$PYTHON" "$ROOT/tests/oracle/run.py" --binary "$BINARY" "$@"
