"""Whether pool and job fit into a request, and what nodes start with into a command line."""

from __future__ import annotations

from collections.abc import Iterator

from batchspec.diagnostics import Diagnostic, Place
from batchspec.plan.pool_body import runs_windows
from batchspec.plan.rules.catalogue import finding
from batchspec.plan.rules.context import RuleContext, record
from batchspec.plan.rules.request_size import PROGRAM_LINE, REQUEST, SH_ARGUMENT, size_of

_MANAGER = ("job_manager_task",)
_PREPARE = ("prepare", "job_preparation_task")
_RELEASE = ("release", "job_release_task")


def requests(scene: RuleContext) -> Iterator[Diagnostic]:
    """What is too long of a pool and a job; each task is looked at on its own."""
    job = scene.spec.job.properties
    for what, body, where in (
        ("the pool", scene.body, scene.spec.pool.where),
        ("the job", job, scene.spec.job.where),
    ):
        size = size_of(body)
        if size > REQUEST:
            yield finding(
                "request-too-large",
                f"{what} would be a request of {size:,} bytes; at most {REQUEST:,} go",
                where=where,
            )
    start = record(scene.body.get("startTask")).get("commandLine")
    yield from _command(scene, "the start task", size_of(start), scene.at_pool("start_task"))
    for key, what, names in (
        ("jobManagerTask", "the job manager task", _MANAGER),
        ("jobPreparationTask", "the preparation task", _PREPARE),
        ("jobReleaseTask", "the release task", _RELEASE),
    ):
        line = record(job.get(key)).get("commandLine")
        yield from _command(scene, what, size_of(line), scene.at_job(*names))


def _command(scene: RuleContext, what: str, length: int, where: Place) -> Iterator[Diagnostic]:
    windows = runs_windows(scene.spec, scene.observed)
    longest = PROGRAM_LINE if windows else SH_ARGUMENT
    if length > longest:
        yield finding(
            "command-too-long",
            f"the command of {what} has {length:,} characters; at most {longest:,} go",
            where=where,
        )
