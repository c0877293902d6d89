#!/usr/bin/env bash
# Benchmarks: rekeyfs beside gocryptfs, securefs, EncFS, CryFS, libfuse's passthrough_hp and the lower filesystem
# itself, on tmpfs and on ext4. Prints a table and writes performance.md, performance.json and pictures into
# target/bench (or where --out says). For Debian as root or with sudo; installs the peers with apt and builds
# passthrough_hp from Debian's source of fuse3 under target/; leaves nothing else behind. An idle machine gives figures
# worth reading.
# Options: --help. With --micro: the microbenchmarks, for both cipher engines. With --regressions: the short comparison
# with passthrough_hp that scripts/test.sh makes; --record writes what it compares with anew. With --null-cipher: beside
# rekeyfs one that encrypts nothing (built under target/null-cipher), which tells what encryption costs.
. "$(dirname "$0")/lib.sh"

BINARY=${REKEYFS:-$TARGET/release/rekeyfs}
PLACE=$TARGET/bench
RUN=(env PATH="$PATH" PYTHONDONTWRITEBYTECODE=1 python3 "$ROOT/tests/bench/run.py" --binary "$BINARY"
    --image "$PLACE/ext4.img")
install_missing python3:python3
case " $* " in
*" -h "* | *" --help "*) exec "${RUN[@]}" --help ;;
*" --micro "*)
    need_build_tools
    cd "$ROOT" || exit 1
    cargo bench --locked --features benchmarks &&
        cargo bench --locked --no-default-features --features benchmarks --bench formats -- page/
    exit
    ;;
esac

install_missing fio:fio git:git fusermount3:fuse3 mkfs.ext4:e2fsprogs mount:mount unshare:util-linux
case " $* " in
*" --regressions "* | *" --record "* | *" --soak "*) ;;
*) install_missing gocryptfs:gocryptfs securefs:securefs encfs:encfs cryfs:cryfs ;;
esac
need_binary "$BINARY"
need_devices
mkdir -p "$PLACE"

# passthrough_hp: libfuse's example, in C++, from Debian's source package (fetched through lists of its own, so that the
# system's list of sources stays as it is).
passthrough() {
    local sources=$PLACE/apt lists
    install_missing g++:g++ dpkg-source:dpkg-dev pkg-config:pkg-config
    pkg-config --exists fuse3 || install_missing no-such-command:libfuse3-dev
    rm -rf "$sources" "$PLACE"/fuse3-*
    mkdir -p "$sources/parts" "$sources/lists/partial"
    lists=(-o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts="$sources/parts"
        -o Dir::State::lists="$sources/lists" -o APT::Sandbox::User=root)
    local file
    for file in /etc/apt/sources.list.d/*.sources; do
        [ -e "$file" ] && sed 's/^Types:.*/Types: deb-src/' "$file" >"$sources/parts/$(basename "$file")"
    done
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
        [ -e "$file" ] && sed -n 's/^deb /deb-src /p' "$file" >"$sources/parts/$(basename "$file" .list).list"
    done
    (cd "$PLACE" && as_root apt-get "${lists[@]}" update && as_root apt-get "${lists[@]}" source fuse3) || return 1
    local example
    example=$(echo "$PLACE"/fuse3-*/example)
    # shellcheck disable=SC2046
    g++ -O2 -std=c++17 -DHAVE_UTIMENSAT -DHAVE_POSIX_FALLOCATE -DHAVE_SETXATTR "$example/passthrough_hp.cc" \
        -o "$PLACE/passthrough_hp" $(pkg-config --cflags --libs fuse3)
}
if [ ! -x "$PLACE/passthrough_hp" ]; then
    echo "building passthrough_hp (once) ..."
    passthrough >"$PLACE/passthrough.log" 2>&1 ||
        echo "did not run: passthrough_hp can't be built: see $PLACE/passthrough.log"
fi
TOOLS=()
[ -x "$PLACE/passthrough_hp" ] &&
    TOOLS=(--tool "passthrough_hp=$PLACE/passthrough_hp" --tool "libfuse=$(pkg-config --modversion fuse3)")
ARGS=()
for word in "$@"; do
    if [ "$word" != --null-cipher ]; then
        ARGS+=("$word")
        continue
    fi
    need_build_tools
    (cd "$ROOT" && cargo build --locked --release --features null-cipher --target-dir "$TARGET/null-cipher") || exit 2
    TOOLS+=(--tool "rekeyfs-null=$TARGET/null-cipher/release/rekeyfs")
done
isolated "${RUN[@]}" "${TOOLS[@]}" "${ARGS[@]}"
