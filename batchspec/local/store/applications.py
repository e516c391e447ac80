"""The application packages of the account, which a user puts into a folder.

``applications/<id>/<version>.zip`` is a package, and ``applications/<id>/default`` a text file with
the default version. On Azure they are created through the management API, for which the Batch
protocol has no operations. Nothing is written here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_VERSION = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}", re.ASCII)
# New clients reference an application by its resource id.
_RESOURCE = re.compile(
    r"/subscriptions/[^/]+/resourceGroups/[^/]+/providers/Microsoft\.Batch"
    r"/batchAccounts/[^/]+/applications/([^/]+)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Application:
    """An application: its packages by version (sorted), and its default version."""

    id: str
    packages: dict[str, Path]
    default: str | None

    def package(self, version: str | None) -> tuple[str, Path] | None:
        """The version in its own spelling and the zip file; ``None`` if it does not exist."""
        chosen = self.default if version is None else version
        for name, path in self.packages.items():
            if chosen is not None and name.lower() == chosen.lower():
                return name, path
        return None


class Applications:
    """The applications in a folder, read at each call; ids and versions in any case."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def all(self) -> list[Application]:
        """Every application that has a package, by id."""
        return sorted(self._read(), key=lambda found: found.id.lower())

    def get(self, reference: str) -> Application | None:
        """The application with an id, or with a resource id that ends with it."""
        name = application_id(reference).lower()
        return next((found for found in self._read() if found.id.lower() == name), None)

    def _read(self) -> Iterator[Application]:
        for folder in self._folder.iterdir() if self._folder.is_dir() else ():
            if _ID.fullmatch(folder.name) is None or not folder.is_dir():
                continue
            zips = sorted(path for path in folder.glob("*.zip") if path.is_file())
            packages = {path.stem: path for path in zips if _VERSION.fullmatch(path.stem)}
            if packages:
                yield Application(folder.name, packages, _default(folder / "default"))


def application_id(reference: str) -> str:
    """The id of an application that is referenced by its id or by its resource id."""
    found = _RESOURCE.fullmatch(reference)
    return reference if found is None else found[1]


def _default(path: Path) -> str | None:
    return path.read_text(encoding="utf-8").strip() if path.is_file() else None
