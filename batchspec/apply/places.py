"""Where a result lands: always inside its folder, whatever the blob is called."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

from batchspec.diagnostics import Diagnostic, ServiceError


def place_of(folder: Path, name: str, *, flat: bool) -> Path:
    """The file that a blob of this name becomes below ``folder``.

    Raises:
        ServiceError: the name leads out of the folder, through ``..``, a root, a drive or a link,
            or it is not one that a file can have.
    """
    if not name or "\0" in name or "\\" in name:
        raise _refused(name)
    parts = PurePosixPath(name).parts
    if flat:
        parts = parts[-1:]
    if not parts or any(part in {"..", "/"} or Path(part).drive for part in parts):
        raise _refused(name)
    place = folder.joinpath(*parts)
    inside = Path(os.path.realpath(folder))
    if not Path(os.path.realpath(place)).is_relative_to(inside):
        raise _refused(name)
    return place


def _refused(name: str) -> ServiceError:
    problem = Diagnostic(
        "unsafe-result",
        f"the blob {name!r} was not downloaded: its name leads out of the results folder",
        fix="Rename the blob, or leave it out with `match`.",
    )
    return ServiceError(problem, code="unsafe-result")
