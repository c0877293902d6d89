# shellcheck shell=bash
# Shared by the other scripts (sourced, bash): places, packages, steps that are counted.

set -u
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
TARGET=${CARGO_TARGET_DIR:-$ROOT/target}
LOGS=$TARGET/check-logs
TOOLS=$TARGET/tools
PASSED=0
FAILED=0
# What failed, a line each, to be told again at the end.
FAULTS=()
SKIPPED=()
case ":$PATH:" in *":$HOME/.cargo/bin:"*) ;; *) PATH=$PATH:$HOME/.cargo/bin ;; esac
PATH=$PATH:/usr/sbin:/sbin
export PATH

die() {
    printf '%s: %s\n' "$(basename "$0")" "$*" >&2
    exit 1
}

# Runs a command as root: directly, or with sudo.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null 2>&1; then
        sudo "$@"
    else
        die "this needs root for '$*': run it as root, or install sudo"
    fi
}

# Installs what is missing. Each argument is COMMAND:PACKAGE; a package comes only for a command that isn't there.
install_missing() {
    local pair missing=()
    for pair in "$@"; do
        command -v "${pair%%:*}" >/dev/null 2>&1 || missing+=("${pair#*:}")
    done
    [ ${#missing[@]} -eq 0 ] && return 0
    command -v apt-get >/dev/null 2>&1 || die "missing: ${missing[*]}; there is no apt-get here, install them by hand"
    echo "installing: ${missing[*]}"
    local log
    log=$(mktemp)
    if ! as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}" >"$log" 2>&1; then
        as_root apt-get update >"$log" 2>&1 || { cat "$log" >&2; rm -f "$log"; die "apt-get update failed"; }
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}" >"$log" 2>&1 ||
            { cat "$log" >&2; rm -f "$log"; die "apt-get could not install ${missing[*]}"; }
    fi
    rm -f "$log"
}

# install_postgresql: PostgreSQL, without the cluster that its package would make and start.
install_postgresql() {
    compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null && return
    as_root mkdir -p /etc/postgresql-common
    [ -e /etc/postgresql-common/createcluster.conf ] ||
        echo 'create_main_cluster = false' | as_root tee /etc/postgresql-common/createcluster.conf >/dev/null
    install_missing no-such-command:postgresql
}

# from_package NAME PACKAGE: the files of a Debian package in target/tools/NAME. It is not installed, and nothing of it starts.
from_package() {
    local place=$TOOLS/$1 fetched
    [ -e "$place" ] && return 0
    command -v apt-get >/dev/null 2>&1 || { echo "no apt-get here to fetch $2 with"; return 1; }
    fetched=$(mktemp -d)
    (cd "$fetched" && { apt-get download "$2" || { as_root apt-get update && apt-get download "$2"; }; } &&
        dpkg-deb -x "$2"_*.deb "$fetched/files") >"$fetched/log" 2>&1 || { cat "$fetched/log" >&2; rm -rf "$fetched"; return 1; }
    mkdir -p "$TOOLS"
    mv "$fetched/files" "$place"
    rm -rf "$fetched"
}

# What building needs: a Rust toolchain (not from apt, which has an old one) and a C compiler for AWS-LC.
need_build_tools() {
    command -v cargo >/dev/null 2>&1 || die "no cargo found: install a Rust toolchain from https://rustup.rs"
    install_missing cc:build-essential
}

# What building the helper of custodians for TPMs needs: the TSS, of which nothing is a command.
need_helper_libraries() {
    install_missing pkg-config:pkg-config
    [ -e /usr/include/tss2/tss2_esys.h ] || install_missing no-such-command:libtss2-dev
}

# crate NAME VERSION: a program from crates.io, kept in target/tools. It is built without much optimizing: that takes
# less time than it would save.
crate() {
    [ "$("$TOOLS/bin/$1" --version 2>/dev/null)" = "$1 $2" ] && return 0
    echo "building $1 $2 (once) ..."
    local log
    log=$(mktemp)
    CARGO_PROFILE_DEV_DEBUG=false CARGO_TARGET_DIR=$TOOLS/build \
        cargo install --quiet --profile dev --locked --root "$TOOLS" --version "=$2" "$1" >"$log" 2>&1 ||
        { cat "$log" >&2; rm -f "$log"; die "cargo could not install $1 $2"; }
    rm -f "$log"
}

# need_binary PATH: builds the release if nothing is there.
need_binary() {
    [ -x "$1" ] && return 0
    need_build_tools
    (cd "$ROOT" && cargo build --locked --release) || exit 2
}

# need_room GIB DIRECTORY: makes the directory, and makes sure that so much room is left there. A disk that fills up
# during a test looks like a filesystem that fails.
need_room() {
    local mib
    mkdir -p "$2" || exit 1
    mib=$(df --output=avail -B 1M "$2" | tail -n 1)
    [ "$mib" -ge $(($1 * 1024)) ] ||
        die "$2 has $mib MiB left, this needs $(($1 * 1024)): make room, or set CARGO_TARGET_DIR to where there is some"
}

# What mounts over loop images need.
need_devices() {
    [ -e /dev/fuse ] || die "no /dev/fuse here: load the fuse module"
    [ -e /dev/loop-control ] || die "no loop devices here: load the loop module, or run where they are allowed"
}

# Becomes a command, run as root in namespaces of its own: however it ends, the kernel then takes down its mounts,
# loop devices and processes.
isolated() {
    local command=(unshare --mount --propagation private --pid --fork --kill-child --mount-proc)
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null 2>&1 || die "this needs root: run it as root, or install sudo"
        command=(sudo "${command[@]}")
    fi
    exec "${command[@]}" "$@"
}

# step NAME COMMAND...: runs it, keeps its output in a log, prints and counts the outcome.
step() {
    local name=$1 started=$SECONDS log
    shift
    mkdir -p "$LOGS"
    log=$LOGS/$(printf '%s' "$name" | tr -c 'A-Za-z0-9.-' '_').log
    if "$@" >"$log" 2>&1; then
        PASSED=$((PASSED + 1))
        printf 'ok      %s (%d s)\n' "$name" $((SECONDS - started))
        return 0
    fi
    FAILED=$((FAILED + 1))
    FAULTS+=("$name")
    printf 'FAILED  %s (%d s), the end of %s:\n' "$name" $((SECONDS - started)) "$log"
    tail -n 60 "$log" | sed 's/^/        /'
    return 1
}

# skip NAME WHY: says plainly that something did not run.
skip() {
    SKIPPED+=("$1: $2")
    printf 'SKIPPED %s: %s\n' "$1" "$2"
}

# Opens the FUSE device to users, as udev's own rules do: where no udev runs (a container, a bare virtual machine) it is
# root's, and no user can mount anything.
open_fuse_to_users() {
    [ -e /dev/fuse ] || return 0
    [ "$(stat -c %a /dev/fuse)" = 666 ] && return 0
    echo "opening /dev/fuse to users (mode 666), as udev does"
    as_root chmod 666 /dev/fuse
}

# The last lines of a run; false if anything failed.
summary() {
    local s
    for s in "${SKIPPED[@]+"${SKIPPED[@]}"}"; do
        printf 'did not run: %s\n' "$s"
    done
    for s in "${FAULTS[@]+"${FAULTS[@]}"}"; do
        printf 'failed: %s\n' "$s"
    done
    printf '%d passed, %d failed\n' "$PASSED" "$FAILED"
    [ "$FAILED" -eq 0 ]
}
