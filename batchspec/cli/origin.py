"""Who runs this command, and from where: what pools, jobs and schedules record of it."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Mapping
from pathlib import Path

from batchspec.plan.observed import Origin

_USER = ("LOGNAME", "USER", "LNAME", "USERNAME")
"""Where the name of the user is found, in the order of :func:`getpass.getuser`."""


def origin_of(spec: Path, environ: Mapping[str, str]) -> Origin:
    """The user and host of this process, and a digest of the host and the spec's absolute path."""
    host = platform.node() or "localhost"
    user = next((environ[name] for name in _USER if environ.get(name)), "unknown")
    place = f"{host}\0{os.fspath(spec.resolve())}"
    return Origin(f"{user}@{host}", hashlib.sha256(place.encode()).hexdigest()[:16])
