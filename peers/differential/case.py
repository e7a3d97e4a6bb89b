"""What a case is: a Dockerfile, the files beside it, and how it is built."""

import dataclasses
import os
import pathlib
import re
import zlib

ALL = []


@dataclasses.dataclass(frozen=True)
class File:
    """A file of a context that is more than its content."""

    content: str | bytes = ""
    mode: int = 0o644
    link: str | None = None
    folder: bool = False
    # Extended attributes by name, and what it is instead of a file: a type of mknod and device numbers.
    xattrs: dict = dataclasses.field(default_factory=dict)
    special: tuple | None = None
    # The path of a file of the case, written before, that this is another name of.
    other_name_of: str | None = None


def link(target):
    return File(link=target)


def other_name(path):
    return File(other_name_of=path)


def folder(mode=0o755):
    return File(folder=True, mode=mode)


def program(content):
    return File(content, mode=0o755)


@dataclasses.dataclass(frozen=True)
class Case:
    name: str
    dockerfile: str
    files: dict
    options: tuple
    fails: bool
    why_different: str | None
    ignore: tuple
    environment: dict

    def write(self, where):
        """Writes the context into a folder that has the case's name: BuildKit remembers files by name,
        size and time, so that two cases must not share them."""
        context = pathlib.Path(where) / self.name
        context.mkdir(parents=True)
        for path, file in {"Dockerfile": self.dockerfile, **self.files}.items():
            self.write_file(context, path, file if isinstance(file, File) else File(file))
        for path in sorted(context.rglob("*"), reverse=True):
            if path.is_dir() and not path.is_symlink():
                os.utime(path, (1_500_000_000, 1_500_000_000))
        return context

    def write_file(self, context, path, file):
        path = context / path
        path.parent.mkdir(parents=True, exist_ok=True)
        if file.other_name_of is not None:
            os.link(context / file.other_name_of, path, follow_symlinks=False)
            return
        if file.link is not None:
            path.symlink_to(file.link)
            return
        if file.special is not None:
            os.mknod(path, file.special[0], os.makedev(*file.special[1:]))
        elif file.folder:
            path.mkdir(exist_ok=True)
        else:
            content = file.content.encode() if isinstance(file.content, str) else file.content
            path.write_bytes(content)
            time = 1_000_000_000 + zlib.crc32(self.name.encode() + content) % 400_000_000
            os.utime(path, (time, time))
        for name, value in file.xattrs.items():
            os.setxattr(path, name, value)
        path.chmod(file.mode)


def case(name, dockerfile, files=None, *options, fails=False, different=None, ignore=(), environment=None, raw=False):
    """Adds a case. `different` says why the results may differ, `ignore` which parts then do; a case
    that `fails` must fail in both."""
    assert name not in [other.name for other in ALL], name
    if not re.search(r"(?im)^\s*from\s", dockerfile) and not raw:
        dockerfile = "FROM local/busybox:1\n" + dockerfile
    ALL.append(Case(name, dockerfile, files or {}, options, fails, different, tuple(ignore), environment or {}))
