#!/usr/bin/env bash
# What a shared vault costs by the number of its hosts, and of its files: prints the tables of docs/hosts.md, "How far it goes".
# All hosts are on this machine, as UTS namespaces: it tells what grows with what, and not how fast a cluster is.
# REKEYFS names another build of the program.
. "$(dirname "$0")/lib.sh"

export REKEYFS=${REKEYFS:-$TARGET/release/rekeyfs}
install_missing python3:python3 fusermount3:fuse3 unshare:util-linux
need_binary "$REKEYFS"
need_devices
as_root env PATH="$PATH" REKEYFS="$REKEYFS" PYTHONDONTWRITEBYTECODE=1 \
    unshare --mount --propagation private python3 "$ROOT/tests/bench/many_hosts.py"
