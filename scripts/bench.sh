#!/usr/bin/env bash
# Benchmarks: rekeyfs beside gocryptfs, securefs, EncFS, CryFS, libfuse's passthrough_hp and the lower filesystem
# itself, on tmpfs and on ext4. Prints a table and writes performance.md, performance.json and pictures into
# target/bench (or where --out says). For Debian as root or with sudo; installs the peers with apt and builds
# passthrough_hp from Debian's source of fuse3 under target/; leaves nothing else behind. An idle machine gives figures
# worth reading.
# Options: --help. With --micro: the microbenchmarks, for both cipher engines. With --null-cipher: beside rekeyfs one
# that encrypts nothing (built into target/null-cipher), which tells what encryption costs. With --regressions: the
# short comparison with that one and with passthrough_hp that scripts/test.sh makes; --record writes what it compares
# with again. With --transport: FUSE over io_uring beside /dev/fuse, by a newer libfuse's passthrough_hp, built under
# target/. With --apps: applications, big directories, direct I/O and single operations, beside a null FUSE daemon too.
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
    cargo bench --locked --workspace --features benchmarks --bench formats --bench keyring &&
        cargo bench --locked --package rekeyfs-format --no-default-features --bench formats -- page/
    exit
    ;;
esac

install_missing fio:fio git:git fusermount3:fuse3 mkfs.ext4:e2fsprogs mount:mount unshare:util-linux
case " $* " in
*" --regressions "* | *" --record "*) set -- "$@" --null-cipher ;;
*" --apps "*)
    install_missing gocryptfs:gocryptfs securefs:securefs rsync:rsync npm:npm pip3:python3-pip
    install_postgresql
    ;;
*" --soak "* | *" --transport "* | *" --polling "*) ;;
*) install_missing gocryptfs:gocryptfs securefs:securefs encfs:encfs cryfs:cryfs ;;
esac
case " $* " in
*" --polling "*)
    need_build_tools
    # The parts can be turned off in this build alone.
    (cd "$ROOT" && CARGO_BUILD_BUILD_DIR=$TARGET cargo build --locked --release --features benchmarks \
        --target-dir "$TARGET/benchmarks") || exit 2
    need_devices
    RUN=("${RUN[@]/#$BINARY/$TARGET/benchmarks/release/rekeyfs}")
    isolated "${RUN[@]}" "$@"
    ;;
esac
need_binary "$BINARY"
need_devices
need_room 4 "$PLACE"

# sources_of DIRECTORY PACKAGE...: Debian's sources of them, by the lists in DIRECTORY/parts (lists of its own, so that
# the system's list of sources stays as it is).
sources_of() {
    local place=$1 lists
    shift
    mkdir -p "$place/lists/partial"
    lists=(-o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts="$place/parts"
        -o Dir::State::lists="$place/lists" -o APT::Sandbox::User=root)
    (cd "$place" && as_root apt-get "${lists[@]}" update && as_root apt-get "${lists[@]}" source "$@")
}

# passthrough_hp: libfuse's example, in C++, from the source package of the libfuse that is installed.
passthrough() {
    local sources=$PLACE/apt file example
    install_missing g++:g++ dpkg-source:dpkg-dev pkg-config:pkg-config
    pkg-config --exists fuse3 || install_missing no-such-command:libfuse3-dev
    rm -rf "$sources"
    mkdir -p "$sources/parts"
    for file in /etc/apt/sources.list.d/*.sources; do
        [ -e "$file" ] && sed 's/^Types:.*/Types: deb-src/' "$file" >"$sources/parts/$(basename "$file")"
    done
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
        [ -e "$file" ] && sed -n 's/^deb /deb-src /p' "$file" >"$sources/parts/$(basename "$file" .list).list"
    done
    sources_of "$sources" fuse3 || return 1
    example=$(echo "$sources"/fuse3-*/example)
    # shellcheck disable=SC2046
    g++ -O2 -std=c++17 -DHAVE_UTIMENSAT -DHAVE_POSIX_FALLOCATE -DHAVE_SETXATTR "$example/passthrough_hp.cc" \
        -o "$PLACE/passthrough_hp" $(pkg-config --cflags --libs fuse3)
}

# The same of Debian's unstable release, whose libfuse (3.18 and later) speaks io_uring; with the liburing of there.
passthrough_uring() {
    local sources=$PLACE/apt-unstable fuse uring
    install_missing g++:g++ dpkg-source:dpkg-dev pkg-config:pkg-config meson:meson ninja:ninja-build make:make
    pkg-config --exists numa || install_missing no-such-command:libnuma-dev
    rm -rf "$sources"
    mkdir -p "$sources/parts"
    printf '%s\n' 'Types: deb-src' 'URIs: http://deb.debian.org/debian' 'Suites: sid' 'Components: main' \
        'Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg' >"$sources/parts/unstable.sources"
    sources_of "$sources" fuse3 liburing || return 1
    fuse=$(echo "$sources"/fuse3-*/) uring=$(echo "$sources"/liburing-*/)
    (cd "$uring" && ./configure --prefix="$sources/prefix" && make -C src install && make liburing.pc) || return 1
    (cd "$fuse" && PKG_CONFIG_PATH=$uring meson setup --buildtype=release --default-library=static --prefer-static \
        -Dutils=false -Dtests=false build && ninja -C build example/passthrough_hp) || return 1
    cp "$fuse/build/example/passthrough_hp" "$PLACE/passthrough_hp-uring"
}
if [ ! -x "$PLACE/passthrough_hp" ]; then
    echo "building passthrough_hp (once) ..."
    passthrough >"$PLACE/passthrough.log" 2>&1 ||
        echo "did not run: passthrough_hp can't be built: see $PLACE/passthrough.log"
fi
TOOLS=()
[ -x "$PLACE/passthrough_hp" ] &&
    TOOLS=(--tool "passthrough_hp=$PLACE/passthrough_hp" --tool "libfuse=$(pkg-config --modversion fuse3)")
case " $* " in
*" --transport "*)
    if [ ! -x "$PLACE/passthrough_hp-uring" ]; then
        echo "building a passthrough_hp that speaks io_uring (once) ..."
        passthrough_uring >"$PLACE/passthrough-uring.log" 2>&1 ||
            echo "did not run: it can't be built: see $PLACE/passthrough-uring.log"
    fi
    [ -x "$PLACE/passthrough_hp-uring" ] && TOOLS+=(--tool "passthrough_hp-uring=$PLACE/passthrough_hp-uring"
        --tool "libfuse-uring=$(basename "$PLACE"/apt-unstable/fuse3-*/)")
    ;;
esac
case " $* " in
*" --apps "* | *" --regressions "*)
    # Also one that is there: it may be an older one.
    need_build_tools
    (cd "$ROOT" && cargo build --locked --release --package null-fuse) || exit 2
    TOOLS+=(--tool "null-fuse=$TARGET/release/null-fuse")
    ;;
esac
ARGS=()
for word in "$@"; do
    if [ "$word" != --null-cipher ]; then
        ARGS+=("$word")
        continue
    fi
    need_build_tools
    # With the dependencies that are built already: only what comes out has a place of its own.
    (cd "$ROOT" && CARGO_BUILD_BUILD_DIR=$TARGET cargo build --locked --release --features null-cipher \
        --target-dir "$TARGET/null-cipher") || exit 2
    TOOLS+=(--tool "rekeyfs-null=$TARGET/null-cipher/release/rekeyfs")
done
isolated "${RUN[@]}" "${TOOLS[@]}" "${ARGS[@]}"
