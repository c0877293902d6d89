#!/usr/bin/env bash
# Power cuts on a recorded disk: does what fsync promised survive? Prints workload x cuts x lost for ext4 alone,
# rekeyfs and gocryptfs, then N passed, M failed. For Debian as root or with sudo; works on a tmpfs, leaves nothing
# behind.
# Options: --help.
. "$(dirname "$0")/lib.sh"

BINARY=${REKEYFS:-$TARGET/release/rekeyfs}
install_missing python3:python3 mkfs.ext4:e2fsprogs mount:mount unshare:util-linux
case " $* " in
*gocryptfs*) install_missing gocryptfs:gocryptfs ;;
*" --system "* | *" --system="* | *" --replay"*) ;;
*) install_missing gocryptfs:gocryptfs ;;
esac
for argument in "$@"; do
    case $argument in
    -h | --help) exec env PYTHONDONTWRITEBYTECODE=1 python3 "$ROOT/tests/powercut/run.py" --help ;;
    esac
done
if [ ! -x "$BINARY" ]; then
    need_build_tools
    (cd "$ROOT" && cargo build --locked --release) || exit 2
fi
[ -e /dev/fuse ] || die "no /dev/fuse here: load the fuse module"
[ -e /dev/loop-control ] || die "no loop devices here: load the loop module, or run where they are allowed"

# Namespaces of its own: however this ends, the kernel then takes down its mounts, loop devices and processes.
ISOLATED=(unshare --mount --propagation private --pid --fork --kill-child --mount-proc)
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null 2>&1 || die "this needs root: run it as root, or install sudo"
    ISOLATED=(sudo "${ISOLATED[@]}")
fi
exec "${ISOLATED[@]}" env PATH="$PATH" PYTHONDONTWRITEBYTECODE=1 \
    python3 "$ROOT/tests/powercut/run.py" --binary "$BINARY" "$@"
