"""File patterns of output files: which files below a directory does one name?

``*`` any characters of one name, ``?`` one of them, ``[abc]`` and ``[a-c]`` one of these,
``[!abc]`` none of these, ``**`` any directories. A name that starts with a dot is meant only by a
pattern that does. Links to files are files; links to directories are not gone into.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

_WILD = re.compile(r"[*?\[]")


def is_wild(pattern: str) -> bool:
    """Whether ``pattern`` may name more than one file."""
    return _WILD.search(pattern) is not None


def find(pattern: str, base: Path) -> Iterator[tuple[Path, str]]:
    """The files that ``pattern`` names, sorted, each with its path below the pattern's fixed part.

    A relative pattern starts at ``base``; it may climb with ``..`` (``../std*.txt``), and may be
    absolute. The fixed part are the components before the first wildcard: ``out/**/*.txt`` finds
    ``base/out/a/b.txt`` as ``a/b.txt``.
    """
    parts = [part for part in pattern.split("/") if part not in {"", "."}]
    root = Path("/") if pattern.startswith("/") else base
    while len(parts) > 1 and not is_wild(parts[0]):
        root = root / parts.pop(0)
    if not parts:
        return
    if not is_wild(parts[0]):
        if (root / parts[0]).is_file():
            yield root / parts[0], parts[0]
        return
    for found in sorted(set(_walk(root, parts))):
        yield root / found, found


def _walk(root: Path, parts: list[str], below: str = "") -> Iterator[str]:
    first, rest = parts[0], parts[1:]
    try:
        entries = list(os.scandir(root))
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return
    if first == "**":
        # ``**`` at the end means every file below.
        yield from _walk(root, rest or ["*"], below)
        for entry in entries:
            if entry.is_dir(follow_symlinks=False) and not entry.name.startswith("."):
                yield from _walk(Path(entry), parts, f"{below}{entry.name}/")
        return
    matches = compile_name(first)
    for entry in entries:
        if matches.fullmatch(entry.name):
            if rest and entry.is_dir(follow_symlinks=False):
                yield from _walk(Path(entry), rest, f"{below}{entry.name}/")
            elif not rest and entry.is_file():
                yield below + entry.name


def compile_name(pattern: str) -> re.Pattern[str]:
    """The regular expression of a pattern for one name."""
    out = "" if pattern.startswith(".") else r"(?!\.)"
    at = 0
    while at < len(pattern):
        char = pattern[at]
        at += 1
        if char == "*":
            out += ".*"
        elif char == "?":
            out += "."
        elif char == "[" and (end := _closing(pattern, at)) > 0:
            out += _choice(pattern[at:end])
            at = end + 1
        else:
            out += re.escape(char)
    return re.compile(out, re.DOTALL)


def _closing(pattern: str, at: int) -> int:
    """Where the bracket opened before ``at`` closes: not at once, as in ``[]]``; -1 if nowhere."""
    start = at + 1 if pattern[at : at + 1] == "!" else at
    return pattern.find("]", start + 1)


def _choice(inner: str) -> str:
    negated = inner.startswith("!")
    inner = inner[negated:]
    ranges = ""
    at = 0
    while at < len(inner):
        if inner[at + 1 : at + 2] == "-" and at + 2 < len(inner):
            low, high = inner[at], inner[at + 2]
            if low <= high:
                ranges += f"{re.escape(low)}-{re.escape(high)}"
            at += 3
        else:
            ranges += re.escape(inner[at])
            at += 1
    if not ranges:
        return "." if negated else r"(?!)"
    return f"[{'^' if negated else ''}{ranges}]"
