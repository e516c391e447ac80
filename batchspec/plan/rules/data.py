"""Rules about containers, the files uploaded to them, outputs of tasks, and results."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import chain, takewhile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from batchspec.diagnostics import Diagnostic, SpecError, counted
from batchspec.plan.lazy import duplicates
from batchspec.plan.metadata import OWNER, others
from batchspec.plan.observed import Observed
from batchspec.plan.receipt import PROTECTED, source_files
from batchspec.plan.rules.rule import (
    ERROR,
    WARNING,
    Finding,
    RuleContext,
    RuleGroup,
)
from batchspec.plan.tasks import Task, expand
from batchspec.spec import Result, Spec, Stage, Text, Value

if TYPE_CHECKING:
    from batchspec.plan.outputs import MissingOutput
    from batchspec.plan.plan import Step

OUTPUT_MISSING = "output-missing"
"""The code of the warning that an output of a run did not arrive."""

DATA = RuleGroup("Data", "Containers, the files that are uploaded to them, outputs and results.")

DATA.describe(
    "no-match",
    ERROR,
    "A pattern in `upload` matches no files",
    "A run without its input has nothing to do; usually the pattern is misspelled.",
    "Fix the pattern. It is relative to the spec, `**` is recursive, and hidden files must be"
    " named.",
)
DATA.describe(
    "missing-file",
    ERROR,
    "A file named in `upload` does not exist",
    "A name without a wildcard must exist.",
    "Fix the path. It is relative to the spec.",
)
DATA.describe(
    "not-a-file",
    ERROR,
    "An entry to upload is not a regular file",
    "Sockets, devices and pipes have no content to compare.",
    "Exclude it with `exclude`, or use a narrower pattern.",
)
DATA.describe(
    "unreadable-file",
    ERROR,
    "A file or folder cannot be read",
    "It would be missing on the nodes.",
    "Allow reading it, or exclude it with `exclude`.",
)
DATA.describe(
    "bad-blob-name",
    ERROR,
    "The name of a file is not a valid blob name",
    "A blob name has up to 1,024 Unicode characters. A control character in a name makes the whole"
    " container impossible to list.",
    "Rename the file, set another `path`, or exclude it with `exclude`.",
)
DATA.describe(
    "same-blob-name",
    ERROR,
    "Two files have the same blob name",
    "One of them would be lost.",
    "Give one of the entries a `path` (a prefix in the container), or exclude one file.",
)


@DATA.rule(
    "missing-container",
    ERROR,
    title="A container marked `existing` does not exist",
    why="Containers marked `existing` are never created.",
    fix="Create the container, use another, or remove `existing`.",
)
def missing_container(spec: Spec, observed: Observed) -> Iterator[Finding]:
    """Containers marked ``existing`` that the account does not have."""
    for key, container in spec.containers.items():
        if container.existing and not observed.containers[key].exists:
            yield Finding(
                f"the container {container.id!r} is marked `existing`, but does not exist",
                container.where,
            )


@DATA.check(
    "archived-blobs",
    WARNING,
    title="A container of the spec has blobs in the access tier Archive",
    why="Such blobs can neither be read nor replaced, by nodes or by batchspec: tasks that need"
    " them fail, and so do uploads and downloads with their names. Usually a lifecycle rule of the"
    " Storage account has moved them.",
    fix="Move the blobs to another tier, which takes up to 15 hours (`az storage blob set-tier"
    " --tier Hot`), or delete them. Exclude the container from the lifecycle rule.",
)
def archived_blobs(context: RuleContext) -> Iterator[Finding]:
    """Containers with archived blobs."""
    for key, container in context.spec.containers.items():
        facts = context.observed.containers[key]
        if facts.archived:
            others = f" and {facts.archived - 1:,} more" if facts.archived > 1 else ""
            yield Finding(
                f"the container {container.id!r} has archived blobs:"
                f" {facts.first_archived}{others}",
                container.where,
            )


@DATA.check(
    "shared-container",
    WARNING,
    title="Other specs use a container of this spec",
    why="One spec may overwrite blobs of another, and `results` downloads the blobs of all of them."
    " Neither clean-up nor `destroy` deletes a container that another spec uses. The container's"
    " metadata `batchspec_users` lists the specs.",
    fix="Give the container another `id`, or add `match` to `results` and a separate `path` to each"
    " output.",
)
def shared_container(context: RuleContext) -> Iterator[Finding]:
    """Containers whose metadata records other users than this spec."""
    spec = context.spec
    downloaded = {result.container for result in spec.results}
    for key, container in spec.containers.items():
        metadata = context.observed.containers[key].metadata
        names = others(metadata or {}, spec.name)
        if not names:
            continue
        specs = "the spec" if len(names) == 1 else "the specs"
        detail = "Clean-up and `batchspec destroy` keep it."
        if key in downloaded:
            detail = f"The results may include blobs of other specs. {detail}"
        yield Finding(
            f"the container {container.id!r} is also used by {specs} {', '.join(names)}",
            container.where,
            detail,
        )


@DATA.check(
    "unmanaged-container",
    WARNING,
    title="A container exists that batchspec did not create",
    why="Uploads and tasks can replace blobs of the client that created the container, and"
    " `results` downloads only blobs that tasks of this spec wrote. Neither clean-up nor `destroy`"
    " deletes the container.",
    fix="Write `existing: true` to use the container, or give it another `id`.",
)
def unmanaged_container(context: RuleContext) -> Iterator[Finding]:
    """Containers that exist without the metadata of batchspec, and are not marked `existing`."""
    for key, container in context.spec.containers.items():
        metadata = context.observed.containers[key].metadata
        if metadata is not None and not container.existing and OWNER not in metadata:
            yield Finding(
                f"the container {container.id!r} was not created by batchspec",
                container.where,
                "Tasks and uploads can replace its blobs. Clean-up and `destroy` keep it.",
            )


@DATA.check(
    "results-protected",
    ERROR,
    title="Results would be written to `.git` or `.batchspec`, or replace a file of the spec",
    why="A file in `.git` could run a program on this machine, and tasks could change the spec and"
    " the files that it reads or uploads.",
    fix="Use a separate folder in `results.to`.",
    offline=True,
)
def results_protected(context: RuleContext) -> Iterator[Finding]:
    """Folders of results that are protected, and outputs with the name of a file of the spec."""
    spec, sources = context.spec, source_files(context.spec, context.observed)
    targets: dict[Path, tuple[Result, str]] = {}
    for result in spec.results:
        protected = [part.lower() for part in result.to.parts if part.lower() in PROTECTED]
        if protected:
            where = f"the folder for results {result.to.name}/ is in `{protected[0]}`"
            yield Finding(where, result.where)
        elif result.to in sources.named:
            yield Finding(f"`results.to` is a file of the spec: {result.to.name}", result.where)
        else:
            for stage in spec.stages:
                for blob in _written(spec, stage, result):
                    what = f"the output {blob!r} of tasks of {stage.name}"
                    targets[result.to / blob] = (result, what)
    for source in sources if targets else ():
        if (found := targets.pop(source, None)) is not None:
            result, what = found
            name = os.path.relpath(source, spec.path.parent)
            yield Finding(f"{what} would replace a file of the spec, {name}", result.where)


def _written(spec: Spec, stage: Stage, result: Result) -> Iterator[str]:
    """The file names, relative to the folder of a result, of outputs that all tasks share."""
    for file in stage.body.records("outputFiles"):
        container = file.record("destination", "container")
        pattern, path, url = (
            file.get("filePattern"),
            container.get("path"),
            container.get("containerUrl"),
        )
        urls = list(url.urls()) if isinstance(url, Text) else []
        if not any(each.container == spec.container_id(result.container) for each in urls):
            continue
        if isinstance(pattern, str) and _is_name(pattern) and isinstance(path, str | None):
            blob = path or PurePosixPath(pattern).name
            if not result.match or any(fnmatchcase(blob, glob) for glob in result.match):
                yield PurePosixPath(blob).name if result.flat else blob


# --- outputs -----------------------------------------------------------------------------------

_WILDCARD = re.compile(r"[*?\[]")


@DATA.rule(
    "same-output",
    ERROR,
    title="Several tasks write the same blob",
    why="Each task overwrites the blob, so only one result remains.",
    fix="Add `{{ task.id }}/` to the `path` of the output.",
)
def same_output(stage: Stage, other: Stage | None = None) -> Iterator[Finding]:
    """Tasks of a stage, or of two, write the same blob (see :func:`same_outputs`)."""
    stages = f"tasks of {other.name} and {stage.name}" if other else f"tasks of {stage.name}"
    yield Finding(f"{stages} write the same blob and overwrite each other's output", stage.where)


def same_outputs(
    spec: Spec, stage: Stage, observed: Observed, *, windows: bool
) -> Iterator[Diagnostic]:
    """Violations of :data:`same_output` by tasks of a stage, alone or with an earlier stage.

    Only outputs without wildcards are compared. A stage that needs the other may overwrite its
    outputs.

    Raises:
        SpecError: an item of the stage makes no task.
    """
    if not _names_blobs(stage):
        return
    tasks = expand(spec, stage, observed, windows=windows)
    if next(duplicates(_outputs(tasks)), None) is not None:
        yield from same_output(stage)
        return
    for other in takewhile(lambda other: other.name != stage.name, spec.stages):
        if not _names_blobs(other) or _needs(spec, stage, other) or _needs(spec, other, stage):
            continue
        first = _Counted(_outputs(expand(spec, other, observed, windows=windows)))
        both = duplicates(chain(first, _outputs(tasks)))
        try:
            crossing = any(one < first.number <= two for one, two in both)
        except SpecError:
            continue  # Reported with the tasks of that stage.
        if crossing:
            yield from same_output(stage, other)


@dataclass(slots=True)
class _Counted:
    """An iterable that counts its members while they are read."""

    source: Iterable[str]
    number: int = 0

    def __iter__(self) -> Iterator[str]:
        for key in self.source:
            self.number += 1
            yield key


def _needs(spec: Spec, stage: Stage, other: Stage) -> bool:
    """Whether a stage needs another, directly or indirectly."""
    needs = {each.name: each.needs for each in spec.stages}
    seen: set[str] = set()
    pending = [stage.name]
    while pending:
        for name in needs[pending.pop()]:
            if name not in seen:
                seen.add(name)
                pending.append(name)
    return other.name in seen


def _names_blobs(stage: Stage) -> bool:
    """Whether outputs of the stage name single blobs, which several tasks could write."""
    return any(_is_name(file.get("filePattern")) for file in stage.body.records("outputFiles"))


def _is_name(pattern: Value) -> bool:
    """Whether a pattern has no wildcard: the path of its output is then the blob's name."""
    return isinstance(pattern, str) and not _WILDCARD.search(pattern)


def _outputs(tasks: Iterable[Task]) -> Iterator[str]:
    """Each blob that outputs of the tasks name."""
    for task in tasks:
        for file in task.body.records("outputFiles"):
            container = file.record("destination", "container")
            pattern = file.get("filePattern")
            if not container or not _is_name(pattern):
                continue
            path = container.get("path") or PurePosixPath(str(pattern)).name
            yield f"{_identity(container.get('containerUrl'))}\0{_identity(path)}"


def _identity(value: Value) -> str:
    return value.identity() if isinstance(value, Text) else repr(value)


@DATA.rule(
    OUTPUT_MISSING,
    WARNING,
    title="An output of tasks is missing in its container",
    why="The tasks did not write the file in their working directory, or wrote another name. For an"
    " output with `required: true`, this is an error: the run fails.",
    fix="Outputs are uploaded from the task's working directory. `batchspec logs` shows what a"
    " task wrote; after a correction, `batchspec apply --rerun` runs all tasks again. With"
    " `required: true`, `batchspec apply` runs only the tasks without the output again.",
)
def output_missing(outputs: Iterable[MissingOutput], spec: Spec | None = None) -> Iterator[Finding]:
    """Outputs that are missing after their tasks have succeeded; with positions in ``spec``."""
    for output in outputs:
        expected = output.first
        what = "no file matched" if expected.wild else "not uploaded"
        tasks = f"{output.missing:,} of {counted(output.tasks, 'task')}"
        more = "" if output.missing <= len(output.names) else ", ..."
        # Tasks without a required output are not done; other tasks run again only with an option.
        again = "`batchspec apply` runs the tasks again."
        if not expected.required:
            again = "`batchspec apply --rerun` runs all tasks again. With `required: true` at this"
            again += " output, `batchspec apply` runs only the tasks without it again."
        yield Finding(
            f"output {expected.pattern!r} of stage {expected.stage}: {what} for {tasks}",
            spec.place(f"tasks.{expected.stage}.outputs") if spec is not None else None,
            f"Missing in container {expected.container}: {', '.join(output.names)}{more}",
            "Outputs are uploaded from the task's working directory. `batchspec logs` shows what a"
            f" task wrote; after a correction, {again}",
        )


@DATA.rule(
    "results-unwritable",
    ERROR,
    title="The folder for results is not writable",
    why="The download would fail after all tasks have run. A receipt of the download is stored in"
    " `.batchspec/`, in the folder of the spec.",
    fix="Use another folder in `results.to`, or make this one writable.",
)
def results_unwritable(context: RuleContext, steps: Sequence[Step]) -> Iterator[Finding]:
    """Folders of results or of the receipt in which no file can be created."""
    results = context.spec.results
    places = {result.to: result.where for result in reversed(results)}
    for folder, why in context.observed.unwritable.items() if _downloads(steps) else ():
        if folder in places:
            summary, fix = f"results cannot be written to {os.fspath(folder)}: {why}", ""
        else:
            summary = (
                f"the list of downloaded results cannot be written to {os.fspath(folder)}: {why}"
            )
            fix = "Make the folder of the spec and its `.batchspec` writable, or copy the spec to"
            fix += " another folder."
        yield Finding(summary, places.get(folder, results[0].where), fix=fix)


@DATA.rule(
    "results-folder-used",
    WARNING,
    title="The folder for results contains other files",
    why="With `overwrite` (the default) a result replaces a file with the same name; without it,"
    " the file remains and the result is not downloaded.",
    fix="Use a separate folder in `results.to`.",
)
def results_folder_used(context: RuleContext, steps: Sequence[Step]) -> Iterator[Finding]:
    """Folders of results that contain files that an earlier download did not write."""
    downloads = _downloads(steps)
    for result in context.spec.results:
        container = context.spec.container_id(result.container)
        if result.to in context.observed.occupied and container in downloads:
            effect = "may be overwritten" if result.overwrite else "are kept"
            owner = context.observed.occupied[result.to]
            files = f"results of spec {owner}" if owner else "other files"
            yield Finding(
                f"the folder for results {result.to.name}/ contains {files}, which {effect}",
                result.where,
            )


@DATA.rule(
    "result-edited",
    WARNING,
    title="A result was edited after it was downloaded",
    why="The file differs from the result that was downloaded, so the result counts as missing. It"
    " is downloaded again and, with `overwrite` (the default), replaces the edited file.",
    fix="Keep edited files in another folder, or with other names.",
)
def result_edited(context: RuleContext, steps: Sequence[Step]) -> Iterator[Finding]:
    """Files of an earlier download that were changed on the disk, if the plan downloads results."""
    receipt = context.observed.receipt
    if receipt is None or not receipt.edited or not _downloads(steps):
        return
    folder = context.spec.path.parent
    names = [os.path.relpath(path, folder) for path in receipt.first_edited]
    more = receipt.edited - len(names)
    number = counted(receipt.edited, "result was", "results were")
    how = f"replaced by spec {receipt.edited_by}" if receipt.edited_by else "edited"
    replaced = any(result.overwrite for result in context.spec.results)
    yield Finding(
        f"{number} {how} after the download and"
        f" {'will be replaced' if replaced else 'will not be replaced'}",
        context.spec.results[0].where if context.spec.results else None,
        ", ".join(names) + (f", and {more:,} more" if more else ""),
    )


def _downloads(steps: Sequence[Step]) -> frozenset[str]:
    """The containers (ids) that the plan downloads from."""
    # `validate` has no steps.
    from batchspec.plan.actions import DownloadResults  # noqa: PLC0415

    actions = (step.action for step in steps)
    return frozenset(each.container for each in actions if isinstance(each, DownloadResults))
