#!/usr/bin/env bash
# Makes an RPM of the tree that scripts/package.sh has made, with rpmbuild, into target/rpm, and one of each helper of custodians. Checks that it
# unpacks to what it was made of, and needs libc alone; scripts/rpm-installed.sh installs it. Its last line is the package's path. --debug takes the
# debug build's tree, --help says this.
. "$(dirname "$0")/lib.sh"
cd "$ROOT" || exit 1

OUTPUT=release
for option in "$@"; do
    case $option in
    --debug) OUTPUT=debug ;;
    --help) sed -n 's/^# //p' "$0" | head -n 3; exit 0 ;;
    *) die "$option: no such option; see --help" ;;
    esac
done

TREE=$TARGET/$OUTPUT/package
[ -x "$TREE/usr/bin/rekeyfs" ] || die "there is no $TREE; scripts/package.sh makes it"
install_missing rpmbuild:rpm rpm2cpio:rpm2cpio cpio:cpio
VERSION=$("$TREE/usr/bin/rekeyfs" --version | sed 's/^rekeyfs //') || exit 1

WORK=$TARGET/rpm
rm -rf "$WORK"
mkdir -p "$WORK"
umask 022
# build SPEC TREE DEFINITION...
build() {
    local spec=$1 tree=$2
    shift 2
    rpmbuild --quiet -bb --define "_topdir $WORK" --define "_builddir $WORK/build" --define "version $VERSION" --define "tree $tree" \
        --define "sources $ROOT" "$@" "packaging/rpm/$spec" >"$WORK/log" 2>&1 || { cat "$WORK/log" >&2; die "rpmbuild made no package of $spec"; }
}
build rekeyfs.spec "$TREE"
RPM=$(echo "$WORK"/RPMS/*/rekeyfs-"$VERSION"-1.*.rpm)
[ -f "$RPM" ] || die "rpmbuild says that it made a package, and there is none"

# Each file of a tree with its kind, mode and contents, by the place that it has in an RPM.
listing() {
    (cd "$1" && find . -type f -printf '%m %P ' -exec sha256sum {} ';' -o -type l -printf 'link %P %l\n') |
        sed 's,zsh/vendor-completions,zsh/site-functions,g' | grep -vE 'share/(lintian|licenses)/|changelog\.Debian' | sort
}
mkdir "$WORK/unpacked"
(cd "$WORK/unpacked" && rpm2cpio "$RPM" | cpio --quiet -idm) || die "$RPM can't be unpacked"
diff <(listing "$TREE") <(listing "$WORK/unpacked") >&2 || die "$RPM doesn't have what $TREE has"
for licence in LICENSE-APACHE LICENSE-MIT; do
    cmp "$licence" "$WORK/unpacked/usr/share/licenses/rekeyfs/$licence" || die "$RPM lacks $licence"
done
OTHERS=$(rpm -qp --requires "$RPM" 2>/dev/null | grep -vE '^(lib(c|m|gcc_s|pthread|dl)\.so\.|ld-linux|rtld\(|rpmlib\(|/bin/sh)')
[ -z "$OTHERS" ] || die "$RPM needs more than libc: $OTHERS"
build rekeyfs-custodian.spec "$TREE-aws-kms" --define 'custodian aws-kms' --define 'what AWS KMS'
build rekeyfs-custodian.spec "$TREE-pkcs11" --define 'custodian pkcs11' --define 'what a token, smart card or HSM'
build rekeyfs-custodian.spec "$TREE-tpm2" --define 'custodian tpm2' --define "what the machine's TPM"
rm -rf "$WORK/unpacked" "$WORK/build" "$WORK/BUILDROOT"
printf '%s\n' "$RPM"
