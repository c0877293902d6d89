#!/usr/bin/env bash
# Kills a mount with SIGKILL at random instants under load, 500 times, with rotations, re-wraps and new keys beside,
# and holds what is there after each next mount against what was promised. Ends with N passed, M failed.
# Options: --help.
. "$(dirname "$0")/lib.sh"

export REKEYFS=${REKEYFS:-$TARGET/release/rekeyfs}
install_missing python3:python3 fusermount3:fuse3
if [ ! -x "$REKEYFS" ]; then
    need_build_tools
    (cd "$ROOT" && cargo build --locked --release) || exit 2
fi
[ -e /dev/fuse ] || die "no /dev/fuse here: load the fuse module"
exec env PYTHONDONTWRITEBYTECODE=1 python3 "$ROOT/tests/mounted/kills.py" "$@"
