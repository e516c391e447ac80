"""The paths that a glob names: as ``glob`` finds them, but for links that lead in circles."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from pathlib import Path


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
