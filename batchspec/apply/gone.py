"""What somebody took away while a run went on: said as what it most likely is.

What a plan rests on was there when it was made. Whoever deletes it meanwhile is a person, or
another apply of the same spec that has ended and cleaned up.
"""

from __future__ import annotations

from dataclasses import replace

from batchspec.problems import Problem, ServiceError

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
    said = ServiceError(replace(first, hint=_HINT), code=error.code, status=error.status)
    said.problems = (*said.problems, *rest)
    return said


def container_gone(container: str) -> ServiceError:
    """The results cannot be fetched: their container is not there any more."""
    problem = Problem(
        "container-gone",
        f"the container {container!r} was deleted before its results were here",
        detail="Whoever deleted it may have fetched them.",
    )
    return ServiceError(problem, code="ContainerNotFound")


def job_gone(job: str) -> ServiceError:
    """The job that is waited for is not there any more."""
    problem = Problem("job-gone", f"the job {job!r} was deleted while it ran")
    return ServiceError(problem, code="JobNotFound")
