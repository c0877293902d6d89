#!/usr/bin/env bash
# Checks of the source itself: formatting, lints, documentation, dependencies, layers. Runs no tests.
# Ends with 'N passed, M failed'.
. "$(dirname "$0")/lib.sh"
. "$ROOT/scripts/layers.sh"
cd "$ROOT" || exit 1
need_build_tools
need_helper_libraries
install_missing python3:python3

step "cargo fmt" cargo fmt --all --check
step "cargo fmt, fuzz targets" cargo fmt --manifest-path fuzz/Cargo.toml --check
step "clippy" cargo clippy --locked --workspace --all-targets --features fault-injection,benchmarks -- -D warnings
step "clippy, RustCrypto engine" cargo clippy --locked --workspace --all-targets --no-default-features -- -D warnings
step "clippy, as released" cargo clippy --locked --workspace --all-targets -- -D warnings
step "clippy, null cipher" cargo clippy --locked --workspace --all-targets --features null-cipher -- -D warnings
step "clippy, helpers of custodians" cargo clippy --locked --package rekeyfs-custodians --features aws-kms,pkcs11,tpm2 --all-targets -- -D warnings
step "rustdoc" env RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps

layer_checks

scripts_parse() {
    local f
    for f in scripts/*.sh .ci/run; do bash -n "$f" || return 1; done
}
step "scripts parse" scripts_parse
# What encrypts nothing is for benchmarks: it is in no default, and nothing else builds it.
null_cipher_is_not_released() {
    ! grep -nE '^(default|[a-z-]+) = .*null-cipher' Cargo.toml crates/*/Cargo.toml | grep -v ':null-cipher = ' &&
        ! grep -rnE --exclude=bench.sh --exclude=check.sh -e 'null-cipher|--all-features' scripts .ci
}
step "the null cipher is in no release" null_cipher_is_not_released
# docs/threat-model.md claims nothing that no test shows.
threat_model_names_tests() {
    local name missing=0
    while read -r name; do
        grep -rqE "(def|fn) $name\(" tests src crates && continue
        echo "docs/threat-model.md names a test that isn't there: $name"
        missing=1
    done < <(grep '^|' docs/threat-model.md | grep -oE '`[a-z0-9]+(_[a-z0-9]+){3,}`' | tr -d '`' | sort -u)
    return "$missing"
}
step "the threat model's tests exist" threat_model_names_tests
step "what the documents name exists" python3 scripts/references.py
if command -v shellcheck >/dev/null 2>&1; then
    step "shellcheck" shellcheck -x -S warning scripts/*.sh
fi

# Advisories come from a database that isn't in any package: where it can't be fetched and isn't there, that is said.
DENY=(env PATH="$TOOLS/bin:$PATH" cargo deny)
cargo_deny() (crate cargo-deny 0.20.2)
if step "cargo-deny can be had" cargo_deny; then
    step "cargo-deny: licences, bans, sources" "${DENY[@]}" --workspace check licenses bans sources
    if timeout 60 "${DENY[@]}" fetch db >/dev/null 2>&1 ||
        compgen -G "${CARGO_HOME:-$HOME/.cargo}/advisory-dbs/advisory-db-*" >/dev/null; then
        step "cargo-deny: advisories" "${DENY[@]}" --workspace check --disable-fetch advisories
    else
        skip "advisories of dependencies" "RustSec's database can't be fetched here (github.com/RustSec/advisory-db)"
    fi
fi

summary
