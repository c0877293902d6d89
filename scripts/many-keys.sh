#!/usr/bin/env bash
# What a vault of 10,000 keys costs whoever looks at them, beside one of 1,000: prints the table of docs/keys.md, "Many keys".
# REKEYFS names another build of the program, with rekeyfs-console and examples/many-keys beside it.
. "$(dirname "$0")/lib.sh"

export REKEYFS=${REKEYFS:-$TARGET/release/rekeyfs}
REKEYFS_MANY_KEYS=$(dirname "$REKEYFS")/examples/many-keys
install_missing python3:python3 fusermount3:fuse3
if [ ! -x "$REKEYFS_MANY_KEYS" ]; then
    need_build_tools
    (cd "$ROOT" && cargo build --locked --release --workspace --bins --example many-keys --features rekeyfs/benchmarks) || exit 2
fi
as_root env PATH="$PATH" REKEYFS="$REKEYFS" REKEYFS_MANY_KEYS="$REKEYFS_MANY_KEYS" PYTHONDONTWRITEBYTECODE=1 \
    unshare --mount --propagation private python3 "$ROOT/tests/bench/many_keys.py"
