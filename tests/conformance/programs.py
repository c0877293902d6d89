"""Programs that people run, each with a check of its own work."""

import os
import shutil
import subprocess
import threading

from harness import ROOT, sh
from suite import Cases, Skip, command, equal, full_only, need

GIT = {
    "GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t@example.org", "GIT_COMMITTER_NAME": "t",
    "GIT_COMMITTER_EMAIL": "t@example.org", "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null",
}  # fmt: skip
# A tree with everything that a copy can lose.
SAMPLE = r"""
mkdir -p a/b d; for i in $(seq 40); do head -c $((i * 3013)) /dev/urandom > a/f$i; done; : > a/empty
ln -s ../a/f1 d/link; ln -s nowhere d/dangling; ln a/f2 d/hard; ln a/f2 d/harder; mkfifo d/pipe; mknod d/null c 1 3
truncate -s 9000000 a/sparse; printf tail >> a/sparse; printf x | dd of=a/sparse bs=1 seek=4000000 conv=notrunc status=none
setfattr -n user.note -v 'some text' a/f3; setfattr -n user.empty a/b; setfattr -n user.bytes -v 0s/+AAAP8= d
setfacl -m u:daemon:rw,g:daemon:r a/f4; setfacl -d -m u:daemon:rwx a/b; setcap cap_net_raw+ep a/f5
chmod 4755 a/f6; chmod 2755 d; chmod 1777 a/b; chmod 400 a/f7; chown daemon:daemon a/f8
touch -d '1955-11-05 06:15:00.123456789' a/f9; touch -d '2100-02-03 04:05:06.7' a/f10; touch -hd '2001-01-01' d/link
printf 'caf\351' > $'d/caf\351'; touch -d '2001-02-03 04:05:06.789' a/b d .
"""


class Programs(Cases):
    """Shell tools, git, rsync, tar, cargo, overlayfs."""

    name = "programs"
    about = "git, rsync, tar, cp, mv, cargo, overlayfs, an editor's way of saving"
    seconds = 3600

    def version(self):
        words = [command(tool, "--version").stdout.split("\n")[0].split() for tool in ("git", "rsync", "tar", "cp")]
        return f"git {words[0][2]}, rsync {words[1][2]}, tar {words[2][3]}, coreutils {words[3][3]}"

    def _sample(self):
        need("rsync", "setfacl", "setfattr", "setcap")
        source = self.options.work / "sample"
        if not source.exists():
            source.mkdir()
            sh(SAMPLE, source)
        return source

    def _same(self, one, other):
        """Both trees are alike in everything that rsync knows of, contents by checksum."""
        equal(sh(f"rsync -aHAXSnic --delete {one}/ {other}/", self.dir), "", f"{one} and {other}")

    def test_git_clone_gc_fsck(self):
        need("git")
        sh(
            "git init -q -b main origin; cd origin; for i in $(seq 60); do seq $i $((i * 60)) > f$((i % 25)); mkdir -p d$i;"
            "echo $i > d$i/g; git add -A; git commit -qm c$i; done; cd ..; git clone -q origin near;"
            "git clone -q file://$PWD/origin far; git -C near checkout -qb side HEAD~20; seq 99 > near/new; git -C near add new;"
            "git -C near commit -qm side; git -C near checkout -q main; git -C near merge -qm merged side;"
            "git -C near gc -q --aggressive --prune=now; git -C near push -q origin side; git -C far fetch -q;"
            "git -C far worktree add -q ../tree origin/side; git -C far repack -qad; git -C origin gc -q;"
            "for r in origin near far tree; do git -C $r fsck --full --strict --no-dangling;"
            "test -z \"$(git -C $r status --porcelain)\"; done",
            self.dir, **GIT,
        )  # fmt: skip
        equal(command("git", "-C", self.dir / "near", "rev-list", "--count", "HEAD").stdout.strip(), "62", "commits")

    def test_rsync_both_ways_and_again(self):
        source = self._sample()
        back = self.options.work / f"back-{self.place.name}"
        out = sh(f"rsync -aHAXS {source}/ there/; rsync -aHAXSi {source}/ there/", self.dir)
        equal(out, "", "what the second run copied")
        out = sh(f"rsync -aHAXS there/ {back}/; rsync -aHAXSi there/ {back}/", self.dir)
        equal(out, "", "what the second run back copied")
        self._same(source, self.dir / "there")
        self._same(source, back)
        equal((back / "a/sparse").stat().st_blocks < 400, True, "sparse")

    def test_tar_with_xattrs_and_holes(self):
        source = self._sample()
        pack = "tar --format=posix --xattrs --xattrs-include='*' --acls -S -cpf"
        unpack = "tar --xattrs --xattrs-include='*' --acls -S -xpf"
        sh(
            f"mkdir one two; {pack} all.tar -C {source} .; {unpack} all.tar -C one; {pack} - -C one . | {unpack} - -C two;"
            "tar -df all.tar -C two",
            self.dir,
        )
        self._same(source, self.dir / "one")
        self._same(source, self.dir / "two")

    def test_cp_sparse(self):
        sh(
            "truncate -s 30M f; for at in 0 7 8 20; do head -c 100000 /dev/urandom | dd of=f bs=1M seek=$at conv=notrunc"
            " status=none iflag=fullblock; done;"
            "for how in always never auto; do cp --sparse=$how f $how; cmp f $how; done; cp --reflink=auto f again; cmp f again;"
            "sync always never auto;"
            "test $(du -k always | cut -f1) -lt 1500; test $(du -k auto | cut -f1) -lt 1500;"
            "test $(du -k never | cut -f1) -gt 29000",
            self.dir,
        )

    def test_mv_between_directories_with_a_shell_inside(self):
        out = sh(
            "mkdir -p a/b/c x/y; echo 1 > a/b/c/f; cd a/b/c; mv ../../b ../../../x/y/moved; echo 2 > g; cat f g; pwd -P;"
            "mv f ../../up; cat ../../up; ls; cd ..; ls -d c; mkdir ../../../a/b; ls ../../../a; rmdir ../../../a/b ../../../a",
            self.dir,
        )
        equal(out.split(), ["1", "2", f"{self.dir.resolve()}/x/y/moved/c", "1", "g", "c", "b"], "what was seen")

    def test_a_removed_working_directory(self):
        done = command("bash", "-c", "mkdir d; cd d; rmdir ../d; touch f 2>&1; ls -a; test ! -e ../d && echo gone",
                       cwd=self.dir)  # fmt: skip
        equal("No such file" in done.stdout and done.stdout.endswith("gone\n"), True, done.stdout)

    def test_an_editor_saves(self):
        """Written beside, synced, renamed over: a reader finds one whole version or the other, never less."""
        path, stop, wrong = self.dir / "text", threading.Event(), []
        path.write_bytes(b"0" * 20000)

        def read():
            while not stop.is_set():
                text = path.read_bytes()
                if len(text) != 20000 or len(set(text)) != 1:
                    wrong.append(len(text))

        readers = [threading.Thread(target=read) for _ in range(2)]
        for reader in readers:
            reader.start()
        try:
            with self.place.rotating():
                for turn in range(100):
                    fd = os.open(self.dir / "text.tmp", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
                    os.write(fd, bytes([65 + turn % 26]) * 20000)
                    os.fsync(fd)
                    os.close(fd)
                    os.replace(self.dir / "text.tmp", path)
        finally:
            stop.set()
            for reader in readers:
                reader.join()
        equal(wrong, [], "sizes of broken versions")
        equal(os.listdir(self.dir), ["text"], "what is left")

    def test_compile_and_run(self):
        need("cc", "make")
        sh(
            "for i in 1 2 3 4 5; do echo \"int f$i(int x) { return x + $i; }\" > m$i.c; done;"
            "echo 'int f1(int), f2(int), f3(int), f4(int), f5(int); int main(void) { return f1(0)+f2(0)+f3(0)+f4(0)+f5(0) - 15; }' > p.c;"
            "printf 'p: p.o m1.o m2.o m3.o m4.o m5.o\\n\\tcc -o $@ $^\\n' > Makefile; make -sj4; ./p; make -q;"
            "touch m3.c; ! make -q; make -s; ./p; cp p q; ./q",
            self.dir,
        )

    def test_overlayfs_with_its_upper_directory_here(self):
        lower = self.options.work / "overlay"
        if not lower.exists():
            sh("mkdir -p overlay/d/e; echo one > overlay/f; echo two > overlay/d/g; echo three > overlay/d/e/h", lower.parent)
        sh("mkdir upper work merged", self.dir)
        merged = self.dir / "merged"
        options = f"lowerdir={lower},upperdir={self.dir}/upper,workdir={self.dir}/work"
        done = command("mount", "-t", "overlay", "-o", options, "overlay", merged, check=False)
        if done.returncode:
            log = [line for line in command("dmesg", check=False).stdout.splitlines() if "overlayfs" in line]
            raise Skip(f"the kernel refuses it: {done.stdout.strip()} ({log[-1] if log else 'nothing in its log'})")
        try:
            sh(
                "echo more >> f; rm d/g; mkdir new; mv d/e/h new/h; echo x > d/x; ln f hard; chmod 600 f; ln -s f link;"
                "setfattr -n user.a -v b f; rmdir d/e; rm -r d; mkdir d; ls -A d | wc -l | grep -qx 0",
                merged,
            )
            seen = sh("cat f new/h link; ls; getfattr -n user.a --only-values f; stat -c %a f", merged)
            equal(seen.split(), "one more three one more d f hard link new b600".split(), "what is seen")
        finally:
            command("umount", merged)
        equal(sh("cat f d/g d/e/h", lower).split(), ["one", "two", "three"], "what lies below")
        command("mount", "-t", "overlay", "-o", options, "overlay", merged)
        try:
            equal(sh("cat f new/h; ls -A d", merged).split(), ["one", "more", "three"], "mounted again")
        finally:
            command("umount", merged)

    @full_only
    def test_cargo_build_of_this_project(self):
        need("cargo")
        build = ["cargo", "build", "--locked", "--manifest-path", ROOT / "Cargo.toml", "--target-dir", self.dir / "target"]
        command(*build, timeout=3600)
        again = command(*build, timeout=3600).stdout
        equal("Compiling" in again, False, again)
        wanted = command(self.options.binary, "--version").stdout
        equal(command(self.dir / "target/debug/rekeyfs", "--version").stdout, wanted, "what was built says")


def copied_while_written(path, copy):
    """Copies a file again and again while another process writes it; each copy must be what was there or more."""
    writer = subprocess.Popen(
        ["bash", "-c", "for i in $(seq 400); do printf 'line %06d of some text that is to be found in each copy\\n' $i; "
         f"done | while read -r line; do echo \"$line\"; [ $((++n % 20)) -eq 0 ] && sleep 0.02; done > {path}"],
    )  # fmt: skip
    copies = 0
    try:
        while writer.poll() is None:
            if path.exists():
                before = path.read_bytes()
                command("cp", path, copy)
                after = copy.read_bytes()
                equal(after[: len(before)] == before, True, f"a copy of {len(before)} bytes")
                copies += 1
    finally:
        writer.kill()
        writer.wait()
    shutil.copy(path, copy)
    equal(copy.read_bytes(), path.read_bytes(), "the last copy")
    equal(copies > 3, True, f"{copies} copies")
