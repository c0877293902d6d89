"""Ways to mount: by a user through fusermount3, from fstab, with -o options. About rekeyfs alone: ext4 is skipped."""

import errno
import os
import pathlib
import pwd
import shutil
import subprocess

import harness
from harness import sh
from suite import Cases, Skip, command, equal, need, refused
from users import DAEMON, NOBODY, as_user


class Mounts(Cases):
    """Each case has a vault of its own."""

    name = "mounts"
    about = "mounts by users through fusermount3, fstab with mount.fuse.rekeyfs, -o options"

    def _vault(self, uid=None):
        """A vault in a directory of its own, not mounted."""
        if not self.place.vault:
            raise Skip("about rekeyfs alone")
        base = pathlib.Path(self.place.vault.base) / f"mount{len(os.listdir(self.place.vault.base))}"
        base.mkdir()
        vault = harness.Vault(base, uid=uid)
        os.chmod(base, 0o755)
        os.chmod(vault.mnt, 0o755)
        return vault

    def _with(self, options, look, *more):
        """Mounts with -o options, looks, and unmounts."""
        vault = self._vault()
        (vault.mnt / "before").mkdir() if "nonempty" in options else None
        vault.mount("-o", options, *more)
        try:
            look(vault.mnt)
        finally:
            vault.close()
        return vault

    def test_option_ro(self):
        vault = self._vault()
        vault.mount()
        (vault.mnt / "f").write_bytes(b"x")
        vault.remount("-o", "ro")
        try:
            equal((vault.mnt / "f").read_bytes(), b"x", "reading")
            for call in ((vault.mnt / "f").write_bytes, (vault.mnt / "g").write_bytes):
                refused(errno.EROFS, call, b"y")
            refused(errno.EROFS, os.unlink, vault.mnt / "f")
            refused(errno.EROFS, os.utime, vault.mnt / "f")
        finally:
            vault.close()

    def test_options_noexec_exec(self):
        def may_run(mnt):
            shutil.copy("/bin/true", mnt / "true")
            return subprocess.run(["bash", "-c", mnt / "true"], capture_output=True, check=False).returncode

        self._with("noexec", lambda mnt: equal(may_run(mnt), 126, "noexec"))
        self._with("noexec,exec", lambda mnt: equal(may_run(mnt), 0, "exec"))

    def test_options_suid_dev_and_without(self):
        def look(mnt, suid, dev):
            os.chmod(mnt, 0o777)
            shutil.copy("/usr/bin/id", mnt / "id")
            os.chown(mnt / "id", DAEMON, DAEMON)
            os.chmod(mnt / "id", 0o4755)
            equal("euid" in as_user(NOBODY, "./id", mnt).stdout, suid, "suid")
            os.mknod(mnt / "null", 0o020666, os.makedev(1, 3))
            if dev:
                os.close(os.open(mnt / "null", os.O_RDWR))
            else:
                refused(errno.EACCES, os.open, mnt / "null", os.O_RDWR)

        self._with("allow_other", lambda mnt: look(mnt, False, False))
        self._with("allow_other,suid,dev", lambda mnt: look(mnt, True, True))

    def test_option_noatime(self):
        """Reading changes no atime, of files and directories, for root and for a user; without it, it does."""
        for uid in (None, NOBODY):
            for option in ("noatime", "relatime"):
                vault = self._vault(uid)
                vault.mount("-o", option)
                try:
                    self._read_all(vault, uid, option == "noatime")
                finally:
                    vault.close()

    def _read_all(self, vault, uid, kept):
        user = NOBODY if uid else 0
        done = as_user(user, f"cd {vault.mnt}; mkdir d; echo x > d/f; touch -ad 2001-01-01 d/f d", "/")
        equal(done.returncode, 0, done.stderr)
        # So that reading reaches the daemon.
        vault.umount()
        vault.mount("-o", "noatime" if kept else "relatime")
        line = next(line for line in pathlib.Path("/proc/self/mounts").read_text().splitlines() if str(vault.mnt) in line)
        equal(("noatime" if kept else "relatime") in line.split()[3].split(","), True, line)
        done = as_user(user, f"cd {vault.mnt}; cat d/f; ls d; stat -c %x d/f d", "/")
        old = [stamp.startswith("2001-01-01") for stamp in done.stdout.splitlines()[2:]]
        equal((done.returncode, old), (0, [kept, kept]), f"{done.stdout} {done.stderr}")

    def test_options_fsname_nonempty_and_those_for_others(self):
        def look(mnt):
            line = next(line for line in pathlib.Path("/proc/self/mounts").read_text().splitlines() if str(mnt) in line)
            equal(line.split()[0], "a\\040name", "source")
            equal(line.split()[2], "fuse.rekeyfs", "type")

        self._with("fsname=a name,nonempty,relatime,_netdev,x-systemd.automount,user=root,nofail,defaults", look)
        vault = self._vault()
        done = vault.try_mount("-o", "no_such_option")
        equal(done.returncode != 0 and "no_such_option" in done.stderr, True, done.stderr)

    def test_a_user_mounts_through_fusermount3(self):
        need("fusermount3")
        vault = self._vault(NOBODY)
        vault.mount()
        try:
            out = as_user(NOBODY, f"cd {vault.mnt}; echo x > f; umask 077; mkdir d; cp -a /etc/passwd d; cmp /etc/passwd d/passwd; "
                                  "ln f g; chmod 400 f; ! echo y 2>/dev/null >> f; mv d e; stat -c %U%a f e", "/")  # fmt: skip
            equal((out.returncode, out.stdout.split()), (0, ["nobody400", "nobody700"]), out.stderr)
            refused(errno.EACCES, os.listdir, vault.mnt)
            equal(as_user(DAEMON, f"ls {vault.mnt}", "/").returncode != 0, True, "another user is refused")
            vault.rotate()
        finally:
            done = as_user(NOBODY, f"fusermount3 -u {vault.mnt}", "/")
        equal(done.returncode, 0, done.stderr)
        equal(bool(harness.wait_until(lambda: harness.is_gone(vault.pid), 60)), True, "the daemon ends")

    def test_a_user_lets_others_in_where_fuse_conf_says_so(self):
        need("fusermount3")
        conf = self.options.work / "fuse.conf"
        conf.write_text("user_allow_other\n")
        vault = self._vault(NOBODY)
        os.chmod(vault.mnt, 0o755)
        pathlib.Path("/etc/fuse.conf").touch()
        command("mount", "--bind", conf, "/etc/fuse.conf")
        try:
            vault.mount("--allow-other")
            as_user(NOBODY, f"cd {vault.mnt}; umask 022; chmod 755 .; echo x > f; echo y > g; chmod 600 g", "/")
            equal(as_user(DAEMON, f"cat {vault.mnt}/f", "/").stdout, "x\n", "another user reads")
            equal(as_user(DAEMON, f"cat {vault.mnt}/g", "/").returncode, 1, "what they may not")
            equal(as_user(DAEMON, f"touch {vault.mnt}/h", "/").returncode, 1, "nor write")
        finally:
            vault.close()
            command("umount", "/etc/fuse.conf")

    def test_fstab(self):
        """mount(8) and umount(8) with a line of fstab, by root and by the user that it names."""
        vault, theirs = self._vault(), self._vault(NOBODY)
        sbin, fstab = os.path.realpath("/sbin"), self.options.work / "fstab"
        helpers = self.options.work / "sbin"
        helpers.mkdir()
        (helpers / "mount.fuse.rekeyfs").symlink_to(harness.BIN)
        fstab.write_text("".join(
            f"{v.path} {v.mnt} fuse.rekeyfs noauto,{extra}passfile={v.passfile} 0 0\n"
            for v, extra in ((vault, "allow_other,suid,noatime,"), (theirs, "user,"))
        ))  # fmt: skip
        done = command("mount", "-t", "overlay", "-o", f"lowerdir={helpers}:{sbin}", "overlay", sbin, check=False)
        if done.returncode:
            raise Skip(f"{sbin} can't be overlaid: {done.stdout.strip()}")
        try:
            pathlib.Path("/etc/fstab").touch()
            command("mount", "--bind", fstab, "/etc/fstab")
            command("mount", vault.mnt, env=vault.env)
            sh("chmod 755 .; echo x > f; chmod 644 f", vault.mnt)
            equal(as_user(DAEMON, f"cat {vault.mnt}/f", "/").stdout, "x\n", "allow_other from fstab")
            self._remounted(vault)
            command("umount", vault.mnt)
            equal(os.listdir(vault.mnt), [], "unmounted")
            run_as = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
            command(*run_as, "mount", theirs.mnt, env={**theirs.env, "USER": pwd.getpwuid(NOBODY).pw_name})
            equal(as_user(NOBODY, f"cd {theirs.mnt}; echo y > f; cat f", "/").stdout, "y\n", "mounted by the user")
            command(*run_as, "fusermount3", "-u", theirs.mnt, env=theirs.env)
        finally:
            for place in (vault.mnt, theirs.mnt, "/etc/fstab", sbin):
                subprocess.run(["umount", "-l", place], check=False, capture_output=True)

    def _remounted(self, vault):
        """mount -o remount through the helper: what the list names changes, the rest stays."""
        def flags():
            line = next(line for line in pathlib.Path("/proc/self/mounts").read_text().splitlines() if str(vault.mnt) in line)
            return {"ro", "rw", "nosuid", "nodev", "noexec"} & set(line.split()[3].split(","))

        equal(flags(), {"rw", "nosuid", "nodev"}, "flags of the mount")
        with open(vault.mnt / "f", "r+b") as file:
            done = command("mount", "-o", "remount,ro", vault.mnt, env=vault.env, check=False)
            equal((done.returncode != 0, "busy" in done.stdout), (True, True), done.stdout)
            file.write(b"y")
        command("mount", "-o", "remount,ro,noexec", vault.mnt, env=vault.env)
        equal(flags(), {"ro", "nosuid", "nodev", "noexec"}, "flags after remount,ro,noexec")
        for call in ((vault.mnt / "f").write_bytes, (vault.mnt / "g").write_bytes):
            refused(errno.EROFS, call, b"z")
        equal((vault.mnt / "f").read_bytes(), b"y\n", "what was written before")
        vault.rotate()
        command("mount", "-o", "remount,rw", vault.mnt, env=vault.env)
        equal(flags(), {"rw", "nosuid", "nodev", "noexec"}, "flags after remount,rw")
        (vault.mnt / "f").write_bytes(b"x\n")
        command("umount", vault.mnt)
        command("mount", "-o", "ro", vault.mnt, env=vault.env)
        done = command("mount", "-o", "remount,rw", vault.mnt, env=vault.env, check=False)
        equal((done.returncode != 0, "mount it writable" in done.stdout), (True, True), done.stdout)

    def test_remount_read_only(self):
        """As a shutdown does it: mount -o remount,ro, straight to the kernel."""
        vault = self._vault()
        vault.mount()
        try:
            (vault.mnt / "f").write_bytes(b"x")
            command("mount", "-i", "-o", "remount,ro", vault.mnt)
            refused(errno.EROFS, (vault.mnt / "f").write_bytes, b"y")
            command("mount", "-i", "-o", "remount,rw", vault.mnt)
            (vault.mnt / "f").write_bytes(b"y")
        finally:
            vault.close()
