"""The paths of results: inside the results folder, and not in a protected folder."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

from batchspec.diagnostics import Diagnostic, ServiceError
from batchspec.plan.receipt import PROTECTED

UNSAFE = "unsafe-result"
"""The code of errors that concern one blob. All other blobs are downloaded."""


class ResultPaths:
    """The paths below ``folder`` to which blobs are downloaded; ``flat`` drops their folders."""

    def __init__(self, folder: Path, *, flat: bool) -> None:
        self._folder, self._flat = folder, flat
        self._root = Path(os.path.realpath(folder))
        # A listing has the blobs of a folder in a row: only the first of them checks the folder.
        self._checked: str | None = None
        self._parent = folder
        self._real_parent = ""

    def path(self, name: str) -> Path:
        """The path of a blob.

        Raises:
            ServiceError: the name leads out of the folder (``..``, a root, a drive or a symbolic
                link) or into one of :data:`PROTECTED`, or is not a valid file name.
        """
        start = name.rfind("/") + 1
        folder, last = name[:start], name[start:]
        if folder == self._checked and last not in {"", ".", ".."} and last.isascii():
            plain = last.replace("-", "").replace("_", "").replace(".", "").isalnum()
            # A plain name has no drive, and is the name of one file in that folder.
            if plain and last.lower() not in PROTECTED:
                real = os.path.join(self._real_parent, last)  # noqa: PTH118 - for each result
                if not os.path.islink(real):  # noqa: PTH114 - for each result
                    return self._parent / last
        path, real_parent = self._check(name)
        if path.name == last:
            self._checked, self._parent, self._real_parent = folder, path.parent, real_parent
        return path

    def _check(self, name: str) -> tuple[Path, str]:
        """The path of a blob with any name, and its folder without symbolic links."""
        if not name or "\0" in name or "\\" in name:
            raise _unsafe(name)
        parts = PurePosixPath(name).parts
        if self._flat:
            parts = parts[-1:]
        if not parts or any(part in {"..", "/"} or Path(part).drive for part in parts):
            raise _unsafe(name)
        path = self._folder.joinpath(*parts)
        real_parent = os.path.realpath(path.parent)
        real = Path(real_parent, parts[-1])
        if real.is_symlink():
            real = Path(os.path.realpath(real))
        # The folder, too: other results are written to it without this check.
        if not real.is_relative_to(self._root) or not Path(real_parent).is_relative_to(self._root):
            raise _unsafe(name)
        if any(part.lower() in PROTECTED for part in (*real.parts, *Path(real_parent).parts)):
            raise not_downloaded(
                name,
                "its path leads into `.git` or `.batchspec`",
                "Use another folder in `results.to`, or exclude the blob with `match`.",
            )
        return path, real_parent


def not_downloaded(name: str, reason: str, fix: str, detail: str = "") -> ServiceError:
    """The error of one blob that is not downloaded. All other blobs are downloaded."""
    summary = f"the blob {name!r} was not downloaded: {reason}"
    return ServiceError(Diagnostic(UNSAFE, summary, detail=detail, fix=fix), code=UNSAFE)


def _unsafe(name: str) -> ServiceError:
    return not_downloaded(
        name,
        "its name leads out of the results folder",
        "Rename the blob, or exclude it with `match`.",
    )
