#!/usr/bin/env bash
# Tests the package as it is installed: makes a Debian without toolchain and source (debootstrap), boots it in a container
# (systemd-nspawn), installs the package there and uses it as users and operators do. Arguments choose tests by name.
# The package: REKEYFS_DEB, else the one in target/debian; scripts/package.sh makes it where it isn't there. Ends with
# 'N passed, M failed'; where no machine can be made it says that it did not run.
. "$(dirname "$0")/lib.sh"
cd "$ROOT" || exit 1

if [ "$(id -u)" -ne 0 ] && ! command -v sudo >/dev/null 2>&1; then
    skip "tests of the installed package" "they need root"
    summary
    exit 0
fi
install_missing python3:python3 debootstrap:debootstrap systemd-nspawn:systemd-container nsenter:util-linux tar:tar dpkg-deb:dpkg
if [ -z "${REKEYFS_DEB:-}" ] && ! compgen -G "$TARGET/debian/rekeyfs_*.deb" >/dev/null; then
    scripts/package.sh || exit 1
fi
# A base of 450 MB, its archive, and as much for each machine that is on.
need_room 3 "$TARGET/installed"
isolated env PYTHONDONTWRITEBYTECODE=1 PATH="$PATH" python3 tests/installed/run.py "$@"
