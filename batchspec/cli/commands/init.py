"""``batchspec init``: a starter spec, with all that it needs to run as it is."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from batchspec.cli.options import StarterTemplate
from batchspec.cli.screen import out
from batchspec.diagnostics import Exit, UsageError
from batchspec.render.next_steps import files_exist, files_written, folder_unwritable
from batchspec.render.style import wants_color

_TEMPLATES = Path(__file__).parents[1] / "templates"
_SPEC = "run.yaml"
_NAME = "my-run"
"""What the templates call the run; the folder's name takes its place."""

_IGNORE = "gitignore"
"""Without its dot, so that it is no rule for this repository."""


def init(folder: Path, template: StarterTemplate) -> int:
    """Write the files of a template; the exit code. Nothing that is there is changed.

    Raises:
        UsageError: a file of the template is there already, or the folder cannot be written to.
    """
    name = _slug(folder.resolve().name) or _NAME
    files = dict(_files(_TEMPLATES / template.folder))
    # A folder that has rules of its own keeps them.
    there = [path for path in files if (folder / path).exists() and path.name != ".gitignore"]
    if there:
        raise UsageError(files_exist([folder / path for path in there]))
    written: list[Path] = []
    try:
        for path, text in files.items():
            place = folder / path
            place.parent.mkdir(parents=True, exist_ok=True)
            if not place.exists():
                with place.open("x", encoding="utf-8") as file:
                    file.write(text.replace(_NAME, name) if path.name == _SPEC else text)
                written.append(place)
    except OSError as error:
        raise UsageError(folder_unwritable(folder, error.strerror or str(error))) from error
    color = wants_color(sys.stdout, os.environ)
    contained = template is StarterTemplate.CONTAINER
    out(files_written(str(folder / _SPEC), written, containers=contained, color=color))
    return Exit.DONE


def _files(template: Path) -> Iterator[tuple[Path, str]]:
    """The files of a template, the spec first: where each goes, and what is in it."""
    found = sorted(path for path in template.rglob("*") if path.is_file())
    for path in sorted(found, key=lambda path: path.name != _SPEC):
        if "__pycache__" not in path.parts:
            place = path.relative_to(template)
            if place.name == _IGNORE:
                place = place.with_name(".gitignore")
            yield place, path.read_text(encoding="utf-8")


def _slug(name: str) -> str:
    """A name as the names of containers allow it, and short enough for what is added to it."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40].strip("-")
