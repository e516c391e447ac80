"""``batchspec init``: a starter spec with every file that it needs to run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from batchspec.cli.commands.schema import SCHEMA_FILE
from batchspec.cli.console import out, use_color
from batchspec.diagnostics import UsageError
from batchspec.exit_codes import Exit

_TEMPLATES = Path(__file__).parents[1] / "templates"
_SPEC = "run.yaml"
_NAME = "my-run"
"""The name in the templates; the name of the folder replaces it."""

_KEPT_IF_EXISTING = (".gitignore", SCHEMA_FILE)
_GITIGNORE = "gitignore"
"""The file has no dot in the templates, so that git does not apply it to this repository."""


class StarterTemplate(StrEnum):
    """The starter templates."""

    ONE_FILE_PER_TASK = "one-file-per-task"
    SWEEP = "sweep"
    PYTHON_PACKAGES = "python-packages"
    CONTAINER = "container"
    MAP_REDUCE = "map-reduce"


def init(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="[DIR]", help="The folder to write to; it is created if it does not exist."
        ),
    ] = Path(),
    template: Annotated[
        StarterTemplate, typer.Option("--template", help="Starter template.")
    ] = StarterTemplate.ONE_FILE_PER_TASK,
) -> int:
    """Write a starter spec that runs without changes. Existing files are not overwritten."""
    from batchspec.render import files_exist, files_written, folder_unwritable
    from batchspec.spec import schema_text

    name = _slug(folder.resolve().name) or _NAME
    files = dict(_files(_TEMPLATES / template.value.replace("-", "_")))
    files[Path(SCHEMA_FILE)] = schema_text()
    existing = [
        path for path in files if (folder / path).exists() and path.name not in _KEPT_IF_EXISTING
    ]
    if existing:
        raise UsageError(files_exist([folder / path for path in existing]))
    written: list[Path] = []
    try:
        for path, text in files.items():
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            if not file.exists():
                with file.open("x", encoding="utf-8") as stream:
                    stream.write(text.replace(_NAME, name) if path.name == _SPEC else text)
                written.append(file)
    except OSError as error:
        raise UsageError(folder_unwritable(folder, error.strerror or str(error))) from error
    containers = template is StarterTemplate.CONTAINER
    spec = str(folder / _SPEC)
    out(files_written(spec, written, containers=containers, color=use_color()))
    return Exit.DONE


def _files(template: Path) -> Iterator[tuple[Path, str]]:
    """The relative path and text of each file of a template, the spec first."""
    files = sorted(path for path in template.rglob("*") if path.is_file())
    for path in sorted(files, key=lambda path: path.name != _SPEC):
        if "__pycache__" not in path.parts:
            relative = path.relative_to(template)
            if relative.name == _GITIGNORE:
                relative = relative.with_name(".gitignore")
            yield relative, path.read_text(encoding="utf-8")


def _slug(name: str) -> str:
    """A name that containers can have, short enough for the suffixes of the templates."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40].strip("-")
