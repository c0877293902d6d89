"""A PostgreSQL server on the filesystem under test, with checksums and its usual promises: fsync, full pages, synchronous
commit. A mark goes before each commit and one behind it. After a cut the server must come up by itself, hold the rows of
the last promised transaction, or of the one that was being committed, and find its indexes, heaps and checksums whole.
"""

import glob
import hashlib
import os
import pwd
import random
import shutil
import signal
import socket
import struct
import subprocess
import time

from databases import is_as_promised
from files import sync_directory

USER = "postgres"
_ROWS = 60
_AT_LEAST = 20  # transactions, however long the server takes to start
_START_SECONDS = 60
# Small, so that the log wraps and checkpoints come often; the rest is as it comes, above all fsync.
_SETTINGS = {"listen_addresses": "", "shared_buffers": "4MB", "max_connections": "10", "min_wal_size": "2MB",
             "max_wal_size": "3MB", "checkpoint_timeout": "30s", "synchronous_commit": "on", "fsync": "on",
             "full_page_writes": "on", "autovacuum_naptime": "1s", "jit": "off", "log_min_messages": "warning"}
_INDEXES = """SELECT bt_index_check(c.oid, true) FROM pg_class c JOIN pg_am a ON a.oid = c.relam
    WHERE a.amname = 'btree' AND c.relkind = 'i' AND c.relpersistence <> 't'"""
_HEAPS = """SELECT c.relname || ': ' || h.msg FROM pg_class c, LATERAL verify_heapam(c.oid) h
    WHERE c.relkind IN ('r', 't') AND c.relpersistence <> 't'"""


class PostgresError(Exception):
    """What the server said, or that it said nothing."""


def programs():
    """The directory of its newest installed programs, or None."""
    found = glob.glob("/usr/lib/postgresql/*/bin/postgres")
    return os.path.dirname(max(found, key=lambda path: int(path.split("/")[-3]))) if found else None


def _as_user(*command):
    """A command in the server's name, which goes when its parent goes."""
    return ["setpriv", "--reuid", USER, "--regid", USER, "--clear-groups", "--pdeathsig", "KILL", *command]


def _tool(name, *arguments):
    done = subprocess.run(_as_user(os.path.join(programs(), name), *arguments), stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, check=False, cwd="/")
    if done.returncode:
        raise PostgresError(f"{name}: {(done.stderr or done.stdout).strip()[-600:]}")


class _Connection:
    """The simple-query protocol over the server's socket."""

    def __init__(self, path):
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(60)
        self._socket.connect(path)
        self._stream = self._socket.makefile("rb")
        start = struct.pack(">I", 196608) + f"user\0{USER}\0database\0{USER}\0\0".encode()
        self._socket.sendall(struct.pack(">I", len(start) + 4) + start)
        self._until_ready()

    def query(self, sql):
        """Runs it; the rows, as text."""
        payload = sql.encode() + b"\0"
        self._socket.sendall(b"Q" + struct.pack(">I", len(payload) + 4) + payload)
        return self._until_ready()

    def _until_ready(self):
        rows, error = [], None
        while True:
            head = self._stream.read(5)
            if len(head) < 5:
                raise PostgresError(error or "the server hung up")
            kind, length = head[:1], struct.unpack(">I", head[1:])[0]
            body = self._stream.read(length - 4)
            if kind == b"D":
                rows.append(_columns(body))
            elif kind == b"E":
                error = " ".join(part[1:].decode(errors="replace") for part in body.split(b"\0") if part[:1] in (b"S", b"M"))
            elif kind == b"Z":
                if error:
                    raise PostgresError(error)
                return rows

    def close(self):
        self._stream.close()
        self._socket.close()


def _columns(body):
    columns, at = [], 2
    for _ in range(struct.unpack_from(">H", body)[0]):
        length, = struct.unpack_from(">i", body, at)
        at += 4
        columns.append(None if length < 0 else body[at:at + length].decode())
        at += max(0, length)
    return columns


class _Server:
    """A running server on a data directory; `sockets` is a directory of its own, not on the disk under test."""

    def __init__(self, data, sockets):
        self._said = os.path.join(sockets, "said")
        settings = [word for name, value in _SETTINGS.items() for word in ("-c", f"{name}={value}")]
        with open(self._said, "wb") as said:
            self._process = subprocess.Popen(
                _as_user(os.path.join(programs(), "postgres"), "-D", data, "-k", sockets, *settings),
                stdin=subprocess.DEVNULL, stdout=said, stderr=said, cwd="/")
        self._path = os.path.join(sockets, ".s.PGSQL.5432")

    def connect(self):
        """A connection, once it takes any."""
        end = time.monotonic() + _START_SECONDS
        while True:
            try:
                return _Connection(self._path)
            except (OSError, PostgresError) as problem:
                if self._process.poll() is not None or time.monotonic() > end:
                    raise PostgresError(f"the server does not come up: {self._last_words() or problem}") from None
                time.sleep(0.02)

    def _last_words(self):
        with open(self._said, encoding="utf-8", errors="replace") as said:
            # Not what it told those who asked too early.
            lines = [line for line in said.read().splitlines() if "FATAL:  the database system is" not in line]
        return " / ".join(lines[-6:])[-800:]

    def stop(self):
        """A fast shutdown, as SIGINT asks for."""
        self._process.send_signal(signal.SIGINT)
        try:
            if self._process.wait(60) != 0:
                raise PostgresError(f"the server ended badly: {self._last_words()}")
        except subprocess.TimeoutExpired:
            self.kill()
            raise PostgresError("the server does not stop") from None

    def kill(self):
        self._process.kill()
        self._process.wait()


def _changes(seed, number):
    """The rows that a transaction writes: key -> value, some of them too long for a row's page."""
    rng = random.Random(f"{seed} {number}")
    return {rng.randrange(_ROWS): hashlib.shake_128(f"{number}".encode()).hexdigest(rng.randint(10, 6000))
            for _ in range(rng.randint(1, 8))}


def _insert(key, number, value):
    return (f"INSERT INTO t VALUES ({key}, {number}, '{value}') "
            f"ON CONFLICT (k) DO UPDATE SET n = excluded.n, v = excluded.v")


class PostgresWorkload:
    name = "postgresql"

    def __init__(self):
        self._box = None

    def use(self, box):
        """Has what doesn't lie on the disk under test in this box."""
        self._box = box

    def prepare(self, root):
        """A database cluster with the table, made before the recording begins; made once, then copied."""
        made = os.path.join(self._box.path, "cluster")
        if not os.path.isdir(made):
            self._make(made)
        os.chmod(root, 0o755)
        shutil.copytree(made, self._data(root), symlinks=True)
        user = pwd.getpwnam(USER)
        for top, names, files in os.walk(self._data(root)):
            for path in [top] + [os.path.join(top, name) for name in names + files]:
                os.chown(path, user.pw_uid, user.pw_gid, follow_symlinks=False)

    def _make(self, made):
        os.mkdir(made, 0o700)
        shutil.chown(made, USER, USER)
        _tool("initdb", "-D", made, "-A", "trust", "-E", "UTF8", "--no-locale", "--data-checksums", "--wal-segsize=1", "-N")
        server = _Server(made, self._sockets())
        try:
            db = server.connect()
            db.query("CREATE EXTENSION amcheck")
            db.query("CREATE TABLE t (k integer PRIMARY KEY, n integer NOT NULL, v text NOT NULL)")
            db.query("CREATE INDEX ON t (n)")
            db.close()
        finally:
            server.stop()

    @staticmethod
    def _data(root):
        return os.path.join(root, "data")

    def _sockets(self):
        path = self._box.fresh("postgres")
        shutil.chown(path, USER, USER)
        return path

    def run(self, root, mark, seed, stop):
        """Works below `root` until `stop` says so; `mark` logs a promise and returns when it is logged."""
        server = _Server(self._data(root), self._sockets())
        try:
            db = server.connect()
            sync_directory(root)
            mark({"sql": "made", "seed": seed})
            rng, number = random.Random(f"{seed} beside"), 0
            while not stop() or number < _AT_LEAST:
                number += 1
                db.query("BEGIN")
                for key, value in _changes(seed, number).items():
                    db.query(_insert(key, number, value))
                mark({"sql": "begin", "n": number})
                db.query("COMMIT")
                mark({"sql": "done", "n": number})
                if rng.random() < 0.1:
                    db.query(rng.choice(("CHECKPOINT", "VACUUM t", "SELECT pg_switch_wal()", "REINDEX TABLE t")))
            db.close()
            server.stop()
        except BaseException:
            server.kill()
            raise

    def check(self, root, marks):
        """What was promised by these marks and isn't so: a list of sentences."""
        mine = [mark for mark in marks if "sql" in mark]
        seed = mine[0]["seed"] if mine else ""
        done = max((mark["n"] for mark in mine if mark["sql"] == "done"), default=0)
        begun = max((mark["n"] for mark in mine if mark["sql"] == "begin"), default=0)
        try:
            server = _Server(self._data(root), self._sockets())
            try:
                problems = self._checked(server.connect(), seed, done, begun)
                server.stop()
            except BaseException:
                server.kill()
                raise
            _tool("pg_checksums", "--check", "-D", self._data(root))
        except (PostgresError, OSError) as problem:
            return [f"PostgreSQL says: {problem}"]
        return problems

    @staticmethod
    def _checked(db, seed, done, begun):
        rows = {int(key): value for key, value in db.query("SELECT k, v FROM t")}
        if not is_as_promised(rows, lambda number: _changes(seed, number), done, begun):
            last = db.query("SELECT max(n) FROM t")[0][0]
            return [f"the rows are not those of transaction {done} nor {begun}; the last one found is {last}"]
        db.query(_INDEXES)
        problems = [f"verify_heapam says: {line}" for line, in db.query(_HEAPS)]
        db.query(_insert(_ROWS, 0, "after the cut"))
        db.query("CHECKPOINT")
        db.close()
        return problems


POSTGRES = PostgresWorkload()
