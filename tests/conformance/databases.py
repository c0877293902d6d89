"""Databases with their files on the place: SQLite in its journal modes, PostgreSQL; each checks itself."""

import glob
import multiprocessing
import os
import random
import signal
import sqlite3
import time

from suite import Cases, Skip, command, equal, full_only

WRITERS = 3


def _transfer(path, seed, turns):
    """Moves amounts between accounts in transactions; their sum stays. Waits when another writes."""
    rng = random.Random(seed)
    db = sqlite3.connect(path, timeout=120, isolation_level=None)
    for _ in range(turns):
        one, other = rng.sample(range(100), 2)
        db.execute("begin immediate")
        db.execute("update account set amount = amount - 7 where id = ?", (one,))
        db.execute("update account set amount = amount + 7 where id = ?", (other,))
        db.execute("insert into log values (?, ?)", (seed, rng.randbytes(rng.randrange(3000))))
        db.execute("commit")
    db.close()


class Databases(Cases):
    """SQLite by several processes, one of them killed; PostgreSQL with its data directory here, killed and restarted."""

    name = "databases"
    about = "SQLite with WAL and with rollback journals, PostgreSQL: pgbench, kill, recovery, amcheck, checksums"
    seconds = 3600

    def version(self):
        found = glob.glob("/usr/lib/postgresql/*/bin/postgres")
        postgres = f", PostgreSQL {command(found[-1], '--version').stdout.split()[2]}" if found else ""
        return f"SQLite {sqlite3.sqlite_version}{postgres}"

    def size(self):
        postgres = "" if self.options.quick else f", pgbench of {self._seconds() * 3 // 2} s"
        return f"{WRITERS} writers of {self._turns():,} transactions{postgres}"

    def _turns(self):
        return 30 if self.options.quick else 1000

    def _seconds(self):
        return 10 if self.options.minutes < 5 else 60

    def test_sqlite_wal(self):
        self._sqlite("wal")

    def test_sqlite_rollback_delete(self):
        self._sqlite("delete")

    def test_sqlite_rollback_truncate(self):
        self._sqlite("truncate")

    def test_sqlite_rollback_persist(self):
        self._sqlite("persist")

    def _sqlite(self, mode):
        path = str(self.dir / "db")
        db = sqlite3.connect(path)
        equal(db.execute(f"pragma journal_mode={mode}").fetchone()[0], mode, "journal mode")
        db.execute("create table account(id integer primary key, amount integer)")
        db.execute("create table log(seed integer, noise blob)")
        db.executemany("insert into account values (?, 1000)", [(number,) for number in range(100)])
        db.commit()
        db.close()
        turns = self._turns()
        context = multiprocessing.get_context("fork")
        with self.place.rotating():
            workers = [context.Process(target=_transfer, args=(path, seed, turns)) for seed in range(WRITERS)]
            victim = context.Process(target=_transfer, args=(path, 99, 10**9))
            for process in [*workers, victim]:
                process.start()
            time.sleep(0.5)
            os.kill(victim.pid, signal.SIGKILL)
            for process in [*workers, victim]:
                process.join()
        equal([process.exitcode for process in workers], [0] * WRITERS, "exit statuses of the writers")
        db = sqlite3.connect(path)
        equal(db.execute("pragma integrity_check").fetchall(), [("ok",)], "integrity_check")
        equal(db.execute("select sum(amount) from account").fetchone()[0], 100_000, "the sum")
        counts = dict(db.execute("select seed, count(*) from log where seed != 99 group by seed"))
        equal(counts, dict.fromkeys(range(WRITERS), turns), "committed transactions")
        db.execute("vacuum")
        equal(db.execute("pragma integrity_check").fetchall(), [("ok",)], "integrity_check after vacuum")
        db.close()

    @full_only
    def test_postgresql(self):
        found = sorted(glob.glob("/usr/lib/postgresql/*/bin"))
        if not found:
            raise Skip("PostgreSQL is not installed")
        data = self.dir / "data"
        environment = {**os.environ, "PATH": f"{found[-1]}:{os.environ['PATH']}", "PGHOST": str(self.dir), "LC_ALL": "C.UTF-8"}

        def postgres(*words, **more):
            user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
            return command(*user, *words, env=environment, cwd=self.dir, **more).stdout

        def start():
            # Its socket lies in the place too; everything is synced as by default.
            postgres("pg_ctl", "-w", "-t", 300, "-D", data, "-l", self.dir / "log",
                     "-o", f"-c listen_addresses='' -c unix_socket_directories='{self.dir}'", "start")  # fmt: skip

        def query(text):
            return postgres("psql", "-XAtq", "-d", "postgres", "-c", text).strip()

        def check():
            sums = query("select (select sum(abalance) from pgbench_accounts) = (select sum(delta) from pgbench_history),"
                         "(select sum(tbalance) from pgbench_tellers) = (select sum(bbalance) from pgbench_branches)")
            equal(sums, "t|t", "pgbench's sums agree")
            postgres("pg_amcheck", "--install-missing", "--heapallindexed", "--parent-check", "-d", "postgres")

        seconds = self._seconds()
        postgres("initdb", "-k", "-A", "trust", "-D", data)
        start()
        try:
            postgres("pgbench", "-i", "-s", 5, "--foreign-keys", "postgres", timeout=3600)
            with self.place.rotating():
                postgres("pgbench", "-c", 8, "-j", 2, "-T", seconds, "postgres", timeout=3600)
            check()
            postgres("pg_ctl", "-m", "immediate", "-D", data, "stop")
            start()
            check()
            postgres("pgbench", "-n", "-c", 4, "-T", seconds // 2, "postgres", timeout=3600)
            postgres("psql", "-Xq", "-d", "postgres", "-c", "vacuum full")
            check()
        finally:
            postgres("pg_ctl", "-w", "-t", 300, "-D", data, "-m", "fast", "stop", check=False)
        postgres("pg_checksums", "--check", "-D", data)
