#!/usr/bin/env bash
# Makes docs/demo.svg, the terminal on README.md's first screen: records commands that really run, with asciinema, on a vault
# in a mount namespace of its own, and draws what they printed, with svg-term. For Debian, as root or with sudo; needs npm.
#   scripts/recording.sh [FILE]      FILE: where the picture goes, docs/demo.svg without it
# The program: REKEYFS, else target/release/rekeyfs, which is built if it isn't there.
. "$(dirname "$0")/lib.sh"
case "${1:-}" in -h | --help) sed -n "2,5s/^# \?//p" "$0"; exit 0 ;; esac
[ "${1:-}" = --play ] || OUT=$(realpath -m "${1:-$ROOT/docs/demo.svg}")
cd "$ROOT" || exit 1

if [ "${1:-}" = --play ]; then
    # Inside: what is seen.
    set -e
    cd /srv
    prompt() { printf '\033[1;32m$\033[0m '; }
    play() {
        local i
        prompt
        for ((i = 0; i < ${#1}; i++)); do
            printf '%s' "${1:i:1}"
            sleep 0.03
        done
        sleep 0.3
        printf '\n'
        eval "$1"
        sleep "${2:-1.2}"
    }
    play 'rekeyfs init vault --passfile passphrase' 2.5
    clear
    play 'rekeyfs mount vault plain --passfile passphrase' 0.5
    play 'cp -a letters plain/' 0.5
    play 'time rekeyfs rotate plain' 2.5
    play 'echo "Dear Carol" > plain/letters/carol' 0.5
    play 'rekeyfs status plain --count' 5
    clear
    play 'rekeyfs rewrap plain'
    play 'rekeyfs key retire plain --key-id alias/default --below 2' 2
    play 'rekeyfs status plain' 6
    exit 0
fi

need_devices
install_missing asciinema:asciinema fusermount3:fuse3 npm:npm
REKEYFS=${REKEYFS:-$TARGET/release/rekeyfs}
need_binary "$REKEYFS"
SVG_TERM=$TARGET/npm/node_modules/.bin/svg-term
[ -x "$SVG_TERM" ] || npm install --silent --prefix "$TARGET/npm" svg-term-cli@2.1.1 >/dev/null || die "npm could not install svg-term-cli"

CAST=$(mktemp)
trap 'rm -f "$CAST"' EXIT
# What is at /srv and in the runtime directory is this script's; nothing of the machine is seen.
inside() {
    cat <<EOF
set -e
mount -t tmpfs tmpfs /srv
mkdir -m 700 /srv/.run /srv/.state /srv/.bin /srv/letters /srv/plain
cp "$REKEYFS" /srv/.bin/rekeyfs
head -c 24 /dev/urandom | base64 > /srv/passphrase
for n in \$(seq 2000); do echo "Dear \$n" > /srv/letters/\$n; done
export PATH=/srv/.bin:\$PATH XDG_RUNTIME_DIR=/srv/.run XDG_STATE_HOME=/srv/.state TERM=xterm-256color LANG=C.UTF-8 TIMEFORMAT='real %3R s'
asciinema rec --quiet --overwrite --cols 84 --rows 26 --command "bash $ROOT/scripts/recording.sh --play" "$CAST"
rekeyfs umount /srv/plain
EOF
}
as_root unshare --mount --propagation private --pid --fork --kill-child --mount-proc bash -c "$(inside)" </dev/null ||
    die "the recording failed"
"$SVG_TERM" --in "$CAST" --out "$OUT" --window --no-cursor --width 84 --height 26 || die "svg-term failed"
echo "$OUT: $(stat -c %s "$OUT") bytes"
