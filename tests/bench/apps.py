"""Applications as people run them, big directories, direct I/O by engine, and single small operations: what
`scripts/bench.sh --apps` measures. Each runs as a whole on one system after the other, on files of its own; each gives
rates: more is better."""

import contextlib
import glob
import os
import pathlib
import shutil
import sqlite3
import subprocess
import tempfile
from typing import Callable, NamedTuple

from streams import MIB
from systems import command
from workloads import PAGE, Rates, fio

#: Packages that npm and pip install: fetched once, by the programs themselves, and installed offline.
_NPM = {"typescript": "5.9.3", "webpack": "5.101.3", "eslint": "9.35.0"}
_PIP = ("sympy==1.14.0", "networkx==3.5")
_GIT = ("git", "-c", "safe.directory=*", "-c", "user.name=bench", "-c", "user.email=bench@localhost", "-c", "gc.auto=0")


class Amounts(NamedTuple):
    """How much each application does."""

    transactions: int
    mails: int
    copies_mib: int
    random_reads: int
    one_directory: int
    directories: int
    operations: int


FULL = Amounts(2_000, 1_000, 512, 20_000, 50_000, 150, 2_000)
QUICK = Amounts(100, 50, 16, 500, 500, 3, 100)
#: What the comparison in scripts/test.sh takes.
GUARD = Amounts(200, 200, 16, 500, 5_000, 0, 500)
#: Files in each of the many directories.
_EACH = 1_000


class App(NamedTuple):
    """An application: what it does, of which kind it is (goals are set by kind), and what it takes."""

    run: Callable
    kind: str
    needs: tuple[str, ...]
    inputs: tuple[str, ...]

    def lower(self):
        """On which filesystem: small operations are compared with a daemon that keeps files in memory."""
        return "tmpfs" if self.kind == "small" else "ext4"


APPS: dict[str, App] = {}


def _app(name, kind, needs=(), inputs=()):
    def enter(run):
        APPS[name] = App(run, kind, needs, inputs)
        return run

    return enter


def missing(name, inputs):
    """What an application needs and isn't here."""
    app = APPS[name]
    programs = [program for program in app.needs if not program_of(program)]
    return programs + [what for what in app.inputs if what not in inputs]


def program_of(name):
    """Where a program lies: PostgreSQL's are in a directory of their own."""
    there = sorted(glob.glob(f"/usr/lib/postgresql/*/bin/{name}"))
    return there[-1] if there else shutil.which(name)


def make_inputs(directory, tools, downloads, wanted):
    """What the applications take, the same for all systems: by name. `downloads` is kept from run to run."""
    directory, inputs = pathlib.Path(directory), {"archive": tools["archive"], "files": tools["archive files"]}
    tree = directory / "tree"
    inputs["tree"] = str(tree)
    repository = directory / "repository.git"
    command(*_GIT, "clone", "-q", "--bare", tree, repository)
    command(*_GIT, "clone", "-q", repository, directory / "second")
    for path in (directory / "second").rglob("*.rs"):
        with open(path, "a") as file:
            file.write("// a line of the other branch\n")
    for words in (("checkout", "-q", "-b", "other"), ("commit", "-qam", "other"), ("push", "-q", "origin", "other")):
        command(*_GIT, "-C", directory / "second", *words)
    inputs["repository"] = str(repository)
    for name, fetch in (("npm", _fetch_npm), ("pip", _fetch_pip)):
        if any(name in APPS[app].inputs for app in wanted):
            try:
                inputs[name] = str(fetch(downloads / name))
            except (OSError, RuntimeError) as error:
                print(f"did not run: {name}: its packages can't be fetched: {error}", flush=True)
    return inputs


def _fetch_npm(place):
    if not (place / "complete").exists():
        shutil.rmtree(place, ignore_errors=True)
        project = place / "project"
        project.mkdir(parents=True)
        packages = ", ".join(f'"{name}": "{version}"' for name, version in _NPM.items())
        (project / "package.json").write_text(f'{{"name": "bench", "version": "1.0.0", "dependencies": {{{packages}}}}}')
        words = ("npm", "--prefix", project, "install", "--cache", place / "cache", "--ignore-scripts", "--no-audit")
        command(*words)
        # What this asks the registry for is what it takes from the cache later.
        shutil.rmtree(project / "node_modules")
        command("npm", "--prefix", project, "ci", "--cache", place / "cache", "--ignore-scripts", "--no-audit")
        shutil.rmtree(project / "node_modules")
        (place / "complete").touch()
    return place


def _fetch_pip(place):
    if not (place / "complete").exists():
        shutil.rmtree(place, ignore_errors=True)
        command("python3", "-m", "pip", "download", "-q", "-d", place, *_PIP)
        (place / "complete").touch()
    return place


@contextlib.contextmanager
def _postgres(data):
    """PostgreSQL's server on a new database. It refuses root, so it runs as root's user 1000 in a namespace: outside of it
    root is who accesses the files."""
    alias = ("unshare", "--user", "--map-user=1000", "--map-group=1000")
    with tempfile.TemporaryDirectory(prefix="bench-pg-") as sockets:
        options = f"-c listen_addresses= -c unix_socket_directories={sockets}"
        command(*alias, program_of("initdb"), "-D", data, "-U", "bench", "--auth=trust")
        # pg_ctl keeps its log, the server's output, out of what is waited for.
        server = (*alias, program_of("pg_ctl"), "-D", data, "-w")
        command(*server, "-l", f"{sockets}/log", "-o", options, "start")
        try:
            yield ("-h", sockets, "-U", "bench")
        finally:
            command(*server, "-m", "fast", "stop")


@_app("pgbench", "database", ("initdb", "pg_ctl", "pgbench", "unshare"))
def _pgbench(system, _inputs, amounts, rates):
    clients = 4
    with _postgres(system.root / "pg") as server:
        command("pgbench", *server, "-i", "-q", "-s", "5", "postgres")
        words = ("pgbench", *server, "-n", "-c", str(clients), "-j", "2", "-t", str(amounts.transactions // clients), "postgres")
        rates.time("pgbench (transactions/s)", amounts.transactions, lambda: command(*words))


def _sqlite(system, amounts, rates, mode):
    path = system.root / f"{mode}.db"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(f"pragma journal_mode={mode}")
        db.execute("pragma synchronous=full")
        db.execute("create table t (id integer primary key, body blob)")

        def work():
            for number in range(amounts.transactions):
                db.execute("insert into t values (?, ?)", (number, bytes(500)))

        rates.time(f"SQLite, {mode} (transactions/s)", amounts.transactions, work)


@_app("sqlite-wal", "database")
def _sqlite_wal(system, _inputs, amounts, rates):
    _sqlite(system, amounts, rates, "wal")


@_app("sqlite-rollback", "database")
def _sqlite_rollback(system, _inputs, amounts, rates):
    _sqlite(system, amounts, rates, "delete")


@_app("npm", "build", ("npm",), ("npm",))
def _npm(system, inputs, _amounts, rates):
    project = system.root / "npm"
    shutil.copytree(pathlib.Path(inputs["npm"]) / "project", project)
    words = ("npm", "--prefix", project, "ci", "--offline", "--cache", pathlib.Path(inputs["npm"]) / "cache",
             "--ignore-scripts", "--no-audit")  # fmt: skip
    rates.time("npm ci (1/min)", 60, lambda: command(*words))


@_app("pip", "build", ("python3",), ("pip",))
def _pip(system, inputs, _amounts, rates):
    words = ("python3", "-m", "pip", "install", "-q", "--no-index", "--find-links", inputs["pip"],
             "--target", system.root / "pip", *_PIP)  # fmt: skip
    rates.time("pip install (1/min)", 60, lambda: command(*words, env={"PIP_ROOT_USER_ACTION": "ignore"}))


@_app("maildir", "database")
def _maildir(system, _inputs, amounts, rates):
    box, mail = system.root / "maildir", os.urandom(PAGE)
    for part in ("tmp", "new"):
        (box / part).mkdir(parents=True)

    def work():
        for number in range(amounts.mails):
            with open(box / "tmp" / str(number), "wb", buffering=0) as file:
                file.write(mail)
                os.fsync(file.fileno())
            os.rename(box / "tmp" / str(number), box / "new" / str(number))

    rates.time("maildir: create, write, fsync, rename (mails/s)", amounts.mails, work)


@_app("git", "build", ("git",))
def _git(system, inputs, _amounts, rates):
    clone, count = system.root / "clone", int(inputs["files"])
    rates.time("git clone (files/s)", count, lambda: command(*_GIT, "clone", "-q", f"file://{inputs['repository']}", clone))
    at = (*_GIT, "-C", clone)
    rates.time("git checkout of another branch (files/s)", count, lambda: command(*at, "checkout", "-q", "other"))
    system.remount()
    rates.time("git status, cold (files/s)", count, lambda: command(*at, "status", "--porcelain"))
    rates.time("git gc (files/s)", count, lambda: command(*at, "gc", "-q"))


@_app("trees", "tree", ("rsync", "tar"))
def _trees(system, inputs, _amounts, rates):
    count = int(inputs["files"])
    rates.time("rsync in (files/s)", count, lambda: command("rsync", "-a", f"{inputs['tree']}/", system.root / "rsync"))
    (system.root / "untar").mkdir()
    rates.time("untar (files/s)", count, lambda: command("tar", "-xf", inputs["archive"], "-C", system.root / "untar"))
    rates.time("cp -a (files/s)", count, lambda: command("cp", "-a", system.root / "untar", system.root / "copied"))
    system.remount()

    def read():
        # tar reads nothing for an archive that it sees is /dev/null.
        with subprocess.Popen(["tar", "-cf", "-", "-C", system.root / "untar", "."], stdout=subprocess.PIPE) as tar:
            while tar.stdout.read(MIB):
                pass
        if tar.returncode:
            raise RuntimeError(f"tar: exit status {tar.returncode}")

    rates.time("tar read, cold (files/s)", count, read)


@_app("cp", "tree")
def _cp(system, _inputs, amounts, rates):
    with tempfile.NamedTemporaryFile(dir=system.base) as file:
        for _ in range(amounts.copies_mib):
            file.write(os.urandom(MIB))
        file.flush()
        words = ("cp", "--reflink=never", file.name, system.root / "copy")
        rates.time("cp of a large file in (MiB/s)", amounts.copies_mib, lambda: command(*words))


@_app("fio", "direct", ("fio",))
def _engines(system, _inputs, amounts, rates):
    path, mib = system.root / "fio", 64
    path.write_bytes(os.urandom(mib * MIB))
    os.sync()
    system.remount()
    words = ("--rw=randread", "--invalidate=0", "--ioengine=io_uring", "--iodepth=16")
    rates.take("io_uring random reads, cached (1/s)", lambda: fio(path, mib, amounts.random_reads, *words))
    for way in ("randread", "randwrite"):
        for engine, depths in (("psync", (1,)), ("libaio", (1, 16)), ("io_uring", (1, 16))):
            for depth in depths:
                words = (f"--rw={way}", f"--ioengine={engine}", f"--iodepth={depth}", "--direct=1")
                workload = f"fio {way}, O_DIRECT, {engine}, depth {depth} (1/s)"
                rates.take(workload, lambda of=words: fio(path, mib, amounts.random_reads, *of))


@_app("listing", "listing")
def _listing(system, _inputs, amounts, rates):
    """`ls -l` asks for ACLs and capabilities of each entry."""
    one, many = system.root / "one", system.root / "many"
    directories = [(one, amounts.one_directory), *((many / f"d{n}", _EACH) for n in range(amounts.directories))]
    for directory, count in directories:
        directory.mkdir(parents=True)
        for number in range(count):
            os.close(os.open(directory / f"file {number}", os.O_CREAT | os.O_WRONLY))
    each = (("one directory", amounts.one_directory, ("ls", "-l", one)),
            ("many directories", amounts.directories * _EACH, ("ls", "-lR", many)))  # fmt: skip
    for what, count, words in each:
        if count:
            system.remount()
            rates.time(f"ls -l of {what}, cold (files/s)", count, lambda of=words: command(*of))
            rates.time(f"ls -l of {what}, warm (files/s)", count, lambda of=words: command(*of))


@_app("small", "small")
def _small(system, _inputs, amounts, rates):
    """Each operation many times, one after the other: beside the null FUSE daemon, what a request costs."""
    root, count, page = system.root / "small", amounts.operations, os.urandom(PAGE)
    root.mkdir()
    files, moved = ([f"{root}/{name}{number}" for number in range(count)] for name in ("f", "m"))
    made = [f"{root}/d{number}" for number in range(count)]

    def create(path):
        with open(path, "wb", buffering=0) as file:
            file.write(page)

    def read(path):
        with open(path, "rb", buffering=0) as file:
            file.read(PAGE)

    def each(workload, act, over):
        rates.time(f"{workload} (1/s)", count, lambda: [act(path) for path in over])

    each("create, write 4 KiB, close", create, files)
    system.remount()
    each("stat, cold", os.stat, files)
    each("open, read 4 KiB, close, cold", read, files)
    each("rename", lambda path: os.rename(path, path.replace("/f", "/m")), files)
    each("unlink", os.unlink, moved)
    each("mkdir", os.mkdir, made)
    each("rmdir", os.rmdir, made)
    with open(root / "synced", "w+b", buffering=0) as file:
        file.write(bytes(PAGE * 64))
        os.fsync(file.fileno())

        def synced(number):
            os.pwrite(file.fileno(), page, number % 64 * PAGE)
            os.fdatasync(file.fileno())

        each("write 4 KiB, fdatasync", synced, range(count))


def run(name, system, inputs, amounts, limit):
    """The rates of an application, whose files are removed afterwards."""
    rates = Rates(limit)
    APPS[name].run(system, inputs, amounts, rates)
    for path in system.root.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    return rates
