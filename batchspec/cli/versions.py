"""The output of ``batchspec --version -v``: the versions that a run on this machine uses.

The output is for bug reports: no account is contacted, nothing is installed or started, and the
text contains no name or address of the user except the path of the interpreter.
"""

from __future__ import annotations

import platform
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from importlib import metadata
from pathlib import Path

from batchspec.version import __version__

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_EXTRA = re.compile(r";.*\bextra\b")


def versions_text() -> str:
    """A line for each part: its name, and its version or the reason why it is missing."""
    rows = [
        ("batchspec", __version__),
        ("Python", f"{platform.python_version()} ({sys.executable})"),
        ("platform", platform.platform()),
        *_embedded_service(),
        *dependencies(metadata.requires("batchspec") or (), metadata.version),
    ]
    column = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{column}}  {version}" for name, version in rows)


def _embedded_service() -> Iterator[tuple[str, str]]:
    """The api-versions that the service accepts, and the programs of its blob store."""
    from batchspec import local

    yield "api-versions", ", ".join(local.api_versions())
    try:
        found = local.azurite_status()
    except local.LocalError as error:
        yield "Azurite", f"not available: {error.summary}"
        return
    note = "" if found.installed else ", which the first local run installs"
    yield "Azurite", f"{found.azurite}{note}"
    yield "Node.js", f"{_program_version(found.node)} ({found.node})"


def _program_version(program: Path) -> str:
    """The output of ``PROGRAM --version``."""
    try:
        completed = subprocess.run(
            [program, "--version"], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return "not runnable"
    return completed.stdout.strip().removeprefix("v") or "unknown"


def dependencies(
    requirements: Iterable[str], version: Callable[[str], str]
) -> Iterator[tuple[str, str]]:
    """The name and version of each requirement; those of extras only if they are installed.

    ``requirements`` are those of the metadata of a distribution (PEP 508); ``version`` is
    :func:`importlib.metadata.version`.
    """
    for requirement in sorted(requirements, key=str.lower):
        name = _NAME.match(requirement)
        assert name is not None, requirement
        try:
            yield name[0], version(name[0])
        except metadata.PackageNotFoundError:
            if not _EXTRA.search(requirement):
                yield name[0], f"not installed (batchspec needs {requirement})"
