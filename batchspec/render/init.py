"""What is said of a starter spec: what was written, what it is for, and how to go on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from batchspec.diagnostics import Diagnostic
from batchspec.render import units
from batchspec.render.ink import Ink
from batchspec.render.sink import flat

_SHOWN = 5


def written_text(spec: str, files: Sequence[Path], *, containers: bool, color: bool = False) -> str:
    """The files that were written, and the commands for the spec among them.

    ``containers`` says that tasks run in containers, which needs more of this machine.
    """
    ink = Ink(color)
    lines = [f"{ink('create', '+')} {flat(str(file))}" for file in files]
    lines += ["", "Next:", f"  {ink('bold', f'batchspec plan {flat(spec)}')}   what it would do"]
    lines.append(f"  {ink('bold', f'batchspec apply {flat(spec)}')}  do it, on this machine")
    if containers:
        lines += ["", "On this machine, tasks in containers need Docker or Podman."]
    return "\n".join(lines)


def in_the_way(files: Sequence[Path]) -> Diagnostic:
    """That files are there already."""
    names = [str(file) for file in files[:_SHOWN]]
    more = len(files) - len(names)
    return Diagnostic(
        "file-exists",
        f"{units.counted(len(files), 'file')} would be overwritten; nothing was written",
        detail="\n".join([*names, *([f"... and {more} more"] if more else [])]),
        fix="Name another folder: batchspec init FOLDER",
    )


def unwritable(folder: Path, why: str) -> Diagnostic:
    """That the folder cannot be written to."""
    return Diagnostic("unwritable-folder", f"{folder} cannot be written to: {why}")
