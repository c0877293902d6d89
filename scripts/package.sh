#!/usr/bin/env bash
# Makes the Debian packages, into target/debian: the release build, manual pages, completions, units and documents, and a package
# for each helper of custodians that needs a library. Its last line is the path of the package rekeyfs. --debug packages the debug build (to try a package out), --lint checks it with lintian and
# the manual pages with man and mandoc, --help says this.
. "$(dirname "$0")/lib.sh"
cd "$ROOT" || exit 1

PROFILE=release
OUTPUT=release
LINT=
for option in "$@"; do
    case $option in
    --debug) PROFILE=dev OUTPUT=debug ;;
    --lint) LINT=yes ;;
    --help) sed -n 's/^# //p' "$0" | head -n 3; exit 0 ;;
    *) die "$option: no such option; see --help" ;;
    esac
done

HELPERS=aws-kms,pkcs11,tpm2
need_build_tools
need_helper_libraries
install_missing lowdown:lowdown dpkg-deb:dpkg dpkg-shlibdeps:dpkg-dev python3:python3
crate cargo-deb 3.8.0
[ -z "$LINT" ] || install_missing lintian:lintian mandoc:mandoc man:man-db

cargo build --quiet --locked --profile "$PROFILE" --bins || exit 1
# Helpers that are packages of their own, since they need what others don't.
cargo build --quiet --locked --profile "$PROFILE" --package rekeyfs-custodians --features "$HELPERS" --bins || exit 1
PROGRAM=$TARGET/$OUTPUT/rekeyfs
VERSION=$("$PROGRAM" --version | sed 's/^rekeyfs //') || exit 1

# The tree as it is to be on the machine: [package.metadata.deb] takes all of it.
TREE=$TARGET/$OUTPUT/package
rm -rf "$TREE"
umask 022
SHARE=$TREE/usr/share
DOC=$SHARE/doc/rekeyfs

# put MODE DIRECTORY FILE...: into a directory of the tree.
put() {
    local mode=$1 directory=$2
    shift 2
    mkdir -p "$directory" && install -m "$mode" "$@" "$directory" || die "can't put $* into $directory"
}

# The format's page is docs/format.md: lowdown wants three dashes below a table's head, and knows roff's fonts of old.
vault_page() {
    printf '.TH REKEYFS-VAULT 5 "" "rekeyfs %s" "File Formats"\n' "$VERSION"
    printf '.SH NAME\nrekeyfs\\-vault \\- the format of a rekeyfs vault\n.SH DESCRIPTION\n'
    sed -E -e 1d -e '/^\|[-|]+\|$/s/--/---/g' docs/format.md |
        lowdown -t man --nroff-nolinks |
        sed -E -e 's/\\f\(?C[WR]?/\\fB/g' |
        awk 'BEGIN { after = 1 }
             /^\.S[HS]$/ { heading = $0; getline; print heading " " $0; after = 1; next }
             after && /^\.[LP]P$/ { after = 0; next }
             { after = 0; print }'
    printf '.SH SEE ALSO\n.BR rekeyfs (1),\n.BR rekeyfs-fsck (8)\n'
}

put 755 "$TREE/usr/bin" --strip "$PROGRAM"
# Nobody types its name: `rekeyfs kms serve` starts it.
put 755 "$TREE/usr/libexec/rekeyfs" --strip "$TARGET/$OUTPUT/rekeyfs-console"
# Helpers of custodians, each used only where custodians.conf has a line for it.
for custodian in age clevis fido2 systemd-creds; do
    put 755 "$TREE/usr/lib/rekeyfs/custodians" --strip "$TARGET/$OUTPUT/rekeyfs-custodian-$custodian"
done
# mount(8) and umount(8) call these with arguments of their own; the program goes by the name it is called by.
mkdir -p "$TREE/usr/sbin"
ln -s ../bin/rekeyfs "$TREE/usr/sbin/mount.fuse.rekeyfs"
ln -s ../bin/rekeyfs "$TREE/usr/sbin/umount.fuse.rekeyfs"

"$PROGRAM" generate man "$SHARE/man" || exit 1
mkdir -p "$SHARE/man/man5"
vault_page >"$SHARE/man/man5/rekeyfs-vault.5" || exit 1
gzip -9n "$SHARE"/man/man*/*

"$PROGRAM" generate completions "$TARGET/$OUTPUT/completions" || exit 1
put 644 "$SHARE/bash-completion/completions" "$TARGET/$OUTPUT/completions/rekeyfs"
put 644 "$SHARE/zsh/vendor-completions" "$TARGET/$OUTPUT/completions/_rekeyfs"
put 644 "$SHARE/fish/vendor_completions.d" "$TARGET/$OUTPUT/completions/rekeyfs.fish"

# Units, where there are any.
for unit in packaging/systemd/*.{service,timer,target,slice,socket,mount,automount}; do
    [ -f "$unit" ] && put 644 "$TREE/usr/lib/systemd/system" "$unit"
done
for unit in packaging/systemd/user/*.{service,timer,target,socket}; do
    [ -f "$unit" ] && put 644 "$TREE/usr/lib/systemd/user" "$unit"
done
for example in packaging/systemd/examples/*; do
    [ -f "$example" ] && put 644 "$DOC/examples" "$example"
done

put 644 "$DOC/examples" packaging/prometheus/rekeyfs.rules.yml

# Documents, with what they link to where that is of use on a machine.
python3 scripts/documents.py "$DOC" README.md SECURITY.md docs/*.md docs/*.{svg,png} docs/schemas/*.json || die "the documents could not be put into $DOC"
gzip -9n <CHANGELOG.md >"$DOC/changelog.gz"
debian_changelog() {
    printf '%s (%s-1) unstable; urgency=medium\n\n  * rekeyfs %s; its changelog.gz has what changes.\n\n' "$1" "$VERSION" "$VERSION"
    printf ' -- %s  %s\n' "$MAINTAINER" "$(git log -1 --format=%cD 2>/dev/null || date -R)"
}
MAINTAINER=$(sed -n 's/^maintainer = "\(.*\)"$/\1/p' Cargo.toml)
debian_changelog rekeyfs | gzip -9n >"$DOC/changelog.Debian.gz"
python3 scripts/licences.py | gzip -9n >"$DOC/THIRD-PARTY.gz" || die "the licences of the crates could not be collected"
put 644 "$SHARE/lintian/overrides" packaging/debian/lintian/rekeyfs

# The debug build isn't what users get: nobody waits for it to be packed well.
FAST=()
[ "$PROFILE" = release ] || FAST=(--fast)
DEB=$TARGET/debian/rekeyfs_${VERSION}-1_$(dpkg --print-architecture).deb
mkdir -p "$TARGET/debian"
rm -f "$TARGET"/debian/rekeyfs[-_]*.deb
env PATH="$TOOLS/bin:$PATH" cargo deb --quiet --locked --no-build --profile "$PROFILE" --package rekeyfs \
    --output "$DEB" "${FAST[@]+"${FAST[@]}"}" >/dev/null || die "cargo-deb made no package"

# helper_package CUSTODIAN SUGGESTS WHAT [DEPENDS]: the package of one helper. It needs rekeyfs, the libraries that the helper is linked to,
# and what no linker sees.
helper_package() {
    local name=rekeyfs-custodian-$1 tree=$TARGET/$OUTPUT/package-$1 doc depends
    doc=$tree/usr/share/doc/$name
    rm -rf "$tree"
    put 755 "$tree/usr/lib/rekeyfs/custodians" --strip "$TARGET/$OUTPUT/$name"
    mkdir -p "$doc" "$tree/DEBIAN" "$tree/usr/share/lintian/overrides"
    sed "s,doc/rekeyfs/,doc/$name/," packaging/debian/copyright >"$doc/copyright"
    debian_changelog "$name" | gzip -9n >"$doc/changelog.Debian.gz"
    python3 scripts/licences.py "$1" | gzip -9n >"$doc/THIRD-PARTY.gz" || die "the licences of the crates could not be collected"
    sed -n "/systemctl/d; s,^rekeyfs:,$name:,p" packaging/debian/lintian/rekeyfs >"$tree/usr/share/lintian/overrides/$name"
    # It reads the name of a source package, and nothing else.
    mkdir "$tree/debian" && printf 'Source: %s\n' "$name" >"$tree/debian/control"
    depends=$(cd "$tree" && dpkg-shlibdeps --ignore-missing-info -O "usr/lib/rekeyfs/custodians/$name" 2>/dev/null) || die "what $name is linked to isn't in any package"
    rm -r "$tree/debian"
    cat >"$tree/DEBIAN/control" <<END
Package: $name
Version: $VERSION-1
Architecture: $(dpkg --print-architecture)
Maintainer: $MAINTAINER
Section: admin
Priority: optional
Depends: rekeyfs, ${4:+$4, }${depends#shlibs:Depends=}
Suggests: $2
Description: helper by which $3 opens vaults of rekeyfs
 rekeyfs keeps files encrypted in a directory, the vault. A custodian keeps
 the key of an unlock slot of a vault, and this program asks it. It is used
 only where custodians.conf allows it.
END
    DEB=$TARGET/debian/${name}_${VERSION}-1_$(dpkg --print-architecture).deb
    dpkg-deb --root-owner-group --build "$tree" "$DEB" >/dev/null || die "dpkg-deb made no package $name"
    if [ -n "$LINT" ]; then lintian --fail-on error,warning --allow-root "$DEB" >&2 || die "the package $name isn't as it should be"; fi
    printf '%s\n' "$DEB"
}

# lint DEB: the package as lintian sees it, the manual pages as both of man's readers do.
lint() {
    local page bad=0 said
    lintian --fail-on error,warning --allow-root "$1" || bad=1
    for page in "$SHARE"/man/man*/*; do
        # A date would be the build's: without it the same sources give the same page.
        said=$({ MANWIDTH=100 man --warnings --local-file "$page" >/dev/null
            zcat "$page" | mandoc -T lint -W warning | grep -v 'missing date'; } 2>&1)
        [ -z "$said" ] || { printf '%s:\n%s\n' "$page" "$said"; bad=1; }
    done
    return $bad
}
if [ -n "$LINT" ]; then
    lint "$DEB" >&2 || die "the package isn't as it should be"
fi
REKEYFS_PACKAGE=$DEB
# Without certificates nobody is who AWS should be.
helper_package aws-kms awscli "AWS KMS" ca-certificates
helper_package pkcs11 opensc "a token, smart card or HSM"
helper_package tpm2 tpm2-tools "the machine's TPM"
printf '%s\n' "$REKEYFS_PACKAGE"
