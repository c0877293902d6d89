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
*" --system "* | *" --system="* | *" --replay"* | *" --stable-pages "*) ;;
*) install_missing gocryptfs:gocryptfs ;;
esac
case " $* " in
*" --except postgresql "* | *" --replay"* | *" --stable-pages "*) ;;
*" postgresql "*) install_postgresql ;;
*" --workload "* | *" --workload="*) ;;
*) install_postgresql ;;
esac
for argument in "$@"; do
    case $argument in
    -h | --help) exec env PYTHONDONTWRITEBYTECODE=1 python3 "$ROOT/tests/powercut/run.py" --help ;;
    esac
done
need_binary "$BINARY"
need_devices

isolated env PATH="$PATH" PYTHONDONTWRITEBYTECODE=1 \
    python3 "$ROOT/tests/powercut/run.py" --binary "$BINARY" "$@"
