"""What a history has written: directories, names and contents as registers, each with when it was changed, and what of it may be seen by
who looks at a given time. All of it on one clock, so on one machine."""

import dataclasses
import time

NAMES = ("f0", "f1", "f2")


class Register:
    """A value that one changes and others look at: versions, each with when it began and ended. The last one may not have ended, or
    never end: then it is there or not, until somebody has looked."""

    def __init__(self, value):
        self.versions = [(0.0, 0.0, value)]

    @property
    def value(self):
        """What it was changed to last."""
        return self.versions[-1][2]

    @property
    def settled(self):
        """Whether that has ended."""
        return self.versions[-1][1] is not None

    def begin(self, value):
        """It is going to be this."""
        self.versions.append((time.monotonic(), None, value))

    def end(self):
        """It is that, for everybody who looks from now on."""
        began, _, value = self.versions[-1]
        self.versions[-1] = (began, time.monotonic(), value)

    def settle(self, value):
        """It was seen to be this, and nobody changes it."""
        now = time.monotonic()
        self.versions.append((now, now, value))

    def possible(self, opened, done):
        """What may be seen by who began to look at `opened` and was done at `done`."""
        versions = list(self.versions)
        last = max(n for n, (_, ended, _) in enumerate(versions) if ended is not None and ended <= opened)
        return [value for began, _, value in versions[last:] if began <= done]


@dataclasses.dataclass(eq=False)
class File:
    """A file, by whatever names. `keys`: of which one it is under."""

    keys: tuple
    content: Register
    ino: int | None = None


@dataclasses.dataclass(eq=False)
class Directory:
    """A directory, by whatever name. What is made in it is under this key."""

    key: str
    ino: int | None = None
    names: dict = dataclasses.field(default_factory=lambda: {name: Register(None) for name in NAMES})


@dataclasses.dataclass
class Found:
    """What may be found under a path."""

    files: list
    # It may not be there.
    absent: bool
    # How often what the path leads to may have changed meanwhile.
    changes: int


class Tree:
    """Directories with the same few names in each."""

    def __init__(self, directories):
        self.directories = {name: Register(None) for name in directories}

    def find(self, directory, name, opened, done):
        """What a path may lead to. A directory may have been moved, and changed where it is then, while it was looked up."""
        found = Found([], False, -1)
        for there in self.directories[directory].possible(opened, done):
            files = there.names[name].possible(opened, done) if there else [None]
            found.changes += len(files)
            found.absent |= None in files
            found.files += [file for file in files if file]
        return found

    def paths(self):
        """Each path that there is, and its file, as far as they are settled."""
        for directory, there in self.directories.items():
            if there.settled and there.value:
                for name, file in there.value.names.items():
                    if file.settled and file.value:
                        yield (directory, name), file.value

    def registers(self):
        """Those of all directories and names that can be reached."""
        yield from self.directories.values()
        for register in self.directories.values():
            for _, _, there in register.versions[-3:]:
                if there:
                    yield from there.names.values()


def shown(data):
    """Contents, for people."""
    return "nothing" if data is None else f"{len(data)} bytes {data[:4].hex()}…{data[-4:].hex()}" if isinstance(data, bytes) else str(data)
