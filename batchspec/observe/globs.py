"""Finds the files that match a pattern, with their facts, as :mod:`glob` does."""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from itertools import compress, islice
from operator import attrgetter, not_
from pathlib import Path
from typing import TypeAlias

_TOGETHER = 5000
"""How many files of a folder are sorted and looked at together."""
_NAME = attrgetter("name")

Facts: TypeAlias = os.stat_result | OSError | None
"""The facts of a file or why they cannot be read; ``None`` for a regular file before it is opened.

Facts are for the cache. Without a cache, those of the open file are enough.
"""


def files_of(
    root: Path, pattern: str, above: str, *, with_facts: bool
) -> Iterator[tuple[str, list[str], list[Facts]]]:
    """The matches of a pattern, except folders, with their facts, up to ``_TOGETHER`` at a time.

    The first item of a result begins all matches, and ``above`` begins their paths.
    """
    head, recursive, tail = pattern.partition("**")
    if recursive and tail in {"", "/*"} and (not head or head.endswith("/")):
        for folder in _starts(root, head):
            start = os.path.join(folder, "")  # noqa: PTH118  (as `glob` does)
            yield from _tree(above, start, frozenset(), with_facts)
        return
    matches = glob_matches(root, pattern)
    while some := sorted(islice(matches, _TOGETHER)):
        names: list[str] = []
        found: list[Facts] = []
        for match in some:
            facts: Facts
            try:
                facts = os.stat(above + match)  # noqa: PTH116
            except OSError as error:
                facts = error
            else:
                if stat.S_ISDIR(facts.st_mode):
                    continue
            names.append(match)
            found.append(facts)
        yield "", names, found


def _tree(
    above: str, start: str, parents: frozenset[tuple[int, int]], with_facts: bool
) -> Iterator[tuple[str, list[str], list[Facts]]]:
    """The files in a folder and its subfolders, as :func:`glob_matches` finds them.

    Each folder is read once, and no name is compared with a pattern.
    """
    path = above + start or os.curdir
    below: list[str] = []
    try:
        of_folder = os.stat(path)  # noqa: PTH116
        key = (of_folder.st_dev, of_folder.st_ino)
        if key in parents:
            return
        with os.scandir(path) as entries:
            while some := list(islice(entries, _TOGETHER)):
                some = [entry for entry in some if not entry.name.startswith(".")]
                are_folders = _are_folders(some)
                below += map(_NAME, compress(some, are_folders))
                files = sorted(compress(some, map(not_, are_folders)), key=_NAME)
                yield start, list(map(_NAME, files)), _facts_of(files, with_facts)
    except OSError:
        # Like `glob`, ignore a folder that cannot be read.
        return
    for name in sorted(below):
        yield from _tree(above, f"{start}{name}{os.sep}", parents | {key}, with_facts)


def _are_folders(entries: Sequence[os.DirEntry[str]]) -> list[bool]:
    try:
        return [entry.is_dir() for entry in entries]
    except OSError:
        return list(map(_is_folder, entries))


def _facts_of(entries: Sequence[os.DirEntry[str]], with_facts: bool) -> list[Facts]:
    """The facts of files in a folder, as far as they are needed before the files are opened."""
    try:
        if with_facts:
            return [entry.stat() for entry in entries]
        # The folder records which entries are regular files: no request to the disk.
        if all([entry.is_file() for entry in entries]):  # noqa: C419 - a list is faster
            return [None] * len(entries)
    except OSError:
        # One of the entries: see below.
        pass
    return [_facts_of_one(entry, with_facts) for entry in entries]


def _facts_of_one(entry: os.DirEntry[str], with_facts: bool) -> Facts:
    try:
        return None if not with_facts and entry.is_file() else entry.stat()
    except OSError as error:
        return error


def glob_matches(root: Path, pattern: str) -> Iterator[str]:
    """The paths below a folder that match a pattern, relative to it; hidden files must be named.

    Like :func:`glob.iglob`, except that ``**`` does not follow a link to a folder that contains
    the link: the matches would never end.
    """
    while "/**/**/" in f"/{pattern}/":
        pattern = pattern.replace("**/**", "**", 1)  # the same as one
    parts = pattern.split("/")
    if "**" not in parts:
        yield from glob.iglob(pattern, root_dir=root)  # noqa: PTH207  (`..` and `root_dir`)
        return
    at = parts.index("**")
    head, tail = "".join(f"{part}/" for part in parts[:at]), "/".join(parts[at + 1 :]) or "*"
    for start in _starts(root, head):
        for folder in _folders(root, start, frozenset()):
            above = os.path.join(folder, "")  # noqa: PTH118  (as `glob` does)
            for match in glob_matches(root / folder, tail):
                yield above + match


def _starts(root: Path, head: str) -> Iterable[str]:
    """The folders that match the part of a pattern before ``**``."""
    return glob.iglob(head, root_dir=root) if head else [""]  # noqa: PTH207


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        # A link to itself. A link to a missing file raises no error here.
        return False


def _folders(root: Path, folder: str, above: frozenset[tuple[int, int]]) -> Iterator[str]:
    """A folder and its subfolders; ``above`` are the folders that contain it."""
    path = root / folder
    try:
        facts = path.stat()
        with os.scandir(path) as entries:
            below = sorted(
                entry.name
                for entry in entries
                if not entry.name.startswith(".") and _is_folder(entry)
            )
    except OSError:
        # Like `glob`, ignore a folder that cannot be read.
        return
    key = (facts.st_dev, facts.st_ino)
    if key in above:
        return
    yield folder
    for name in below:
        yield from _folders(root, os.path.join(folder, name), above | {key})  # noqa: PTH118
