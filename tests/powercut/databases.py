"""SQLite workloads, with a write-ahead log and with a rollback journal, at synchronous=EXTRA.

A mark goes before each commit and one behind it. After a cut the database must be whole and hold the state of the last
promised transaction, or of the one that was being committed.
"""

import hashlib
import os
import random
import sqlite3

from files import sync_directory

_ROWS = 60


def is_as_promised(rows, changes, done, begun):
    """Whether the rows are those after transaction `done` or a later one up to `begun`, of which each made `changes`."""
    state = {}
    for number in range(1, begun + 1):
        if number > done and rows == state:
            break
        state.update(changes(number))
    return rows == state


def _changes(seed, number):
    """The rows that a transaction writes: key -> value."""
    rng = random.Random(f"{seed} {number}")
    return {rng.randrange(_ROWS): hashlib.shake_128(f"{number}".encode()).digest(rng.randint(10, 6000))
            for _ in range(rng.randint(1, 8))}


class SqliteWorkload:
    def __init__(self, name, journal):
        self.name = name
        self._journal = journal

    def _connect(self, root):
        db = sqlite3.connect(os.path.join(root, "data.db"), timeout=30, isolation_level=None)
        db.execute(f"PRAGMA journal_mode={self._journal}")
        db.execute("PRAGMA synchronous=EXTRA")
        return db

    def run(self, root, mark, seed, stop):
        """Works below `root` until `stop` says so; `mark` logs a promise and returns when it is logged."""
        db = self._connect(root)
        db.execute("PRAGMA wal_autocheckpoint=60")
        db.execute("CREATE TABLE t (k INTEGER PRIMARY KEY, n INTEGER, v BLOB)")
        sync_directory(root)
        mark({"sql": "made", "seed": seed})
        number = 0
        while not stop():
            number += 1
            db.execute("BEGIN IMMEDIATE")
            for key, value in _changes(seed, number).items():
                db.execute("INSERT OR REPLACE INTO t VALUES (?, ?, ?)", (key, number, value))
            mark({"sql": "begin", "n": number})
            db.execute("COMMIT")
            mark({"sql": "done", "n": number})
        db.close()

    def check(self, root, marks):
        """What was promised by these marks and isn't so: a list of sentences."""
        mine = [mark for mark in marks if "sql" in mark]
        if not mine:
            return []
        seed = mine[0]["seed"]
        done = max((mark["n"] for mark in mine if mark["sql"] == "done"), default=0)
        begun = max((mark["n"] for mark in mine if mark["sql"] == "begin"), default=0)
        try:
            db = self._connect(root)
            verdict = db.execute("PRAGMA integrity_check").fetchone()[0]
            if verdict != "ok":
                return [f"integrity_check says: {verdict[:200]}"]
            rows = {key: value for key, value in db.execute("SELECT k, v FROM t")}
            if not is_as_promised(rows, lambda number: _changes(seed, number), done, begun):
                last = db.execute("SELECT max(n) FROM t").fetchone()[0]
                return [f"the rows are not those of transaction {done} nor {begun}; the last one found is {last}"]
            db.execute("INSERT OR REPLACE INTO t VALUES (?, ?, ?)", (_ROWS, 0, b"after the cut"))
            db.close()
        except (sqlite3.Error, OSError) as problem:
            return [f"SQLite says: {problem}"]
        return []


WAL = SqliteWorkload("sqlite-wal", "WAL")
ROLLBACK = SqliteWorkload("sqlite-rollback", "DELETE")
