"""Files on a node as a recorded request found them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def make_files(root: Path, path: str, shown: Mapping[str, Any]) -> None:
    """Make the file ``path`` below ``root``, or all that a list shows."""
    root.mkdir(parents=True, exist_ok=True)
    if path:
        _make(root, path, is_directory=False)
    for item in shown.get("value", ()):
        _make(root, item["name"], is_directory=item["isDirectory"])


def _make(root: Path, path: str, *, is_directory: bool) -> None:
    place = root / path.replace("\\", "/")
    if is_directory:
        place.mkdir(parents=True, exist_ok=True)
    else:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("replayed\n", encoding="utf-8")
