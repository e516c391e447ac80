"""The files that a spec uploads: found, checked and hashed; the account is not asked.

Every fault of every entry is collected: a glob that matches nothing, a file that may not be read,
two files that would become one blob, a name that no blob can have.
"""

from __future__ import annotations

import glob
import hashlib
import os
import stat
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from errno import ELOOP, ENOENT
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from batchspec.diagnostics import Diagnostic, Diagnostics
from batchspec.observe.spool import Spool
from batchspec.plan.observed import LocalFile
from batchspec.spec import Container, UploadGlob

_CHUNK = 1 << 20
_HASHERS = 4
_AHEAD = 64
_LONGEST_NAME = 1024
"""Azure refuses blob names over 1,024 characters (Naming and referencing containers, blobs)."""


def scan(
    containers: Iterable[Container], spool: Spool, problems: Diagnostics, *, contents: bool = True
) -> None:
    """Put every file that goes to these containers into the spool.

    What is wrong goes to ``problems``. Without ``contents`` files are found and opened, not read:
    they then have no right MD5, which is enough to tell what is wrong with them.
    """
    look = _hashed if contents else _opened
    with ThreadPoolExecutor(_HASHERS, thread_name_prefix="hash") as pool:

        def read(entry: UploadGlob, path: Path, blob: str) -> Future[LocalFile | Diagnostic]:
            return pool.submit(_read, entry, path, blob, look)

        for container in containers:
            for entry in container.upload:
                _scan_entry(container, entry, spool, problems, read)


def _scan_entry(
    container: Container,
    entry: UploadGlob,
    spool: Spool,
    problems: Diagnostics,
    read: Callable[[UploadGlob, Path, str], Future[LocalFile | Diagnostic]],
) -> None:
    found = 0
    waiting: deque[Future[LocalFile | Diagnostic]] = deque()

    def take(result: LocalFile | Diagnostic) -> None:
        if isinstance(result, Diagnostic):
            problems.add(result)
            return
        other = spool.add_file(container.key, result)
        if other is not None and other.path != result.path:
            problems.add(_same_name(container, entry, result, other))

    for path, blob in _matches(entry):
        found += 1
        fault = _name_fault(entry, path, blob)
        if fault is not None:
            problems.add(fault)
            continue
        waiting.append(read(entry, path, blob))
        if len(waiting) >= _AHEAD:
            take(waiting.popleft().result())
    while waiting:
        take(waiting.popleft().result())
    if not found:
        problems.add(_no_match(entry))


def _matches(entry: UploadGlob) -> Iterator[tuple[Path, str]]:
    """The files of an entry with their blob names: the tree below the fixed part is kept."""
    fixed = fixed_part(entry.pattern)
    for match in matches(entry.root, entry.pattern):
        path = entry.root / match
        if path.is_dir():
            continue
        below = PurePosixPath(os.path.relpath(match, fixed or os.curdir).replace(os.sep, "/"))
        if any(fnmatchcase(below.name, x) or fnmatchcase(str(below), x) for x in entry.exclude):
            continue
        yield path, entry.prefix + str(below)


def fixed_part(pattern: str) -> str:
    """The folders of a pattern before its first wildcard; of a plain path, its folder."""
    parts = pattern.split("/")
    fixed = []
    for part in parts[:-1]:
        if glob.has_magic(part):
            break
        fixed.append(part)
    return "/".join(fixed) or ("/" if pattern.startswith("/") else "")


def _hashed(path: Path) -> tuple[int, bytes]:
    """A file's size and MD5."""
    digest = hashlib.md5(usedforsecurity=False)
    size = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return size, digest.digest()


def _opened(path: Path) -> tuple[int, bytes]:
    """A file's size, after making sure that it may be read."""
    with path.open("rb"):
        return path.stat().st_size, b""


def _read(
    entry: UploadGlob, path: Path, blob: str, look: Callable[[Path], tuple[int, bytes]]
) -> LocalFile | Diagnostic:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return Diagnostic(
                "not-a-file",
                f"{path} is not a regular file",
                where=entry.where,
                fix="Leave it out with `exclude`, or narrow the pattern.",
            )
        size, md5 = look(path)
    except OSError as error:
        link = error.errno in {ENOENT, ELOOP} and path.is_symlink()
        mend = "Mend the link" if link else "Give yourself the right to read it"
        return Diagnostic(
            "unreadable-file",
            f"{path} cannot be read: {error.strerror}",
            detail=f"It is a link to {path.readlink()}." if link else "",
            where=entry.where,
            fix=f"{mend}, or leave it out with `exclude`.",
        )
    return LocalFile(blob, path, size, md5, entry.content_type)


def _name_fault(entry: UploadGlob, path: Path, blob: str) -> Diagnostic | None:
    try:
        blob.encode()
    except UnicodeEncodeError:
        return Diagnostic(
            "bad-blob-name",
            f"{path!r} has a name that is not valid UTF-8",
            where=entry.where,
            fix="Rename the file; a blob's name is Unicode text.",
        )
    if any(ord(character) < 0x20 or ord(character) == 0x7F for character in blob):
        return Diagnostic(
            "bad-blob-name",
            f"{blob!r} has a control character in its name",
            detail="A blob of such a name makes its whole container unlistable.",
            where=entry.where,
            fix="Rename the file, or leave it out with `exclude`.",
        )
    if len(blob) > _LONGEST_NAME or ".." in PurePosixPath(blob).parts or "\\" in blob:
        return Diagnostic(
            "bad-blob-name",
            f"{blob!r} cannot be the name of a blob",
            detail="At most 1,024 characters, no backslash, and no part `..`.",
            where=entry.where,
            fix="Rename the file, or set another `path`.",
        )
    return None


def _same_name(
    container: Container, entry: UploadGlob, file: LocalFile, other: LocalFile
) -> Diagnostic:
    return Diagnostic(
        "same-blob-name",
        f"two files would become the blob {file.blob!r} of container {container.key!r}",
        detail=f"{other.path} and {file.path}",
        where=entry.where,
        fix="Give one of the entries a `path` (a prefix in the container), or exclude one file.",
    )


def _no_match(entry: UploadGlob) -> Diagnostic:
    whole = entry.root / entry.pattern
    if not glob.has_magic(entry.pattern) and whole.is_dir():
        return Diagnostic(
            "no-match",
            f"{entry.pattern!r} is a folder",
            where=entry.where,
            fix=f"Write `{entry.pattern.rstrip('/')}/**` for every file below it.",
        )
    if not glob.has_magic(entry.pattern):
        return Diagnostic(
            "missing-file",
            f"there is no file {entry.pattern!r}",
            detail=f"Looked for {whole}; paths are relative to the spec.",
            where=entry.where,
            fix=_nearest(whole),
        )
    folder = entry.root / fixed_part(entry.pattern)
    try:
        # A glob passes over what it may not read in silence.
        os.scandir(folder).close()
    except PermissionError as error:
        return Diagnostic(
            "unreadable-file",
            f"the folder {folder} cannot be read: {error.strerror}",
            where=entry.where,
            fix="Give yourself the right to read it, or leave the entry out.",
        )
    except OSError:
        # There is no such folder: then the pattern matches nothing, which is told below.
        pass
    return Diagnostic(
        "no-match",
        f"{entry.pattern!r} matches no file",
        detail=f"Looked in {folder}; paths are relative to the spec.",
        where=entry.where,
        fix="Mend the pattern; `**` is recursive, and hidden files must be named.",
    )


def _nearest(path: Path) -> str:
    """The part of a path that does exist, as a hint."""
    for parent in path.parents:
        if parent.is_dir():
            return f"The nearest folder that exists is {parent}."
    return ""


def matches(root: Path, pattern: str) -> Iterator[str]:
    """What a pattern names below a folder, relative to it; hidden files must be named.

    ``**`` goes through links to folders, but not through one that leads back to a folder that it
    lies in: all that is there has been found already, and there is no end to it.
    """
    while "/**/**/" in f"/{pattern}/":
        pattern = pattern.replace("**/**", "**", 1)  # twice in a row, and no more than once
    parts = pattern.split("/")
    if "**" not in parts:
        yield from glob.iglob(pattern, root_dir=root)  # noqa: PTH207  (`..` and `root_dir`)
        return
    at = parts.index("**")
    head, tail = "".join(f"{part}/" for part in parts[:at]), "/".join(parts[at + 1 :]) or "*"
    starts = glob.iglob(head, root_dir=root) if head else [""]  # noqa: PTH207
    for start in starts:
        for folder in _folders(root, start, frozenset()):
            for match in matches(root / folder, tail):
                yield os.path.join(folder, match)  # noqa: PTH118  (as `glob` does)


def _folders(root: Path, folder: str, above: frozenset[tuple[int, int]]) -> Iterator[str]:
    """A folder and all below it; ``above`` are those that it lies in."""
    path = root / folder
    try:
        facts = path.stat()
        with os.scandir(path) as entries:
            below = sorted(
                entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir()
            )
    except OSError:
        # What may not be read is passed over, as `glob` does.
        return
    key = (facts.st_dev, facts.st_ino)
    if key in above:
        return
    yield folder
    for name in below:
        yield from _folders(root, os.path.join(folder, name), above | {key})  # noqa: PTH118
