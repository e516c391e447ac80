"""What somebody took away while a run went on: said as what it most likely is.

What a plan rests on was there when it was made. Whoever deletes it meanwhile is a person, or
another apply of the same spec that has ended and cleaned up.
"""

from __future__ import annotations

from dataclasses import replace

from batchspec.apply.ports import World
from batchspec.diagnostics import Diagnostic, JobEndedError, ServiceError

ABSENT = frozenset({"ContainerNotFound", "ContainerBeingDeleted", "ResourceNotFound"})
"""The codes by which Storage says that a container is not there."""

_TAKEN = ABSENT | {
    *("PoolNotFound", "PoolBeingDeleted"),
    *("JobNotFound", "JobBeingDeleted"),
    *("JobScheduleNotFound", "JobScheduleBeingDeleted"),
}
_HINT = (
    "If another apply of this spec went on at the same time, it may have ended first and cleaned up"
    " after itself. `batchspec plan` says what is left to do."
)


def explained(error: ServiceError) -> ServiceError:
    """The error, with a word on who may have done it if it says that something is gone."""
    if error.code not in _TAKEN:
        return error
    first, *rest = error.problems
    said = ServiceError(replace(first, fix=_HINT), code=error.code, status=error.status)
    said.problems = (*said.problems, *rest)
    return said


_JOB_ENDED = frozenset({"JobCompleted", "JobBeingTerminated"})


async def why_refused(error: ServiceError, job: str, world: World) -> ServiceError:
    """The refusal of tasks, with the reason of its end if the job has ended."""
    facts = await world.batch.job(job) if error.code in _JOB_ENDED else None
    if facts is None:
        return error
    problem = Diagnostic(
        "job-ended",
        f"the job {job!r} ended before all its tasks were submitted: "
        f"{facts.terminate_reason or 'the service gives no reason'}",
        fix="Apply again to run the rest.",
    )
    return JobEndedError(problem, code=error.code, status=error.status)


def container_gone(container: str) -> ServiceError:
    """The results cannot be fetched: their container is not there any more."""
    problem = Diagnostic(
        "container-gone",
        f"the container {container!r} was deleted before its results were here",
        detail="Whoever deleted it may have fetched them.",
    )
    return ServiceError(problem, code="ContainerNotFound")


def job_gone(job: str) -> ServiceError:
    """The job that is waited for is not there any more."""
    problem = Diagnostic("job-gone", f"the job {job!r} was deleted while it ran")
    return ServiceError(problem, code="JobNotFound")
