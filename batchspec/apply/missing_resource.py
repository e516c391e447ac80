"""Explains errors about resources that another client deleted or ended during the run."""

from __future__ import annotations

from dataclasses import replace

from batchspec.apply.ports import World
from batchspec.diagnostics import Diagnostic, JobEndedError, ServiceError

CONTAINER_MISSING = frozenset({"ContainerNotFound", "ContainerBeingDeleted", "ResourceNotFound"})
"""The codes with which Storage answers that a container does not exist."""

_MISSING = CONTAINER_MISSING | {
    *("PoolNotFound", "PoolBeingDeleted"),
    *("JobNotFound", "JobBeingDeleted"),
    *("JobScheduleNotFound", "JobScheduleBeingDeleted"),
}
_FIX = (
    "If another apply of this spec ran at the same time, it may have ended first and cleaned up."
    " `batchspec plan` shows what is left to do."
)


def explained(error: ServiceError) -> ServiceError:
    """The error, with the likely cause if it says that a resource does not exist."""
    if error.code not in _MISSING:
        return error
    first, *rest = error.problems
    explained_error = ServiceError(replace(first, fix=_FIX), code=error.code, status=error.status)
    explained_error.problems = (*explained_error.problems, *rest)
    return explained_error


_JOB_ENDED = frozenset({"JobCompleted", "JobBeingTerminated"})


async def why_refused(error: ServiceError, job: str, world: World) -> ServiceError:
    """The refusal of tasks; with the terminate reason of the job if the job has ended."""
    facts = await world.account.jobs.get(job) if error.code in _JOB_ENDED else None
    if facts is None:
        return error
    problem = Diagnostic(
        "job-ended",
        f"the job {job!r} ended before all its tasks were submitted: "
        f"{facts.terminate_reason or 'the service gives no reason'}",
        fix="`batchspec apply` runs the rest.",
    )
    return JobEndedError(problem, code=error.code, status=error.status)


def container_missing(container: str) -> ServiceError:
    """The results cannot be downloaded: their container does not exist any more."""
    problem = Diagnostic(
        "container-gone",
        f"the container {container!r} was deleted before its results were downloaded",
        detail="The client that deleted it may have downloaded them.",
    )
    return ServiceError(problem, code="ContainerNotFound")


def job_missing(job: str) -> ServiceError:
    """The job that the run waits for does not exist any more."""
    problem = Diagnostic("job-gone", f"the job {job!r} was deleted while it ran")
    return ServiceError(problem, code="JobNotFound")
