#!/usr/bin/env bash
# Runs each target of libFuzzer in fuzz/: scripts/fuzz.sh [SECONDS [TARGET...]], 60 s each and all of them unless told
# otherwise. Installs cargo-fuzz if it is missing. What a run finds to be new it keeps under target/fuzz-corpus, and
# what breaks a property under target/fuzz-artifacts. Ends with 'N passed, M failed'.
. "$(dirname "$0")/lib.sh"
cd "$ROOT" || exit 1

FOR=${1:-60}
[ $# -gt 0 ] && shift
[[ $FOR =~ ^[1-9][0-9]*$ ]] || die "'$FOR' is no number of seconds: scripts/fuzz.sh [SECONDS [TARGET...]]"
ALL=()
for file in fuzz/fuzz_targets/*.rs; do ALL+=("$(basename "$file" .rs)"); done
[ $# -gt 0 ] || set -- "${ALL[@]}"
for target in "$@"; do
    [ -f "fuzz/fuzz_targets/$target.rs" ] || die "there is no target '$target', only: ${ALL[*]}"
done

need_build_tools
install_missing c++:build-essential
PATH=$TARGET/tools/bin:$PATH
if ! command -v cargo-fuzz >/dev/null 2>&1; then
    step "cargo-fuzz from crates.io, into $TARGET/tools" cargo install --quiet --locked --root "$TARGET/tools" cargo-fuzz || exit 1
fi

# The sanitizer and the coverage of libFuzzer are options of rustc that only nightly takes without this.
export RUSTC_BOOTSTRAP=1
fuzz() {
    local verb=$1
    shift
    cargo fuzz "$verb" --target-dir "$TARGET/fuzz" "$@"
}

# The pages, the longest of what is read, and a header at its limit would only slow the rest down.
longest() {
    case $1 in
        page) echo 4200 ;;
        *) echo 2048 ;;
    esac
}

# No input may take more than 10 s, 256 MiB at once, or 1 GiB in all.
run() {
    local target=$1 corpus=$TARGET/fuzz-corpus/$1 artifacts=$TARGET/fuzz-artifacts/$1
    mkdir -p "$corpus" "$artifacts"
    fuzz run "$target" "$corpus" "fuzz/seeds/$target" -- -max_total_time="$FOR" -timeout=10 -rss_limit_mb=1024 \
        -malloc_limit_mb=256 -max_len="$(longest "$target")" -artifact_prefix="$artifacts/" -print_final_stats=1
}

mkdir -p "$LOGS"
step "the targets build" fuzz build || exit 1
for target in "$@"; do
    log=$LOGS/fuzz-$target.log
    if run "$target" >"$log" 2>&1; then
        PASSED=$((PASSED + 1))
        runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
        memory=$(sed -n 's/^stat::peak_rss_mb: *//p' "$log")
        covered=$(sed -nE 's/.* cov: ([0-9]+) .*/\1/p' "$log" | tail -n 1)
        printf 'ok      %-16s %s inputs, %s edges, at most %s MiB\n' "$target" "$runs" "$covered" "$memory"
    else
        FAILED=$((FAILED + 1))
        printf 'FAILED  %s, the end of %s:\n' "$target" "$log"
        tail -n 40 "$log" | sed 's/^/        /'
    fi
done
summary
