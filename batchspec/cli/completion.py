"""Values that shells complete: names in the spec and in the records of its runs, from the disk.

No request is sent, and nothing is written. Reading ends after :data:`_SECONDS`; the values found
until then are offered. The functions import everything themselves, because each key press starts a
process.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import typer

if TYPE_CHECKING:
    from batchspec.api.recorded_names import RecordedTask, TimeLimit
    from batchspec.spec import Outline

_SECONDS = 0.15
"""Seconds for reading records. Python and the imports need 0.25; a user waits for half a second."""
_MOST = 500
"""The maximum number of values; shells ask before they print so many."""

Found: TypeAlias = "list[tuple[str, str] | str]"

_VARIABLE = "_BATCHSPEC_COMPLETE"
"""The variable by which the scripts of the shells ask for completions."""


def is_completing(environ: Mapping[str, str]) -> bool:
    """Whether a shell has started this process for a completion, the only permitted output."""
    return environ.get(_VARIABLE, "").startswith("complete")


def complete_task(ctx: typer.Context, incomplete: str) -> Found:
    """Tasks in the records, each with its stage and state."""
    return _complete_tasks(ctx, incomplete, lambda _: True)


def complete_failed_task(ctx: typer.Context, incomplete: str) -> Found:
    """Tasks that failed last, each with its stage and cause."""
    return _complete_tasks(ctx, incomplete, lambda task: task.state == "failed")


def complete_path(ctx: typer.Context, incomplete: str) -> Found:
    """Containers of the spec, and tasks in the records."""
    names = list(_outline(ctx).containers)
    return [*_offered(names, incomplete, ctx), *complete_task(ctx, incomplete)]


def complete_cause(ctx: typer.Context, incomplete: str) -> Found:
    """Causes of failures in the records."""
    from batchspec.api.recorded_names import recorded_causes

    folders, limit = _records(ctx)
    found = (cause for runs in folders for cause in recorded_causes(runs, limit))
    return _offered(found, incomplete, ctx)


def complete_node(ctx: typer.Context, incomplete: str) -> Found:
    """Nodes in the records."""
    from batchspec.api.recorded_names import recorded_nodes

    folders, limit = _records(ctx)
    found = (node for runs in folders for node in recorded_nodes(runs, limit))
    return _offered(found, incomplete, ctx)


def complete_run(ctx: typer.Context, incomplete: str) -> Found:
    """Recorded runs, each with its outcome."""
    from batchspec.api.recorded_names import recorded_outcomes

    found: Iterator[tuple[str, str]] = (
        row for runs in _records(ctx)[0] for row in recorded_outcomes(runs)
    )
    return _offered(found, incomplete, ctx)


def complete_step(ctx: typer.Context, incomplete: str) -> Found:
    """Steps of the last recorded run, and the submission of each stage."""
    from batchspec.api.recorded_names import recorded_steps

    stages = [f"tasks:{stage}" for stage in _outline(ctx).stages]
    folders, limit = _records(ctx)
    steps = (step for runs in folders for step in recorded_steps(runs, limit))
    return _offered([*stages, *steps], incomplete, ctx)


def complete_variable(ctx: typer.Context, incomplete: str) -> Found:
    """Parameters of the spec, as ``NAME=``."""
    return _offered([f"{name}=" for name in _outline(ctx).parameters], incomplete, ctx)


def complete_pool(ctx: typer.Context, incomplete: str) -> Found:
    """Pools in the records of the specs in the current folder."""
    return _complete_ids(ctx, incomplete, "nodes")


def complete_job(ctx: typer.Context, incomplete: str) -> Found:
    """Jobs in the records of the specs in the current folder."""
    return _complete_ids(ctx, incomplete, "tasks")


def _complete_ids(ctx: typer.Context, incomplete: str, kind: str) -> Found:
    from batchspec.api.recorded_names import recorded_ids, recorded_specs, runs_folder

    here = Path("spec.yaml")
    names = recorded_specs(here.parent)
    found = [name for spec in names for name in recorded_ids(runs_folder(here, spec), kind)]
    return _offered(found, incomplete, ctx)


def _complete_tasks(
    ctx: typer.Context, incomplete: str, accepts: Callable[[RecordedTask], bool]
) -> Found:
    from batchspec.api.recorded_names import recorded_tasks

    folders, limit = _records(ctx)
    known: set[str] = set()

    def described() -> Iterator[tuple[str, str]]:
        for runs in folders:
            for task in recorded_tasks(runs, limit, incomplete):
                # The newest state of a task comes first.
                if task.id not in known:
                    known.add(task.id)
                    if accepts(task):
                        result = task.cause or task.state
                        yield task.id, f"{task.stage} {result}" if task.stage else result

    return _offered(described(), incomplete, ctx)


def _offered(found: Iterable[tuple[str, str] | str], incomplete: str, ctx: typer.Context) -> Found:
    """The values for a shell: each value once, without the values on the command line."""
    given = {str(value) for values in ctx.params.values() for value in _values(values)}
    offered: dict[str, tuple[str, str] | str] = {}
    for each in found:
        name = each if isinstance(each, str) else each[0]
        if name and name.startswith(incomplete) and _shown(name) == name and name not in given:
            offered.setdefault(name, each if isinstance(each, str) else (name, _shown(each[1])))
        if len(offered) == _MOST:
            break
    return list(offered.values())


def _shown(text: str) -> str:
    """A text from the disk in a safe form for shells; another client may have written it.

    The script for zsh evaluates the text, and typer 0.29 quotes `$` but not a backslash before it.
    """
    return "".join(each if each.isprintable() and each != "\\" else " " for each in text)


def _values(values: Any) -> Iterable[Any]:
    return values if isinstance(values, list | tuple) else (values,)


def _spec(ctx: typer.Context) -> Path | None:
    """The path of the spec on the command line, which the shell has not expanded."""
    given = ctx.params.get("spec")
    return Path(os.path.expandvars(str(given))).expanduser() if given else None


def _outline(ctx: typer.Context) -> Outline:
    from batchspec.spec import Outline, read_outline

    spec = _spec(ctx)
    return read_outline(spec) if spec is not None else Outline()


def _records(ctx: typer.Context) -> tuple[list[Path], TimeLimit]:
    """The folder with the records of the spec, and the time limit for reading them.

    Without the name of the spec, it contains the records of all specs in the folder.
    """
    from batchspec.api.recorded_names import TimeLimit, recorded_specs, runs_folder

    folders = []
    spec = _spec(ctx)
    if spec is not None:
        name = _outline(ctx).name
        names = [name] if name else recorded_specs(spec.parent)
        folders = [runs_folder(spec, name) for name in names]
    return folders, TimeLimit(time.monotonic, time.monotonic() + _SECONDS)
