#!/usr/bin/env bash
# Tests the RPM that scripts/rpm.sh has made: rpm installs it into a root of its own, verifies, upgrades and removes it, and in
# between its program mounts a vault there. The packages that it needs are stood for by one of this machine's libraries
# (packaging/rpm/standin.spec). No Fedora is booted: of systemd there is what the scriptlets ask it. --help says this.
. "$(dirname "$0")/lib.sh"
cd "$ROOT" || exit 1
case "${1:-}" in --help) sed -n 's/^# //p' "$0" | head -n 3; exit 0 ;; esac

RPM=$(echo "$TARGET"/rpm/RPMS/*/rekeyfs-[0-9]*.rpm)
[ -f "$RPM" ] || die "there is no RPM in $TARGET/rpm; scripts/rpm.sh makes it"
[ -e /dev/fuse ] || die "no /dev/fuse here: load the fuse module"
[ "$(uname -m)" = x86_64 ] || die "packaging/rpm/standin.spec knows the libraries of x86_64 alone"
if [ "${1:-}" != --inside ]; then
    install_missing rpmbuild:rpm rpm2cpio:rpm2cpio cpio:cpio
    isolated env PATH="$PATH" "$0" --inside
fi

WORK=$(mktemp -d "$TARGET/rpm/installed-XXXXXX")
R=$WORK/root
trap 'umount -l "$R/mnt" "$R/dev/fuse" "$R/proc" 2>/dev/null; rm -rf "$WORK"' EXIT
umask 022
mkdir -p "$R"/{dev,proc,mnt,srv,tmp}
touch "$R/dev/fuse"
mount --bind /dev/fuse "$R/dev/fuse" && mount -t proc proc "$R/proc" || die "the root can't be made"

# Debian's rpm says that it is no package manager there; the rest is what matters.
in_rpm() {
    local status=0
    rpm --root "$R" "$@" 2>"$WORK/said" || status=$?
    grep -vE '^rpm: (RPM should not|However assuming)' "$WORK/said" >&2
    return $status
}
in_root() { chroot "$R" /usr/bin/env -i PATH=/usr/sbin:/usr/bin HOME=/srv "$@"; }
# build VERSION SPEC DEFINITION...: its path.
build() {
    local version=$1 spec=$2
    shift 2
    mkdir -p "$WORK/build"
    rpmbuild --quiet -bb --define "_topdir $WORK" --define "_builddir $WORK/build" --define '_binary_payload w1.gzdio' \
        --define "version $version" "$@" "packaging/rpm/$spec" >"$WORK/log" 2>&1 || { cat "$WORK/log" >&2; die "rpmbuild made no package of $spec"; }
    echo "$WORK"/RPMS/*/*-"$version"-1.*.rpm
}
# served WHEN: the mount has the same daemon, and its file.
served() {
    [ "$(cat "$R/mnt/file")" = 'of the vault' ] && [ "$(pgrep -x rekeyfs)" = "$DAEMON" ] || die "the mount isn't served $1"
}

in_rpm -i "$RPM" 2>"$WORK/refused" && die "rpm installs it where what it needs isn't there"
grep -q 'libc.so.6' "$WORK/refused" || die "rpm refuses it for another reason: $(cat "$WORK/refused")"
in_rpm -i "$(build 1 standin.spec)" || die "rpm can't install what it needs"
in_rpm -i "$RPM" || die "rpm can't install it"
SHARED=$(in_rpm -qlv rekeyfs | grep '^d' | grep -v '/rekeyfs')
[ -z "$SHARED" ] || die "it owns directories of others: $SHARED"
CHANGED=$(in_rpm -V rekeyfs) || die "rpm finds it changed: $CHANGED"
[ "$(cat "$R/asked")" = daemon-reload ] || die "installing asked systemd: $(cat "$R/asked")"

# The helpers of custodians: found where rekeyfs looks for them, and each comes and goes alone.
HELPERS=/usr/lib/rekeyfs/custodians
for custodian in aws-kms pkcs11 tpm2; do
    helper=rekeyfs-custodian-$custodian
    in_rpm -i "$TARGET"/rpm/RPMS/*/"$helper"-[0-9]*.rpm || die "rpm can't install $helper"
    CHANGED=$(in_rpm -V "$helper") || die "rpm finds $helper changed: $CHANGED"
    [ "$(stat -c '%a %u' "$R$HELPERS/$helper")" = '755 0' ] || die "$helper isn't root's"
    echo '{"v":1,"op":"describe","params":{},"context":{},"interactive":false}' | in_root "$HELPERS/$helper" >"$WORK/answer"
    grep -q '"kind":"unsupported"' "$WORK/answer" || die "$helper doesn't run: $(cat "$WORK/answer")"
    in_rpm -e rekeyfs 2>/dev/null && die "rpm removes rekeyfs and leaves $helper"
done
for custodian in aws-kms pkcs11 tpm2; do in_rpm -e "rekeyfs-custodian-$custodian" || die "rpm can't remove the helper of $custodian"; done
[ "$(cd "$R$HELPERS" && echo *)" = 'rekeyfs-custodian-age rekeyfs-custodian-clevis rekeyfs-custodian-fido2 rekeyfs-custodian-systemd-creds' ] || die "of the helpers there is $(ls "$R$HELPERS")"

echo 'four words that nobody guesses' >"$R/srv/pass"
chmod 600 "$R/srv/pass"
in_root rekeyfs init /srv/vault --passfile /srv/pass --kdf-memory 8 --no-recovery-key >/dev/null &&
    in_root rekeyfs mount /srv/vault /mnt --passfile /srv/pass && echo 'of the vault' >"$R/mnt/file" || die "its program can't mount a vault"
DAEMON=$(pgrep -x rekeyfs)

# The same tree by the next version's name.
mkdir "$WORK/unpacked"
(cd "$WORK/unpacked" && rpm2cpio "$RPM" | cpio --quiet -idm)
mkdir -p "$WORK/unpacked/usr/share/zsh/vendor-completions" "$WORK/unpacked/usr/share/lintian"
mv "$WORK"/unpacked/usr/share/zsh/site-functions/* "$WORK/unpacked/usr/share/zsh/vendor-completions/"
rm -r "$WORK/unpacked/usr/share/zsh/site-functions" "$WORK/unpacked/usr/share/licenses"
touch "$WORK/unpacked/usr/share/doc/rekeyfs/changelog.Debian.gz"
NEXT=$(build 99.0 rekeyfs.spec --define "tree $WORK/unpacked" --define "sources $ROOT") || exit 1
: >"$R/asked"
in_rpm -U "$NEXT" || die "rpm can't upgrade it"
[ "$(in_rpm -q rekeyfs)" = "rekeyfs-99.0-1.x86_64" ] || die "after the upgrade there is $(in_rpm -q rekeyfs)"
grep -q stop "$R/asked" && die "the upgrade stopped something: $(cat "$R/asked")"
served "after the upgrade"
in_root rekeyfs rotate /mnt >/dev/null || die "the new program doesn't reach the mount"

in_rpm -e rekeyfs || die "rpm can't remove it"
grep -q '^stop rekeyfs-rotate@\*.timer rekeyfs-metrics.timer' "$R/asked" || die "the removal stopped no timer: $(cat "$R/asked")"
served "after the removal"
LEFT=$(cd "$R" && find usr etc -path '*rekeyfs*' 2>/dev/null)
[ -z "$LEFT" ] || die "these are left: $LEFT"
umount "$R/mnt" || die "the mount can't be ended"
[ -s "$R/srv/vault/keyring" ] && [ -d "$R/srv/vault/tree" ] || die "the vault is gone"
in_rpm -i "$NEXT" && in_root rekeyfs mount /srv/vault /mnt --passfile /srv/pass || die "the vault doesn't open again"
[ "$(cat "$R/mnt/file")" = 'of the vault' ] || die "the vault's file is gone"
in_root rekeyfs umount /mnt || die "the mount can't be ended again"
echo "$RPM: installed, verified, upgraded and removed"
