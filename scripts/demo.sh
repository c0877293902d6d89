#!/usr/bin/env bash
# Shows rekeyfs at work: a vault, a mount, shell tools and fio on it, rotations while it is mounted, files of
# several key versions side by side, the lazy re-wrap, unmounting. For a fresh Debian with a Rust toolchain, as
# root or with sudo for what has to be installed. Leaves nothing behind but installed packages and target/.
. "$(dirname "$0")/lib.sh"
cd "$ROOT" || exit 1
set -e

need_build_tools
install_missing fusermount3:fuse3 fio:fio getfattr:attr
[ -e /dev/fuse ] || as_root modprobe fuse || die "there is no /dev/fuse: nothing can be mounted here"
echo "building (the first time takes some minutes; cargo says what it is at) ..."
cargo build --locked --release

WORK=$(mktemp -d)
export XDG_RUNTIME_DIR=$WORK/run XDG_STATE_HOME=$WORK/state
mkdir -m 700 "$XDG_RUNTIME_DIR" "$XDG_STATE_HOME"
clean_up() {
    cd /
    if grep -qs " $WORK/mnt " /proc/self/mounts; then
        "$TARGET/release/rekeyfs" umount "$WORK/mnt" || fusermount3 -uz "$WORK/mnt"
    fi
    rm -rf "$WORK"
}
trap clean_up EXIT
trap 'exit 1' INT TERM
PATH=$TARGET/release:$PATH
cd "$WORK"

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
run() {
    printf '$ %s\n' "$*"
    eval "$*"
}

say "A vault, and a mount of it"
run "head -c 24 /dev/urandom | base64 > passphrase"
run "rekeyfs init vault --passfile passphrase --no-recovery-key"
run "mkdir mnt"
run "rekeyfs mount vault mnt --passfile passphrase"

say "Shell tools work on it"
run "mkdir mnt/letters"
run "echo 'Dear Alice' > mnt/letters/alice"
run "cp -a mnt/letters/alice mnt/letters/bob && mv mnt/letters/bob mnt/letters/bertha && ln -s alice mnt/letters/link"
run "tar -C $(printf %q "$ROOT") -cf - src docs | tar -C mnt -xf -"
run "find mnt -type f | wc -l"
run "(cd $(printf %q "$ROOT") && find src -type f -exec sha256sum {} +) > sums && (cd mnt && sha256sum --quiet -c ../sums) && echo 'all checksums agree'"

say "Below there are only ciphertext and encrypted names"
run "find vault/tree -maxdepth 1 | head -4"
run "grep -rl Alice vault || echo 'no plaintext in the vault'"

say "A rotation while fio writes and verifies"
run "fio --name=verify --directory=mnt --size=32m --rate=16m --bs=4k --rw=randwrite --verify=crc32c --ioengine=psync --output-format=normal > fio.log &"
FIO=$!
sleep 0.5
run "rekeyfs rotate mnt"
run "rekeyfs rotate mnt --json"
wait "$FIO" || { cat fio.log; die "fio found a difference"; }
echo "fio verified what it wrote; its summary:"
grep -E 'WRITE:|READ:' fio.log

say "New files bear the new version; files that were not used since keep the old one, and all can be read"
run "echo 'Dear Carol' > mnt/letters/carol; sync mnt/letters/carol"
run "rekeyfs inspect mnt/letters/bertha mnt/letters/carol"

say "A file that is used moves to the new version by itself (lazy re-wrap)"
version() { getfattr --only-values -n user.rekeyfs.key-version "$1"; }
run "getfattr --only-values -n user.rekeyfs.key-version mnt/letters/bertha; echo"
run "cat mnt/letters/bertha"
for _ in $(seq 50); do
    [ "$(version mnt/letters/bertha)" = 3 ] && break
    sleep 0.1
done
run "getfattr --only-values -n user.rekeyfs.key-version mnt/letters/bertha; echo"
[ "$(version mnt/letters/bertha)" = 3 ] || die "the file has not moved within 5 s"

say "The sweep moves the rest"
run "rekeyfs rewrap mnt"
run "rekeyfs status mnt"

say "Unmounted and mounted again, everything is there"
run "rekeyfs umount mnt"
run "ls mnt | wc -l"
run "rekeyfs mount vault mnt --passfile passphrase"
run "cat mnt/letters/*"
run "(cd mnt && sha256sum --quiet -c ../sums) && echo 'all checksums agree'"
run "rekeyfs umount mnt"

say "Done; $WORK is removed"
