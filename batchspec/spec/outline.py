"""The names that a spec defines, read without its rules: for shell completion.

The spec may be incomplete or wrong, and its parameters need no values.
"""

from __future__ import annotations

import re
from pathlib import Path

from batchspec.diagnostics import SpecError
from batchspec.frozen import frozen
from batchspec.spec.yaml_parser import parse, read_source

_LARGEST = 64 * 1024
"""Bytes of a spec that is read; a larger one takes longer than a user waits for a completion."""
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""A valid name; records are in a folder with this name, which another text could leave."""


@frozen
class Outline:
    """The name of a spec, empty if none is valid, and the keys of its sections in their order."""

    name: str = ""
    parameters: tuple[str, ...] = ()
    containers: tuple[str, ...] = ()
    stages: tuple[str, ...] = ()


def read_outline(path: Path) -> Outline:
    """The outline of a spec; an empty one if the file is not YAML, too large or not a file."""
    try:
        # Not a pipe or a terminal, which could be waited for.
        if not path.is_file() or path.stat().st_size > _LARGEST:
            return Outline()
        members = parse(read_source(path)).members
    except (OSError, ValueError, SpecError):
        return Outline()
    sections = {key: tuple(node.members) for key, node in members.items()}
    name = members["name"].value if "name" in members else ""
    return Outline(
        name if isinstance(name, str) and _NAME.fullmatch(name) else "",
        sections.get("parameters", ()),
        sections.get("containers", ()),
        sections.get("tasks", ()),
    )
