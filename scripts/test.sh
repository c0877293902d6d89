#!/usr/bin/env bash
# Everything: source checks, unit and property tests, golden vectors from both sides, mounted end-to-end tests.
# For a fresh Debian with a Rust toolchain, as root or with sudo. Ends with 'N passed, M failed'.
. "$(dirname "$0")/lib.sh"
cd "$ROOT" || exit 1
STARTED=$SECONDS

need_build_tools
need_helper_libraries
install_missing fusermount3:fuse3 fio:fio git:git rsync:rsync restic:restic borg:borgbackup setfacl:acl setfattr:attr python3:python3 \
    mkfs.ext4:e2fsprogs mkfs.xfs:xfsprogs mkfs.btrfs:btrfs-progs losetup:mount setpriv:util-linux make:make \
    bindfs:bindfs mergerfs:mergerfs gocryptfs:gocryptfs mkfs.exfat:exfatprogs mount.exfat-fuse:exfat-fuse
install_missing age:age clevis:clevis clevis-encrypt-tpm2:clevis-tpm2 swtpm:swtpm tpm2_create:tpm2-tools socat:socat jose:jose ssh-keygen:openssh-client
install_missing softhsm2-util:softhsm2 pkcs11-tool:opensc certutil:libnss3-tools fido2-token:fido2-tools
# Its package has systemd listen on port 80, which no test needs.
if ! command -v tang-show-keys >/dev/null 2>&1; then
    if (install_missing tang-show-keys:tang); then as_root systemctl disable --now tangd.socket >/dev/null 2>&1 || true; fi
fi
install_missing strace:strace chattr:e2fsprogs gocryptfs:gocryptfs
# pam_mount, for a service of the test's own. Its package puts itself into this machine's logins: taken out again.
if ! command -v pmvarrun >/dev/null 2>&1; then
    if (install_missing pmvarrun:libpam-mount-bin pamtester:pamtester); then as_root pam-auth-update --package --remove libpam-mount; fi
fi
# Of Prometheus the tests need promtool alone: its package would start a server.
if ! command -v promtool >/dev/null 2>&1; then from_package promtool prometheus; PATH=$PATH:$TOOLS/promtool/usr/bin; fi
python3 -c 'import ensurepip, venv' 2>/dev/null || install_missing no-such-command:python3-venv
[ -e /dev/fuse ] || as_root modprobe fuse 2>/dev/null || true
open_fuse_to_users
mkdir -p "$LOGS"
need_room 8 "$TARGET"
# What incremental builds keep is for the next change of a developer: here it is 2 GB for nothing.
export CARGO_INCREMENTAL=${CARGO_INCREMENTAL:-0}

# faults_of LOG: what failed by it, each with the last line that it said.
faults_of() {
    awk '
        function told() { if (name != "") print name (said == "" ? "" : ": " said); name = said = "" }
        /^FAILED / || /^test .* FAILED$/ { told(); sub(/^FAILED +/, ""); name = $0; next }
        /^[ \t]+[^ \t]/ { if (name != "") { said = $0; sub(/^[ \t]+/, "", said) } next }
        /[^ \t]/ { told() }
        END { told() }' "$1"
}

# section NAME: what comes now, and when.
section() {
    printf '== %s (%d s)\n' "$1" $((SECONDS - STARTED))
}

# count NAME LOG STATUS: adds up the 'N passed' and 'M failed' of a log's summary lines; a run that broke off
# without one counts as a failure.
count() {
    local name=$1 log=$2 status=$3 summaries passed failed line
    summaries=$(grep -E '^(test result: .* )?[0-9]+ passed[,;] [0-9]+ failed' "$log")
    passed=$(grep -oE '[0-9]+ passed' <<<"$summaries" | awk '{ n += $1 } END { print n + 0 }')
    failed=$(grep -oE '[0-9]+ failed' <<<"$summaries" | awk '{ n += $1 } END { print n + 0 }')
    if [ "$status" -ne 0 ] && [ "$failed" -eq 0 ]; then failed=1; fi
    PASSED=$((PASSED + passed))
    FAILED=$((FAILED + failed))
    while IFS= read -r line; do SKIPPED+=("${line#did not run: }"); done < <(grep '^did not run: ' "$log")
    while IFS= read -r line; do FAULTS+=("$line"); done < <(faults_of "$log")
    printf '%s: %d passed, %d failed\n' "$name" "$passed" "$failed"
}

# cargo_tests NAME ARGS...: one run of cargo test, shown only where it fails.
cargo_tests() {
    local name=$1 log status began=$SECONDS
    shift
    log=$LOGS/$(printf '%s' "$name" | tr -c 'A-Za-z0-9.-' '_').log
    cargo test --locked --no-fail-fast "$@" >"$log" 2>&1
    status=$?
    [ "$status" -eq 0 ] || grep -vE '^test .* ok$' "$log" | tail -n 150
    count "$name ($((SECONDS - began)) s)" "$log" "$status"
}

# shown NAME COMMAND...: a suite that prints its own lines as it goes.
shown() {
    local name=$1 log status
    shift
    log=$LOGS/$(printf '%s' "$name" | tr -c 'A-Za-z0-9.-' '_').log
    "$@" 2>&1 | tee "$log"
    status=${PIPESTATUS[0]}
    count "$name" "$log" "$status" >/dev/null
}

section "source checks"
shown "source checks" scripts/check.sh

section "cargo tests"
cargo_tests "unit, property and integration tests" --workspace --features fault-injection
cargo_tests "the same formats on the RustCrypto engine" --workspace --no-default-features --lib --test golden_vectors --test published_vectors -- crypto:: content:: header:: names:: unlock:: slots pages sizes rust_crypto every_label

section "release build"
step "cargo build --release" cargo build --locked --release
step "helpers of custodians that need more than the others" cargo build --locked --release --package rekeyfs-custodians --features aws-kms,pkcs11,tpm2 --bins
cargo_tests "helpers of custodians" --release --package rekeyfs-custodians --features aws-kms,pkcs11,tpm2

section "golden vectors and vaults, read by an independent implementation"
PYTHON=$TARGET/python/bin/python
if [ ! -x "$PYTHON" ] || ! "$PYTHON" -c 'import argon2, cryptography, nacl, prometheus_client, yaml' 2>/dev/null; then
    step "Python packages from PyPI, into a virtual environment" sh -c \
        "python3 -m venv '$TARGET/python' && '$TARGET/python/bin/pip' install -q cryptography argon2-cffi pynacl jsonschema prometheus-client pyyaml"
fi
if "$PYTHON" -c 'import argon2, cryptography, jsonschema, nacl' 2>/dev/null; then
    step "vectors.json is what the independent implementation makes" "$PYTHON" tests/golden/make_vectors.py --check
    step "the committed key backup opens from its passphrase" "$PYTHON" tests/golden/reader.py tests/golden/key-backup.bin
    step "the committed kept backups open as their keyring says" "$PYTHON" tests/golden/reader.py tests/golden/kept-keyring.bin
    for vault in tests/golden/vault-*.tar; do
        step "$vault opens from passphrase to plaintext" "$PYTHON" tests/golden/reader.py "$vault"
    done
else
    skip "golden reader" "its packages could not be installed"
fi

section "helpers of custodians"
shown "helpers of custodians" as_root env PATH="$PATH" REKEYFS_HELPERS="$TARGET/release" PYTHONDONTWRITEBYTECODE=1 python3 tests/custodians/run.py

section "rekeyfs kms against LocalStack's KMS"
shown "comparison with LocalStack's KMS" env REKEYFS="$TARGET/release/rekeyfs" scripts/oracle.sh

section "mounted tests"
if [ -e /dev/fuse ]; then
    shown "mounted tests" as_root env PATH="$PATH" REKEYFS="$TARGET/release/rekeyfs" \
        TESTS_PYTHON="$PYTHON" REKEYFS_TEST_DIR="$TARGET/mounted-tests" PYTHONDONTWRITEBYTECODE=1 python3 tests/mounted/run.py
    as_root rm -rf "$TARGET/mounted-tests"
else
    skip "mounted tests" "no /dev/fuse"
    FAILED=$((FAILED + 1))
fi

section "the console in a browser"
shown "the console in a browser" env REKEYFS="$TARGET/release/rekeyfs" scripts/console.sh

section "the package, installed on a machine of its own"
if step "scripts/package.sh" scripts/package.sh --lint; then
    shown "tests of the installed package" scripts/installed.sh
    if step "scripts/rpm.sh" scripts/rpm.sh; then step "the RPM, installed into a root of its own" scripts/rpm-installed.sh; fi
fi

section "power cuts (210 of them)"
if [ -e /dev/fuse ] && [ -e /dev/loop-control ]; then
    shown "power cuts" env REKEYFS="$TARGET/release/rekeyfs" scripts/powercut.sh --system ext4 --system rekeyfs --cuts 10 --except postgresql
    shown "stable pages" env REKEYFS="$TARGET/release/rekeyfs" scripts/powercut.sh --stable-pages
else
    skip "power cuts" "no /dev/fuse or no loop devices"
    FAILED=$((FAILED + 1))
fi

section "conformance (the quick selection; scripts/conformance.sh runs all of it)"
if [ -e /dev/fuse ] && [ -e /dev/loop-control ]; then
    shown "conformance" env REKEYFS="$TARGET/release/rekeyfs" scripts/conformance.sh --quick
else
    skip "conformance" "no /dev/fuse or no loop devices"
    FAILED=$((FAILED + 1))
fi

section "a vault on JuiceFS (the quick selection; scripts/clusters.sh runs all of it, on four clusters)"
if [ -e /dev/fuse ]; then
    shown "clusters" env REKEYFS="$TARGET/release/rekeyfs" scripts/clusters.sh --quick juicefs
    shown "a history on hosts" env REKEYFS="$TARGET/release/rekeyfs" scripts/clusters.sh --quick --hosts 3 juicefs
else
    skip "clusters" "no /dev/fuse"
    FAILED=$((FAILED + 1))
fi

section "speed beside libfuse's passthrough_hp, beside no cipher and beside a null FUSE daemon (a short run; scripts/bench.sh measures)"
if [ -e /dev/fuse ] && [ -e /dev/loop-control ]; then
    shown "speed" env REKEYFS="$TARGET/release/rekeyfs" scripts/bench.sh --regressions
else
    skip "speed" "no /dev/fuse or no loop devices"
    FAILED=$((FAILED + 1))
fi

printf 'took %d s\n' $((SECONDS - STARTED))
summary
