"""The paths of results on this disk, and why a blob cannot be downloaded to one."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

from batchspec.diagnostics import Diagnostic, ServiceError
from batchspec.plan.receipt import PROTECTED

UNSAFE = "unsafe-result"
"""The code of the errors of blobs that cannot be downloaded; the others are."""


def safe_path(folder: Path, name: str, *, flat: bool) -> Path:
    """The path below ``folder`` to which a blob is downloaded; ``flat`` drops its folders.

    Raises:
        ServiceError: the name leads out of the folder (``..``, a root, a drive or a symbolic link)
            or into one of :data:`PROTECTED`, or is not a valid file name.
    """
    if not name or "\0" in name or "\\" in name:
        raise _unsafe(name)
    parts = PurePosixPath(name).parts
    if flat:
        parts = parts[-1:]
    if not parts or any(part in {"..", "/"} or Path(part).drive for part in parts):
        raise _unsafe(name)
    path = folder.joinpath(*parts)
    root = Path(os.path.realpath(folder))
    real = Path(os.path.realpath(path))
    if not real.is_relative_to(root):
        raise _unsafe(name)
    if any(part.lower() in PROTECTED for part in real.parts):
        raise _protected(name)
    return path


def impossible(name: str, error: OSError) -> ServiceError:
    """A blob whose name is too long for this disk, or is both a file and a folder."""
    problem = Diagnostic(
        UNSAFE,
        f"the blob {name!r} was not downloaded: {error.strerror or error}",
        detail="Its name is too long for this disk, or also the name of a folder of results.",
        fix="Rename the output, or exclude the blob with `match`. The other results are complete.",
    )
    return ServiceError(problem, code=UNSAFE)


def _unsafe(name: str) -> ServiceError:
    problem = Diagnostic(
        UNSAFE,
        f"the blob {name!r} was not downloaded: its name leads out of the results folder",
        fix="Rename the blob, or exclude it with `match`.",
    )
    return ServiceError(problem, code=UNSAFE)


def _protected(name: str) -> ServiceError:
    problem = Diagnostic(
        UNSAFE,
        f"the blob {name!r} was not downloaded: its path leads into `.git` or `.batchspec`",
        fix="Use another folder in `results.to`, or exclude the blob with `match`.",
    )
    return ServiceError(problem, code=UNSAFE)


def same_name(name: str, path: Path) -> ServiceError:
    """A blob for which the same download has written a file already."""
    problem = Diagnostic(
        UNSAFE,
        f"the blob {name!r} was not downloaded: another result has the name {path.name} too",
        fix="Remove `flat: true` from `results`, or exclude one of the blobs with `match`.",
    )
    return ServiceError(problem, code=UNSAFE)


def replaces_source(name: str, path: Path) -> ServiceError:
    """A blob that would replace the spec or a file that it reads or uploads."""
    problem = Diagnostic(
        UNSAFE,
        f"the blob {name!r} was not downloaded: it would replace {path.name}, a file of the spec",
        detail=f"The spec reads or uploads {path}.",
        fix="Use another folder in `results.to`, or exclude the blob with `match`.",
    )
    return ServiceError(problem, code=UNSAFE)
