"""The package on a machine: what it brings, mounts by fstab, upgrades, removal."""

import pathlib
import re
import tempfile
import unittest

import machine
from machine import Machine

PASS = "/etc/rekeyfs/pass"
VAULT, MNT = "/srv/vault", "/mnt/plain"
# The names of processes that serve mounts; the kernel keeps 15 bytes.
DAEMON = "rekeyfs|mount.fuse.reke"


class InstalledTest(unittest.TestCase):
    """One machine for the tests of a class; it is on."""

    installed = True

    @classmethod
    def setUpClass(cls):
        cls.machine = Machine(cls.__name__, installed=cls.installed)
        cls.addClassCleanup(cls.machine.close)
        cls.machine.boot()

    @classmethod
    def make_vault(cls, vault=VAULT, mnt=MNT, options="allow_other,helper=fuse.rekeyfs"):
        """A vault with a line in fstab."""
        cls.machine.write(PASS, "a passphrase for the tests\n", 0o600)
        cls.machine.ok(f"mkdir -p {mnt}; rekeyfs init {vault} --passfile {PASS} --kdf-memory 8 --no-recovery-key")
        line = f"{vault} {mnt} fuse.rekeyfs passfile={PASS},{options} 0 0\n"
        fstab = cls.machine.read("/etc/fstab") if cls.machine.path("/etc/fstab").exists() else ""
        cls.machine.write("/etc/fstab", fstab + line)

    def daemons(self):
        """The processes that serve mounts."""
        return self.machine.run(f"pgrep -x '{DAEMON}'").stdout.split()

    def is_mounted(self, mnt=MNT):
        return self.machine.run(f"findmnt --types fuse.rekeyfs {mnt}").returncode == 0


class TestInstalling(InstalledTest):
    installed = False

    def test_apt_installs_the_package_and_what_it_recommends(self):
        self.assertNotEqual(self.machine.run("command -v fusermount3").returncode, 0, "nothing is left for apt to find")
        self.machine.install()
        self.machine.ok("command -v rekeyfs fusermount3 mount.fuse.rekeyfs umount.fuse.rekeyfs")
        self.assertRegex(self.machine.ok("rekeyfs --version"), r"^rekeyfs \d+\.\d+\.\d+\n$")
        self.assertEqual(self.machine.ok("dpkg --verify rekeyfs"), "")
        for absent in ("cargo", "rustc", "cc"):
            self.assertNotEqual(self.machine.run(f"command -v {absent}").returncode, 0, absent)


class TestReading(InstalledTest):
    """Manual pages, completions, documents."""

    def test_each_command_has_a_manual_page(self):
        page = self.machine.ok("man rekeyfs")
        for heading in ("NAME", "COMMANDS", "ENVIRONMENT", "FILES", "EXIT STATUS", "SEE ALSO"):
            self.assertRegex(page, rf"(?m)^{heading}$")
        self.assertRegex(page, r"12 +wrong +passphrase")
        named = re.findall(r"^       (rekeyfs-[a-z-]+)\(([18])\)", page, re.MULTILINE)
        self.assertGreater(len(named), 10)
        for name, section in [*named, ("rekeyfs-key-retire", 1), ("rekeyfs-kms-create-key", 1), ("rekeyfs-vault", 5),
                              ("mount.fuse.rekeyfs", 8), ("umount.fuse.rekeyfs", 8)]:  # fmt: skip
            with self.subTest(name):
                self.assertIn("NAME\n", self.machine.ok(f"man {section} {name}"))

    def test_pages_are_found_by_a_word(self):
        self.machine.ok("mandb --quiet")
        self.assertRegex(self.machine.ok("apropos --and rekeyfs rotate"), r"rekeyfs")
        self.assertRegex(self.machine.ok("whatis rekeyfs-mount"), r"rekeyfs-mount \(8\) +- mount a vault")

    def test_the_format_s_tables_are_tables(self):
        page = self.machine.ok("man rekeyfs-vault")
        self.assertRegex(page, r"│root key +│keyring +│")
        self.assertNotIn("|--|", page)

    def complete_in_bash(self, line):
        words = line.split(" ")
        shell = f"""
            source /usr/share/bash-completion/bash_completion
            _completion_loader rekeyfs
            COMP_WORDS=({" ".join(f"'{word}'" for word in words)}) COMP_CWORD={len(words) - 1}
            COMP_LINE='{line}' COMP_POINT={len(line)}
            $(complete -p rekeyfs | sed 's/.*-F \\([^ ]*\\) .*/\\1/') rekeyfs '{words[-1]}' '{words[-2]}'
            printf '%s\\n' "${{COMPREPLY[@]}}"
        """
        return self.machine.ok(shell).split()

    def test_bash_completes_a_command_and_an_option(self):
        self.assertEqual(self.complete_in_bash("rekeyfs rota"), ["rotate"])
        self.assertEqual(self.complete_in_bash("rekeyfs key reti"), ["retire"])
        self.assertEqual(self.complete_in_bash("rekeyfs mount --allow"), ["--allow-other"])
        self.assertNotIn("generate", self.complete_in_bash("rekeyfs "))
        self.assertEqual(self.complete_in_bash("rekeyfs status "), [], "a path, which bash itself completes")
        self.assertEqual(self.complete_in_bash("rekeyfs rotate --alias "), [], "no path")

    def test_fish_completes_a_command_and_an_option(self):
        def complete(line):
            return [row.split("\t")[0] for row in self.machine.ok(f"fish -c 'complete -C \"{line}\"'").splitlines()]

        self.assertEqual(complete("rekeyfs rota"), ["rotate"])
        self.assertEqual(complete("rekeyfs mount --allow"), ["--allow-other"])

    def test_zsh_has_a_completion_for_it(self):
        shell = "autoload -Uz compinit; compinit -u; echo $_comps[rekeyfs]; autoload +X _rekeyfs"
        self.assertEqual(self.machine.ok(f"zsh -f -c '{shell}'"), "_rekeyfs\n")

    def test_documents_link_to_what_is_there(self):
        doc = self.machine.path("/usr/share/doc/rekeyfs")
        pages = sorted(doc.rglob("*.md"))
        links = [(page, target) for page in pages for target in re.findall(r"\]\(([^)\s#]+)", page.read_text()) if "://" not in target]
        self.assertGreater(len(links), 50)
        self.assertEqual([f"{page.name}: {target}" for page, target in links if not (page.parent / target).exists()], [])

    def test_documents_have_their_pictures(self):
        for page in [machine.ROOT / "README.md", *(machine.ROOT / "docs").glob("*.md")]:
            name = page.relative_to(machine.ROOT)
            shown, installed = (
                re.findall(r"!\[[^\]]*\]\(([^)]+)\)", at.read_text()) for at in (page, self.machine.path(f"/usr/share/doc/rekeyfs/{name}"))
            )
            self.assertEqual(installed, shown, name)

    def test_documents_and_licences_are_there(self):
        doc = "/usr/share/doc/rekeyfs"
        for name in ("README.md", "docs/format.md", "docs/keys.md", "copyright", "changelog.gz"):
            self.machine.ok(f"test -s {doc}/{name}")
        self.assertRegex(self.machine.ok(f"zcat {doc}/THIRD-PARTY.gz"), r"(?m)^aws-lc-rs .*ISC")


class TestMounting(InstalledTest):
    """A vault by its line in fstab."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.make_vault()

    def tearDown(self):
        self.machine.run(f"[ -e /run/holder ] && kill $(cat /run/holder); umount -l {MNT}; rm -f /run/holder")
        self.machine.wait_until(f"! pgrep -x '{DAEMON}'")

    def test_mount_and_umount_find_their_helpers(self):
        self.machine.ok(f"mount {MNT}")
        self.assertTrue(self.is_mounted())
        self.assertEqual(len(self.daemons()), 1)
        self.machine.ok(f"echo hello > {MNT}/file")
        self.machine.ok(f"umount {MNT}")
        # With umount's own way the daemon would still be ending.
        self.assertEqual(self.daemons(), [])
        self.machine.ok("mount -a")
        self.assertEqual(self.machine.ok(f"cat {MNT}/file"), "hello\n")
        self.machine.ok(f"mount -o remount,ro {MNT}")
        self.assertIn("ro", self.machine.ok(f"findmnt -no OPTIONS {MNT}").split(",")[0])
        self.machine.ok(f"umount {MNT}")
        self.assertEqual(self.daemons(), [])

    def test_the_program_that_speaks_http_is_found_where_the_package_has_it(self):
        self.machine.ok(f"mount {MNT}")
        self.assertIn("aws_access_key_id = ", self.machine.ok("rekeyfs kms serve --new-credentials"))
        self.assertEqual(self.machine.ok("stat -c %a /etc/rekeyfs/kms-credentials"), "600\n")
        served = self.machine.run(f"rekeyfs kms serve {MNT} --listen 127.0.0.1:0 > /run/served & while [ ! -s /run/served ] && kill -0 $!; "
                                  "do sleep 0.1; done; kill $!; wait $!; status=$?; cat /run/served; exit $status")  # fmt: skip
        self.assertEqual(served.returncode, 0, served.stderr)
        self.assertRegex(served.stdout, r"^http://127\.0\.0\.1:\d+\n$")

    def test_a_busy_mount_is_detached_or_made_read_only_if_that_is_asked_for(self):
        self.machine.ok(f"mount {MNT}; touch {MNT}/held")
        self.machine.ok(f"sleep 600 < {MNT}/held > /dev/null 2>&1 & echo $! > /run/holder")
        busy = self.machine.run(f"umount {MNT}")
        self.assertEqual(busy.returncode, 43, busy.stderr)
        self.machine.ok(f"umount -r {MNT}")
        self.assertNotEqual(self.machine.run(f"touch {MNT}/new").returncode, 0)
        self.machine.ok(f"umount -l {MNT}")
        self.assertFalse(self.is_mounted())
        self.assertNotEqual(self.daemons(), [], "the program that holds a file is served")
        self.machine.ok("kill $(cat /run/holder)")
        self.machine.wait_until(f"! pgrep -x '{DAEMON}'")

    def test_umount_without_its_helper_is_waited_for_by_the_next_mount(self):
        for _ in range(3):
            self.machine.ok(f"mount {MNT}; dd if=/dev/zero of={MNT}/big bs=1M count=8 status=none; umount -i {MNT}")
        self.machine.ok(f"mount {MNT}; cmp -n 8388608 {MNT}/big /dev/zero")

    def test_umount_f_ends_a_mount_whose_daemon_hangs(self):
        self.machine.ok(f"mount {MNT}")
        daemon = self.daemons()[0]
        self.machine.ok(f"kill -STOP {daemon}")
        try:
            self.machine.ok(f"umount -f {MNT}", timeout=60)
            self.assertFalse(self.is_mounted())
        finally:
            self.machine.ok(f"kill -KILL {daemon}")

    def test_users_mount_and_unmount_their_own(self):
        self.machine.ok("useradd --create-home ann")
        self.machine.ok(
            "umask 077; echo secret > pass; mkdir plain; "
            "rekeyfs init vault --passfile pass --kdf-memory 8 --no-recovery-key; "
            "rekeyfs mount ~/vault ~/plain --passfile pass; echo hers > plain/file; umount ~/plain", user="ann",
        )  # fmt: skip
        self.assertFalse(self.is_mounted("/home/ann/plain"))
        self.assertEqual(self.daemons(), [])
        self.machine.ok("rekeyfs mount ~/vault ~/plain --passfile pass", user="ann")
        self.assertNotEqual(self.machine.run("umount /home/ann/plain", user="nobody").returncode, 0)
        self.assertEqual(self.machine.ok("cat plain/file; umount plain", user="ann"), "hers\n")


def repacked(deb, version, directory):
    """The same package under another version."""
    tree = pathlib.Path(directory) / "tree"
    machine.quiet("dpkg-deb", "--raw-extract", deb, tree)
    control = tree / "DEBIAN/control"
    control.write_text(re.sub(r"(?m)^Version: .*$", f"Version: {version}", control.read_text()))
    made = pathlib.Path(directory) / f"rekeyfs_{version}_repacked.deb"
    machine.quiet("dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", tree, made)
    return made


class TestUpgradeAndRemoval(InstalledTest):
    def test_mounts_go_on_through_upgrade_removal_and_purge_and_vaults_stay(self):
        m = self.machine
        self.make_vault()
        m.ok(f"mount {MNT}; echo before > {MNT}/file")
        daemon = self.daemons()
        # A program that is in the middle of writing.
        m.ok(f"(while sleep 0.05; do echo line; done) > {MNT}/log 2> /dev/null < /dev/null & echo $! > /run/writer")

        def is_served(when):
            self.assertEqual(self.daemons(), daemon, when)
            self.assertEqual(len(daemon), 1)
            size = int(m.ok(f"stat -c %s {MNT}/log"))
            m.wait_until(f"[ $(stat -c %s {MNT}/log) -gt {size} ]")
            self.assertEqual(m.ok(f"cat {MNT}/file"), "before\n", when)

        with tempfile.TemporaryDirectory() as made:
            m.install(repacked(machine.package(), "99.0-1", made))
        self.assertIn("99.0-1", m.ok("dpkg-query -W rekeyfs"))
        is_served("after the upgrade")
        # The new program and the old one's daemon understand each other.
        m.ok(f"rekeyfs rotate {MNT}")
        m.ok("DEBIAN_FRONTEND=noninteractive apt-get -qq -y remove rekeyfs")
        self.assertNotEqual(m.run("command -v rekeyfs").returncode, 0)
        is_served("after the removal")
        m.ok("DEBIAN_FRONTEND=noninteractive apt-get -qq -y purge rekeyfs")
        is_served("after the purge")
        # There is no helper any more: umount's own way does.
        m.ok("kill $(cat /run/writer); sync")
        # Its sleep has the log open a moment longer.
        m.wait_until(f"umount {MNT}")
        m.wait_until(f"! pgrep -x '{DAEMON}'")
        for kept in (f"{VAULT}/keyring", f"{VAULT}/tree", PASS, "/var/lib/rekeyfs"):
            self.assertTrue(m.path(kept).exists(), kept)
        left = m.run("find /usr /etc -path '*rekeyfs*' -not -path '/etc/rekeyfs*'").stdout
        self.assertEqual(left, "", "the package's own files go")
        m.install()
        m.ok(f"mount {MNT}")
        self.assertEqual(m.ok(f"cat {MNT}/file"), "before\n")
        m.ok(f"umount {MNT}")

    def test_removal_while_timers_are_on_leaves_mounts_and_no_failed_units(self):
        m = self.machine
        m.write("/etc/credstore/rekeyfs.timed", "a passphrase for the tests\n", 0o600)
        m.write("/etc/rekeyfs/timed.conf", "VAULT=/srv/timed\nMOUNTPOINT=/mnt/timed\n")
        m.ok("mkdir -p /mnt/timed; rekeyfs init /srv/timed --passfile /etc/credstore/rekeyfs.timed --kdf-memory 8 --no-recovery-key")
        # Each of them is due while the package isn't there.
        for timer in ("rekeyfs-rotate@timed", "rekeyfs-metrics"):
            m.write(f"/etc/systemd/system/{timer}.timer.d/soon.conf",
                    "[Timer]\nOnCalendar=\nOnCalendar=*:*:*\nAccuracySec=1ms\nRandomizedDelaySec=0\n")  # fmt: skip
        m.ok("mkdir -p /var/lib/prometheus/node-exporter; systemctl daemon-reload; "
             "systemctl enable --now rekeyfs@timed rekeyfs-rotate@timed.timer rekeyfs-metrics.timer")  # fmt: skip
        m.wait_until("test -s /var/lib/prometheus/node-exporter/rekeyfs.prom")
        m.ok("echo kept > /mnt/timed/file; DEBIAN_FRONTEND=noninteractive apt-get -qq -y remove rekeyfs; sleep 1.5")
        failed = "systemctl list-units --failed --plain --no-legend 'rekeyfs*'"
        self.assertEqual(m.ok(failed), "")
        self.assertEqual(m.ok("systemctl is-active rekeyfs@timed; cat /mnt/timed/file"), "active\nkept\n", "it is served")
        # Without a boot, its timers go on where they were stopped.
        m.install()
        timers = "systemctl is-active rekeyfs-rotate@timed.timer rekeyfs-metrics.timer"
        m.wait_until(timers)
        self.assertEqual(m.ok(timers), "active\nactive\n")
        m.ok("DEBIAN_FRONTEND=noninteractive apt-get -qq -y remove rekeyfs; sleep 1.5")
        self.assertEqual(m.ok(failed), "")
        m.ok("systemctl stop rekeyfs@timed")
        self.assertFalse(self.is_mounted("/mnt/timed"))
        self.assertEqual(self.daemons(), [])
        m.poweroff()
        m.boot()
        self.assertEqual(m.ok(failed), "", "what is enabled still is not missed")
        # All of it is as it was when the package comes back.
        m.install()
        m.ok("systemctl start rekeyfs@timed")
        self.assertEqual(m.ok("cat /mnt/timed/file; systemctl is-active rekeyfs-rotate@timed.timer"), "kept\nactive\n")
