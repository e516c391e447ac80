"""Rules about results that a pattern of an upload includes: the next run would read them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from batchspec.diagnostics import SpecError, counted
from batchspec.plan.observed import Observed, Receipt
from batchspec.plan.rules.image import runs_windows
from batchspec.plan.rules.rule import QUESTION, WARNING, Finding, RuleContext, RuleGroup
from batchspec.plan.tasks import expand
from batchspec.spec import Result, Rows, Spec, Text, UploadGlob

if TYPE_CHECKING:
    from batchspec.plan.plan import Step

RESULT_INPUTS = RuleGroup(
    "Results as inputs", "Uploads that include the folder to which the results are downloaded."
)
_WILDCARDS = re.compile(r"\*+|\?|\[[^]]*\]")
_ABOVE = re.compile(r"^(?:\.{0,2}/)+")
_NAMED = 3
"""How many results a question names."""


@RESULT_INPUTS.check(
    "upload-includes-results",
    WARNING,
    title="An upload includes the folder for results",
    why="The next run would upload the downloaded results as inputs. With a task for each input, it"
    " would also run tasks for them, and each further run would run more.",
    fix="Use a folder in `results.to` that no pattern of `upload` or `packages` matches, or exclude"
    " it with `exclude`.",
    offline=True,
)
def upload_includes_results(context: RuleContext) -> Iterator[Finding]:
    """Patterns that match a result of a first task, if no downloaded result shows it."""
    spec, folder = context.spec, context.spec.path.parent
    names: list[tuple[Result, str]] = []
    for owner, entry in _entries(spec):
        names = names or [(each, name) for each in spec.results for name in _names(context, each)]
        if any(islice(_included(entry, context.observed.receipt), 1)):
            continue  # See `results_as_inputs`.
        for result, name in names:
            if entry.includes(result.to / _WILDCARDS.sub("x", name)):
                yield Finding(
                    f"the upload {entry.pattern!r} of {owner} includes results:"
                    f" {os.path.relpath(result.to / name, folder)}",
                    entry.where,
                    "The next run would upload them as inputs.",
                    _fix(entry, result.to),
                )
                break


@RESULT_INPUTS.rule(
    "results-as-inputs",
    QUESTION,
    title="Results of an earlier run would be uploaded as inputs",
    why="A pattern of `upload` or `packages` matches files that were downloaded as results of this"
    " spec. With a task for each input, the run would also run tasks for them, and each further run"
    " would run more.",
    fix="Exclude the results with `exclude`, or use another folder in `results.to`. Answer yes"
    " (`-y`) if they are the inputs of this run.",
)
def results_as_inputs(context: RuleContext, steps: Iterable[Step]) -> Iterator[Finding]:
    """Downloaded results in the uploads of the plan."""
    # `validate` has no steps.
    from batchspec.plan.actions import UploadFiles, UploadPackage  # noqa: PLC0415

    spec, folder = context.spec, context.spec.path.parent
    uploads = set[str]()
    for step in steps:
        match step.action:
            case UploadFiles(container=id_):
                uploads |= {f"container {c.key}" for c in spec.containers.values() if c.id == id_}
            case UploadPackage(package=name):
                uploads.add(f"package {name}")
    for owner, entry in _entries(spec):
        found = _included(entry, context.observed.receipt) if owner in uploads else iter(())
        names = [os.path.relpath(path, folder) for path in islice(found, _NAMED)]
        more = sum(1 for _ in found)
        if names:
            results = [result.to for result in spec.results]
            to = next((to for to in results if (folder / names[0]).is_relative_to(to)), folder)
            yield Finding(
                f"the upload {entry.pattern!r} of {owner} includes"
                f" {counted(len(names) + more, 'result')} of an earlier run",
                entry.where,
                ", ".join(names) + (f", and {more:,} more" if more else ""),
                f"{_fix(entry, to)} Answer yes (`-y`) if they are the inputs of this run.",
            )


def _entries(spec: Spec) -> Iterator[tuple[str, UploadGlob]]:
    """The patterns that could match results, each with the name of its container or package."""
    targets = [result.to for result in spec.results]
    owners = [(f"container {key}", each.upload) for key, each in spec.containers.items()]
    owners += [(f"package {name}", each.files) for name, each in spec.packages.items()]
    for owner, entries in owners:
        for entry in entries:
            base = Path(os.path.normpath(entry.root / entry.fixed))
            if any(base.is_relative_to(to) or to.is_relative_to(base) for to in targets):
                yield owner, entry


def _included(entry: UploadGlob, receipt: Receipt | None) -> Iterator[Path]:
    """The downloaded results on this disk that the entry uploads."""
    paths = receipt.paths if receipt is not None else ()
    return (path for _, path in paths if entry.includes(path))


def _fix(entry: UploadGlob, to: Path) -> str:
    base = Path(os.path.normpath(entry.root / entry.fixed))
    if to != base and to.is_relative_to(base):
        below = to.relative_to(base).as_posix()
        if entry.exclude or entry.prefix or entry.content_type:
            return f'Add "{below}/*" to its `exclude`.'
        return f'Exclude them: `{{files: "{entry.pattern}", exclude: ["{below}/*"]}}`.'
    return "Use another folder in `results.to`, or exclude the results with `exclude`."


def _names(context: RuleContext, result: Result) -> Iterator[str]:
    """Patterns of the file names of a result, relative to its folder."""
    spec = context.spec
    names = result.match or _outputs(spec, context.observed, spec.container_id(result.container))
    for name in names or ["*"]:
        yield PurePosixPath(name).name if result.flat else name


def _outputs(spec: Spec, observed: Observed, container: str) -> Sequence[str]:
    """Patterns of the blobs that the first task of each stage writes to a container."""
    names: list[str] = []
    windows = runs_windows(spec, observed)
    for stage in spec.stages:
        if isinstance(stage.for_each, Rows) and stage.name not in observed.rows:
            continue  # `validate` reads no rows if the spec has errors.
        try:
            task = next(iter(expand(spec, stage, observed, windows=windows)), None)
        except SpecError:
            continue  # Reported with the tasks of the stage.
        for file in task.body.records("outputFiles") if task is not None else ():
            target = file.record("destination", "container")
            url = target.get("containerUrl")
            if not isinstance(url, Text) or all(u.container != container for u in url.urls()):
                continue
            pattern, path = (_shown(file.get("filePattern")), _shown(target.get("path")))
            if _WILDCARDS.search(pattern):
                names.append(str(PurePosixPath(path, _ABOVE.sub("", pattern))))
            else:
                names.append(path or PurePosixPath(pattern).name)
    return names


def _shown(value: object) -> str:
    return value.shown if isinstance(value, Text) else value if isinstance(value, str) else ""
