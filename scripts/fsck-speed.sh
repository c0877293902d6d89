#!/usr/bin/env bash
# scripts/fsck-speed.sh [MIB]: how fast `rekeyfs fsck` reads a file of that size (default 2048), beside the lower disk
# and the cipher on one thread. For a quiet machine; needs a release build, /dev/fuse, openssl, and room under target/.
# Ends with 'N passed, M failed': 80 % of the slower of the two is asked for.
. "$(dirname "$0")/lib.sh"

MIB=${1:-2048}
BINARY=${REKEYFS:-$TARGET/release/rekeyfs}
need_binary "$BINARY"
install_missing openssl:openssl fusermount3:fuse3
need_room $(((MIB + 2047) / 1024)) "$TARGET"
DIR=$(mktemp -d "$TARGET/fsck-speed-XXXXXX")
export XDG_STATE_HOME=$DIR/state XDG_RUNTIME_DIR=$DIR/run
mkdir -m 700 "$DIR/run" "$DIR/mnt"
clean() {
    mountpoint -q "$DIR/mnt" && "$BINARY" umount --lazy "$DIR/mnt"
    rm -rf "$DIR"
}
trap clean EXIT

head -c 32 /dev/urandom >"$DIR/key"
chmod 600 "$DIR/key"
"$BINARY" init "$DIR/vault" --keyfile "$DIR/key" --no-recovery-key >/dev/null || exit 1
"$BINARY" mount "$DIR/vault" "$DIR/mnt" --keyfile "$DIR/key" || exit 1
head -c "${MIB}M" /dev/urandom >"$DIR/mnt/file" || exit 1
"$BINARY" umount "$DIR/mnt" || exit 1
LOWER=$(find "$DIR/vault/tree" -type f)

# seconds COMMAND...: how long it takes.
seconds() {
    local began=$EPOCHREALTIME
    "$@" >/dev/null 2>&1 || return 1
    awk -v a="$began" -v b="$EPOCHREALTIME" 'BEGIN { print b - a }'
}
# Forgets what the kernel has of the file, as far as a user may ask for that.
forget() { sync -f "$LOWER" && dd if="$LOWER" iflag=nocache count=0 status=none; }
rate() { awk -v mib="$MIB" -v s="$1" 'BEGIN { printf "%.0f", mib / s }'; }

forget
disk=$(rate "$(seconds dd if="$LOWER" of=/dev/null bs=1M status=none)")
cipher=$(openssl speed -seconds 2 -bytes 4096 -evp aes-256-gcm 2>/dev/null | awk '/^AES-256-GCM/ { sub("k", "", $2); printf "%.0f", $2 * 1000 / 1048576 }')
forget
cold=$(rate "$(seconds "$BINARY" fsck "$DIR/vault" --keyfile "$DIR/key")")
warm=$(rate "$(seconds "$BINARY" fsck "$DIR/vault" --keyfile "$DIR/key")")
echo "lower disk $disk MiB/s, cipher $cipher MiB/s"
echo "fsck $cold MiB/s from the disk, $warm MiB/s from the page cache"

# fast_enough RATE LIMIT: whether RATE is 80 % of LIMIT.
fast_enough() { awk -v rate="$1" -v limit="$2" 'BEGIN { exit !(rate >= 0.8 * limit) }'; }
slower=$((disk < cipher ? disk : cipher))
step "from the disk: 80 % of $slower MiB/s" fast_enough "$cold" "$slower"
summary
