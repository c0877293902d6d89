"""Programs that people run, on a mount: shell tools, git, SQLite, fio."""

import os
import shutil

from harness import MountedTest, sh, tree_digest

SOURCES = ["/usr/share/doc", "/usr/lib/python3", "/etc"]


class ShellTools(MountedTest):
    def sample(self):
        """A tree of files, links, odd modes and times, beside the mount."""
        src = self.dir / "sample"
        src.mkdir()
        sh(
            "mkdir -p a/b/c d; for i in $(seq 60); do head -c $((i * 1013)) /dev/urandom > a/f$i; done;"
            "ln -s ../a/f1 d/link; ln a/f2 d/hard; ln -s nowhere d/dangling; mkfifo d/pipe; : > a/empty;"
            "truncate -s 300000 a/sparse; printf tail >> a/sparse; chmod 600 a/f3; chmod 755 a/f4;"
            "touch -d '2001-02-03 04:05:06.789' a/f5 a/b; printf 'caf\\351' > $'d/caf\\351'",
            src,
        )
        return src

    def test_cp_tar_rsync_mv_find(self):
        self.need_tools("rsync", "tar")
        src = self.sample()
        want = tree_digest(src)
        sh(f"cp -a {src} cp && tar -C {src} --format=posix -cf - . | (mkdir tar && tar -C tar -xpf -) && rsync -aH {src}/ rsync/", self.mnt)
        for copy in ("cp", "tar", "rsync"):
            self.assertEqual(tree_digest(self.mnt / copy), want, copy)
        self.vault.remount()
        sh("mkdir into && mv cp into/moved && cp -a into/moved again && rsync -aHc --delete again/ tar/", self.mnt)
        for copy in ("into/moved", "again", "tar", "rsync"):
            self.assertEqual(tree_digest(self.mnt / copy), want, copy)
        out = sh("find rsync -type f -size +10k | wc -l; find rsync -name 'f1*' | sort | head -1; du -s rsync", self.mnt)
        self.assertIn("rsync/a/f1", out)
        sh("mv into/moved " + str(self.dir / "out") + " && rm -rf into again tar rsync", self.mnt)
        self.assertEqual(tree_digest(self.dir / "out"), want)
        self.assertEqual(os.listdir(self.mnt), [])

    def test_dd_and_checksums(self):
        sh(
            "head -c 20000000 /dev/urandom > plain; cd mnt; dd if=../plain of=a bs=1M status=none;"
            "dd if=../plain of=b bs=777 status=none count=5000; dd if=a of=c bs=64k conv=fsync status=none;"
            "dd if=../plain of=d bs=4096 oflag=direct count=1000 status=none;"
            "dd if=/dev/zero of=c bs=1 seek=12345 count=100 conv=notrunc status=none;"
            "cp ../plain ../plain2;"
            "dd if=/dev/zero of=../plain2 bs=1 seek=12345 count=100 conv=notrunc status=none",
            self.dir,
        )
        for _ in range(2):
            sh(
                "cmp plain mnt/a; cmp plain2 mnt/c; cmp -n 3885000 plain mnt/b; cmp -n 4096000 plain mnt/d;"
                "[ $(stat -c %s mnt/b) = 3885000 ]; sha256sum mnt/a | cut -c-64 > s1; sha256sum < plain | cut -c-64 | cmp - s1",
                self.dir,
            )
            self.vault.remount()

    def test_a_real_tree(self):
        source = next(s for s in SOURCES if os.path.isdir(s))
        self.need_root()
        sh(
            f"cd {source} && find . -size -2000k '(' -type f -o -type l -o -type d ')' -print0 > {self.dir}/all;"
            f"head -z -n 1500 {self.dir}/all > {self.dir}/list;"
            f"for d in {self.mnt}/a {self.dir}/b; do mkdir $d;"
            f"tar -C {source} --null --no-recursion -T {self.dir}/list --format=posix -cf - | tar -C $d -xpf -; done",
            self.dir,
        )
        self.vault.remount()
        self.assertEqual(tree_digest(self.mnt / "a"), tree_digest(self.dir / "b"))

    def test_compiler_like_use(self):
        self.need_tools("cc", "make")
        for i in range(10):
            self.write(f"m{i}.c", f"int f{i}(int x) {{ return x + {i}; }}\n".encode())
        calls = "+".join(f"f{i}(1)" for i in range(10))
        decls = "".join(f"int f{i}(int);" for i in range(10))
        self.write("main.c", f"{decls} int main(void) {{ return ({calls}) == 55 ? 0 : 1; }}\n".encode())
        self.write("Makefile", b"main: main.o $(patsubst %.c,%.o,$(wildcard m*.c))\n\tcc -o $@ $(sort $^)\n")
        sh("make -j4 main && ./main && touch m3.c && make main && ./main", self.mnt)


class Git(MountedTest):
    def test_clone_commit_fsck(self):
        self.need_tools("git")
        env = {
            "GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t@example.org", "GIT_COMMITTER_NAME": "t",
            "GIT_COMMITTER_EMAIL": "t@example.org", "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null",
        }  # fmt: skip
        sh(
            "git init -q -b main origin && cd origin && for i in $(seq 50); do seq $i $((i * 40)) > f$i; git add -A;"
            "git commit -qm c$i; done; cd .. && git clone -q origin clone && git clone -q file://$PWD/origin far",
            self.mnt, **env,
        )  # fmt: skip
        self.vault.remount()
        sh(
            "cd clone && git fsck --full --strict && git checkout -qb side HEAD~10 && seq 999 > new && git add new &&"
            "git commit -qm side && git checkout -q main && git merge -qm merged side && git push -q origin side &&"
            "git gc -q && git fsck --full && git status --porcelain | wc -l | grep -qx 0 && cd ../far && git fetch -q &&"
            "git fsck && cd .. && mv clone elsewhere && cd elsewhere && git status --porcelain | wc -l | grep -qx 0",
            self.mnt, **env,
        )  # fmt: skip


class Sqlite(MountedTest):
    def test_journal_modes(self):
        import sqlite3

        for mode in ("delete", "wal", "truncate", "persist"):
            path = str(self.mnt / f"{mode}.db")
            with sqlite3.connect(path) as db:
                got = db.execute(f"pragma journal_mode={mode}").fetchone()[0]
                self.assertEqual(got, mode)
                db.execute("create table t(k integer primary key, v blob)")
                for batch in range(20):
                    with db:
                        db.executemany("insert into t(v) values (?)", [(os.urandom(500),) for _ in range(100)])
                    if batch == 10:
                        self.vault.rotate()
                db.execute("delete from t where k % 3 = 0")
                db.commit()
                db.execute("vacuum")
                expected = db.execute("select count(*), sum(length(v)) from t").fetchone()
            db.close()
            self.vault.remount()
            db = sqlite3.connect(path)
            self.assertEqual(db.execute("pragma integrity_check").fetchone()[0], "ok", mode)
            self.assertEqual(db.execute("select count(*), sum(length(v)) from t").fetchone(), expected)
            db.close()


class Fio(MountedTest):
    def test_verify_with_rotations_beside(self):
        self.need_tools("fio")
        import subprocess

        head = "[global]\ndirectory={}\nsize=24m\nverify=crc32c\nverify_fatal=1\nioengine=psync\n".format(self.mnt)
        again = "[seq]\nrw=write\nbs=128k\n[rand]\nrw=randwrite\nbs=4k\n"
        # Their blocks overlap, so only the run that wrote them knows what the last one was.
        once = "[odd]\nrw=randwrite\nbsrange=1k-20k\nbs_unaligned=1\n[mixed]\nrw=randrw\nbs=8k\nfsync=64\n"
        (self.dir / "job.fio").write_text(head + again + once)
        fio = subprocess.Popen(["fio", "job.fio"], cwd=self.dir, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        rotations = 0
        while fio.poll() is None and rotations < 200:
            self.vault.rotate()
            rotations += 1
            try:
                fio.wait(0.2)
            except subprocess.TimeoutExpired:
                pass
        out = fio.communicate(timeout=300)[0].decode()
        self.assertEqual(fio.returncode, 0, out[-2000:])
        self.assertGreater(rotations, 2)
        self.vault.remount()
        (self.dir / "job.fio").write_text(head + "verify_only=1\n" + again)
        sh("fio job.fio", self.dir)


class Rsync(MountedTest):
    def test_in_place_updates(self):
        self.need_tools("rsync")
        src = self.dir / "src"
        src.mkdir()
        sh("head -c 3000000 /dev/urandom > big", src)
        sh(f"rsync -a --inplace --no-whole-file {src}/ dst/", self.mnt)
        sh("printf changed | dd of=big bs=1 seek=1500000 conv=notrunc status=none; truncate -s 2500001 big", src)
        sh(f"rsync -a --inplace --no-whole-file {src}/ dst/ && cmp {src}/big dst/big", self.mnt)
        shutil.rmtree(src)
