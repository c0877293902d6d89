#!/usr/bin/env bash
# Installs from source by the commands of docs/install.md, into a directory of its own, and uses what they installed in an empty
# home. scripts/test.sh leaves it out: it builds everything twice, in five minutes and more. --debug takes the debug profile, whose
# dependencies the tests have built: one to two minutes. Ends with 'N passed, M failed'.
. "$(dirname "$0")/lib.sh"
cd "$ROOT" || exit 1

PROFILE=()
for option in "$@"; do
    case $option in
    --debug) PROFILE=(--debug) ;;
    --help) sed -n 's/^# //p' "$0" | head -n 3; exit 0 ;;
    *) die "$option: no such option; see --help" ;;
    esac
done

need_build_tools
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
mkdir "$WORK/home"
mapfile -t COMMANDS < <(grep '^cargo install ' docs/install.md)
[ ${#COMMANDS[@]} -eq 2 ] || die "docs/install.md has ${#COMMANDS[@]} commands 'cargo install', and should have 2"
grep -qF "${COMMANDS[0]}" README.md || die "README.md has another command than docs/install.md"

# What was installed, as a user runs it who has nothing else.
installed() {
    env -i HOME="$WORK/home" PATH="$WORK/bin:/usr/bin:/bin" "$@"
}

makes_a_vault() {
    echo "a passphrase of the test's" >"$WORK/passphrase"
    chmod 600 "$WORK/passphrase"
    installed rekeyfs init "$WORK/vault" --passfile "$WORK/passphrase" --kdf-memory 8 --no-recovery-key &&
        installed rekeyfs status "$WORK/vault" --passfile "$WORK/passphrase" | grep 'alias/default'
}

for command in "${COMMANDS[@]}"; do
    read -ra words <<<"$command"
    step "$command" "${words[@]}" "${PROFILE[@]+"${PROFILE[@]}"}" --root "$WORK" || { summary; exit 1; }
done
step "rekeyfs --version" installed rekeyfs --version
step "a vault is made and shown" makes_a_vault
step "kms serve finds its program" installed rekeyfs kms serve --new-credentials --credentials "$WORK/home/credentials"
summary
