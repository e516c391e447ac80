"""Rows: the start time of a command, compared with the imports that it needs."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from measuring import Contender, Figure, Row, Setting
from peers import BATCHSPEC, FLOORS

ROOT = Path(__file__).parents[1]
PARTS = ("typer", "yaml", "jsonschema", "jinja2")
SDKS = ("azure.batch.aio", "azure.storage.blob.aio", "aiohttp")


def _with_imports(command: Sequence[str], modules: Sequence[str]) -> Contender:
    """The command after the import of modules that it does not use otherwise."""
    program = f"import {', '.join(modules)}\nfrom batchspec.cli.main import main\nmain()"
    name = f"batchspec with the imports of {' and '.join(modules)}"
    return Contender(name, [sys.executable, "-c", program, *command])


def _row(command: Sequence[str], modules: Sequence[str], unused: Sequence[str] = ()) -> Row:
    @contextmanager
    def contenders(setting: Setting) -> Iterator[Sequence[Contender]]:
        # A copy, because a command writes beside its spec.
        for name in ("specs", "task_app"):
            shutil.copytree(ROOT / name, setting.folder / name)
        if "plan" in command:
            setting.run([*BATCHSPEC, "local", "start"])
        yield (
            Contender("batchspec", [*BATCHSPEC, *command]),
            Contender(f"import of {', '.join(modules)}", [*FLOORS, "imports", *modules], 1.25),
            *([_with_imports(command, unused)] if unused else []),
        )

    name = f"start-{command[0].strip('-')}"
    title = f"start: `{' '.join(command)}`"
    return Row(name, title, "", contenders, Figure.PROCESSOR, rounds=9)


def rows(*, quick: bool) -> tuple[Row, ...]:
    """The rows of this module; quick or not, they are the same."""
    del quick
    return (
        _row(["--help"], ["typer"]),
        _row(["validate", "specs/topn.yaml"], PARTS, ("jsonschema", "jinja2")),
        _row(["plan", "specs/topn.yaml"], [*PARTS, *SDKS]),
    )
