#!/usr/bin/env bash
# Conformance: suites, programs and tests of what users see, each on ext4 and on rekeyfs over that ext4. Prints a table,
# then N passed, M failed. For Debian as root or with sudo; installs what the suites need (packages with apt, pjdfstest
# and fsx with cargo into target/tools); leaves nothing else behind.
# Options: --help. The whole takes hours, so suites can be run one by one: the result of each is kept in
# target/conformance, and --markdown FILE makes one page of them, each row with its size, date and build.
# --quick is what scripts/test.sh runs.
. "$(dirname "$0")/lib.sh"

BINARY=${REKEYFS:-$TARGET/release/rekeyfs}
RUN=(env PATH="$PATH" PYTHONDONTWRITEBYTECODE=1 python3 "$ROOT/tests/conformance/run.py"
    --binary "$BINARY" --tools "$TOOLS/bin" --image "$TARGET/conformance.img" --results "$TARGET/conformance")
install_missing python3:python3 mkfs.ext4:e2fsprogs mount:mount unshare:util-linux fusermount3:fuse3
open_fuse_to_users
for argument in "$@"; do
    case $argument in
    -h | --help) exec "${RUN[@]}" --help ;;
    esac
done

# wanted SUITE: whether it was asked for (by name, or by naming none).
wanted() {
    local argument named=0
    for argument in "$@"; do
        [ "$argument" = "$SUITE" ] && return 0
        case " $SUITES " in *" $argument "*) named=1 ;; esac
    done
    [ "$named" -eq 0 ]
}

QUICK=no
case " $* " in *" --quick "*) QUICK=yes ;; esac
SUITES="pjdfstest fsx stress_ng programs databases locks times users mounts calls threads size"
for SUITE in $SUITES; do
    wanted "$@" || continue
    case $SUITE in
    pjdfstest | fsx)
        need_build_tools
        crate "$SUITE" "$([ "$SUITE" = fsx ] && echo 0.3.2 || echo 0.2.2)"
        ;;
    programs | users | mounts)
        install_missing git:git rsync:rsync setfacl:acl setfattr:attr setcap:libcap2-bin make:make cc:build-essential
        ;;
    databases) [ "$QUICK" = yes ] || install_missing pg_ctlcluster:postgresql setpriv:util-linux ;;
    stress_ng) install_missing stress-ng:stress-ng ;;
    esac
done
need_binary "$BINARY"
need_devices
need_room "$([ "$QUICK" = yes ] && echo 4 || echo 24)" "$TARGET"
isolated "${RUN[@]}" "$@"
