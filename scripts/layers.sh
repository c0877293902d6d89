# shellcheck shell=bash
# The layer rules, as greps over the source (sourced by check.sh, after lib.sh).
# Layers from the bottom up; a module may name only those of a lower number. content, names, header, hosts and blob are
# neighbours that don't know each other, and so are rewrap and fsck. ids to names are the crate rekeyfs-format: that it
# imports nothing from above, and that nothing above has cipher crates, is for cargo to see.

declare -A LAYER=(
    [locked]=0 [sys]=0 [printable]=0 [monitor]=0 [metrics]=1 [ids]=1 [local_time]=2 [crypto]=2 [content]=3 [names]=3 [header]=3 [hosts]=3 [blob]=3 [storage]=4 [events]=5 [custody]=5 [unlock]=6
    [keyring]=7 [kms]=8 [vault]=9 [rewrap]=10 [fsck]=10 [service]=11 [control]=12 [console]=13 [fuse]=13 [mount]=14 [cli]=15
    [fuzzing]=16
)

# Prints FILE:LINE:CODE for each line of the sources that matches, comments left out.
source_grep() {
    grep -rnE --include='*.rs' "$1" "$ROOT/src" "$ROOT"/crates/*/src | sed "s|^$ROOT/||" | grep -vE '^[^:]+:[0-9]+:[[:space:]]*//'
}

# only_in ALLOWED PATTERN: no file but those that match ALLOWED may have code that matches PATTERN.
only_in() {
    local hits
    hits=$(source_grep "$2" | grep -vE "^($1)")
    [ -z "$hits" ] && return 0
    printf '%s\n' "$hits"
    return 1
}

no_upward_imports() {
    local module
    { for module in "${!LAYER[@]}"; do echo "$module ${LAYER[$module]}"; done
      source_grep '\bcrate::[a-z_{]'; } | awk '
        NF == 2 && !/:/ { layer[$1] = $2; next }
        {
            module = $0
            sub(/:.*/, "", module); sub(/.*src\//, "", module); sub(/\/.*/, "", module); sub(/\.rs$/, "", module)
            if (!(module in layer)) next
            rest = $0
            while (match(rest, /(^|[^A-Za-z0-9_])crate::(\{[^}]*\}|[a-z_]+)/)) {
                names = substr(rest, RSTART, RLENGTH)
                rest = substr(rest, RSTART + RLENGTH)
                sub(/^.?crate::/, "", names); gsub(/[{},]/, " ", names)
                count = split(names, imported, " ")
                for (i = 1; i <= count; i++) {
                    sub(/::.*/, "", imported[i])
                    if (imported[i] == module) continue
                    if (!(imported[i] in layer)) { print "no layer is known for " imported[i] ": " $0; bad = 1 }
                    else if (layer[imported[i]] >= layer[module]) { print "upward: " $0; bad = 1 }
                }
            }
        }
        END { exit bad }'
}

every_module_has_a_layer() {
    local module bad=0
    for module in $(sed -nE 's/^pub mod ([a-z_]+);.*/\1/p' "$ROOT"/src/lib.rs "$ROOT"/crates/*/src/lib.rs); do
        [ -n "${LAYER[$module]+x}" ] || { echo "no layer is known for $module"; bad=1; }
    done
    return $bad
}

files_are_short() {
    local long
    long=$(find "$ROOT/src" "$ROOT/crates" "$ROOT/tests" -name '*.rs' -exec wc -l {} + | awk '$2 != "total" && $1 >= 500')
    [ -z "$long" ] && return 0
    printf 'files of 500 lines or more:\n%s\n' "$long"
    return 1
}

tree_knows_no_vault() {
    local hits
    hits=$(source_grep '\bVault\b' | grep -E '^src/vault/tree/' | grep -vE '/tests(/|\.rs)')
    [ -z "$hits" ] && return 0
    printf 'names and inodes use the vault:\n%s\n' "$hits"
    return 1
}

bincode_in_one_file() {
    local files
    files=$(source_grep '\bbincode::' | cut -d: -f1 | sort -u)
    [ "$(printf '%s\n' "$files" | wc -l)" -le 1 ] && return 0
    printf 'bincode is used in several files:\n%s\n' "$files"
    return 1
}

# The crate of the format takes bytes or a reader, and draws random bytes and locked memory from the kernel.
format_opens_no_file() {
    local hits
    hits=$(cd "$ROOT" && grep -rnE --include='*.rs' --exclude=tests.rs \
        'std::(fs|net|process|env)\b|rustix::(fs|io|net|process)\b|\blibc::' crates/format/src)
    [ -z "$hits" ] && return 0
    printf '%s\n' "$hits"
    return 1
}

# The program that speaks HTTP opens no vault: the library is there for the control protocol, the table of the KMS interface
# and their types.
console_opens_no_vault() {
    local hits
    hits=$(source_grep '\brekeyfs::' | grep -E '^crates/console/' |
        grep -vE 'rekeyfs::(console|control|crypto::random|ids|kms|local_time|metrics|mount::protect_memory|monitor|printable|service|storage::walk)\b')
    [ -z "$hits" ] && return 0
    printf '%s\n' "$hits"
    return 1
}

layer_checks() {
    local ciphers='aes_gcm|aes_siv|aes_gcm_siv|chacha20poly1305|aws_lc_rs|argon2|hkdf|hmac|sha2|rand|getrandom|aead'
    local format='crates/format/src'
    step "layers: no upward import" no_upward_imports
    step "layers: every module has one" every_module_has_a_layer
    step "layers: fuser only in fuse, mount and the null FUSE daemon" only_in 'src/(fuse|mount)[/.]|crates/null-fuse/' '\bfuser::'
    # Signatures of AWS's protocol are HMACs of secrets that open no vault; the helper for TPMs has a PIN's hash.
    step "layers: cipher crates only in crypto" only_in "$format/crypto[/.]|crates/sigv4/src/|crates/custodians/src/bin/tpm2/sha256[.]" "(^|[^A-Za-z0-9_:])($ciphers)::"
    step "layers: HTTP only in the console and the helper for AWS KMS" only_in 'crates/(console|custodians/src/bin/aws-kms)/' \
        '\b(hyper|hyper_util|http|http_body_util|tokio|ureq|rustls)::'
    step "layers: the console opens no vault" console_opens_no_vault
    step "layers: clap only in cli/args" only_in 'src/cli/args' '\bclap::|\buse clap\b'
    step "layers: names and inodes know nothing of the vault" tree_knows_no_vault
    step "layers: no circle between files" python3 "$ROOT/scripts/circles.py"
    step "layers: bincode in one file" bincode_in_one_file
    # These have the proof that this program may write the vault (src/storage/writable.rs), or write none that is there: a
    # new one, a quarantine, a key backup, the directories of the host.
    step "layers: a vault is written where leave is asked for" only_in \
        'src/(storage|vault)[/.]|src/keyring/hosts/files\.rs|src/keyring/store/(vault_dir|reserve|seen_generations)\.rs|src/keyring/(kept/place|backup)\.rs|src/events/(log|append|rotate|file|preallocate|failed)\.rs|src/mount/lock\.rs|src/fsck/(repair|quarantine|undo|tests/.*)\.rs|src/cli/init\.rs|src/control/registry\.rs' \
        'storage::(pwrite_all|create_\w+|open_lock|open_owned|replace_durably|unlink|rename\w*|link\w*|mkdir|mknod|symlink|rmdir|truncate|punch|erase|allocate\w*|zero_range|chmod\w*|chown\w*|set_times\w*|setxattr\w*|removexattr\w*)\('
    step "layers: the format opens no file" format_opens_no_file
    step "layers: unsafe only in sys, locked and a helper's end" only_in "src/sys[/.]|$format/locked\.rs|crates/custodians/src/leave\.rs" '\bunsafe[[:space:]]*(\{|fn|impl|extern)|allow\(unsafe_code\)'
    step "layers: files under 500 lines" files_are_short
}
