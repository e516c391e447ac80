"""Files on nodes and application packages that a recorded request needs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any


def create_files(root: Path, path: str, shown: Mapping[str, Any]) -> None:
    """Create the file ``path`` below ``root``, or all files of a list."""
    root.mkdir(parents=True, exist_ok=True)
    if path:
        _make(root, path, is_directory=False)
    for item in shown.get("value", ()):
        _make(root, item["name"], is_directory=item["isDirectory"])


def create_applications(folder: Path, bodies: Iterable[Any], parts: Sequence[str]) -> None:
    """Create every application that is listed or referred to."""
    for body in bodies:
        for name, versions in _applications(body, listed=parts[0] == "applications"):
            (folder / name).mkdir(parents=True, exist_ok=True)
            for version in versions:
                (folder / name / f"{version}.zip").touch()
                (folder / name / "default").write_text(version, encoding="utf-8")


def _applications(value: Any, *, listed: bool) -> Iterator[tuple[str, list[str]]]:
    if isinstance(value, list):
        for item in value:
            yield from _applications(item, listed=listed)
    elif isinstance(value, dict):
        if listed and "versions" in value:
            yield value["id"], value["versions"]
        if "applicationId" in value:
            yield value["applicationId"], [value.get("version", "1.0")]
        for item in value.values():
            yield from _applications(item, listed=listed)


def _make(root: Path, path: str, *, is_directory: bool) -> None:
    place = root / path.replace("\\", "/")
    if is_directory:
        place.mkdir(parents=True, exist_ok=True)
    else:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("replayed\n", encoding="utf-8")
