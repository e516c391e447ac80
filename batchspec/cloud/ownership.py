"""Creation and deletion of pools, jobs and job schedules exactly once, although answers get lost.

"Exists" can mean that another client created the object, that an earlier run did, or that the
request was carried out and its answer was lost. The metadata of the object decide.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from azure.core.exceptions import AzureError

from batchspec.cloud.errors import (
    ErrorResponse,
    kebab,
    to_diagnostic,
    transition_timeout,
    translate,
)
from batchspec.cloud.facts import metadata
from batchspec.cloud.pipeline import track_attempts
from batchspec.cloud.rate_limiter import Transition
from batchspec.cloud.rest import error_code, status_code
from batchspec.diagnostics import ConflictError, Diagnostic, ServiceError, Severity
from batchspec.plan import created_meanwhile
from batchspec.plan.metadata import DIGEST, SPEC, from_elsewhere
from batchspec.plan.observed import JobFacts, PoolFacts, ScheduleFacts

Found = TypeVar("Found", PoolFacts, JobFacts, ScheduleFacts)


async def create_or_adopt(
    kind: str,
    body: Mapping[str, Any],
    send: Callable[[], Awaitable[object]],
    read: Callable[[str], Awaitable[Found | None]],
    transition: Transition,
) -> bool:
    """Create an object; ``False`` if the same spec has already created the same object.

    While an object with this id is being deleted, the creation is repeated.

    Args:
        kind: ``pool``, ``job`` or ``job schedule``.
        body: the body of the request.
        send: sends the request.
        read: reads the object with an id; ``None`` if it does not exist.
        transition: bounds the wait for the deletion of an object with this id.

    Raises:
        ServiceError: the request is refused, an object of another origin has this id, or the
            object with this id is still being deleted when ``transition`` ends.
        ConflictError: another run of the same spec has created the object in the meantime.
    """
    name = _code_name(kind).lower()
    taken = {f"{name}exists", f"{name}beingdeleted"}
    while True:
        try:
            with track_attempts() as attempts:
                await send()
            return True
        except AzureError as error:
            refusal = translate(error, f"{kind} {body['id']}")
        if refusal.code.lower() not in taken:
            raise refusal from None
        existing = await read(body["id"])
        if existing is not None and existing.state != "deleting":
            _check_owner(kind, body, existing.metadata)
            return attempts.unconfirmed
        if existing is not None:
            refusal = _being_deleted(kind, body["id"])
        if not await transition.pause():
            raise transition_timeout(refusal, transition.waited) from None


async def delete_if_exists(kind: str, name: str, send: Callable[[], Awaitable[object]]) -> bool:
    """Send a deletion; ``False`` if the object does not exist."""
    try:
        with track_attempts() as attempts:
            await send()
    except AzureError as error:
        if error_code(error) == f"{_code_name(kind)}BeingDeleted":
            return True
        if status_code(error) == 404:
            return attempts.unconfirmed
        raise translate(error, f"{kind} {name}") from None
    return True


def _check_owner(kind: str, body: Mapping[str, Any], existing: Mapping[str, str]) -> None:
    """Raise unless the metadata of an existing object are those that ``body`` has."""
    requested = metadata(body)
    if requested.get(DIGEST) and all(requested.get(k) == existing.get(k) for k in (SPEC, DIGEST)):
        return
    owner = existing.get(SPEC)
    if owner == requested.get(SPEC) and from_elsewhere(existing, requested):
        problem = created_meanwhile(kind, str(body["id"]), existing)
        raise ConflictError(replace(problem, severity=Severity.ERROR))
    if owner is None:
        origin = "was not created by batchspec"
        fix = f"Use another id for the {kind} in this spec, or delete the existing {kind}"
    elif owner != requested.get(SPEC):
        origin = f"was created by spec {owner}"
        fix = f"Use another id for the {kind} in this spec"
    else:
        origin = "was created by an earlier version of this spec"
        fix = "Run `batchspec plan` to see what differs"
    code = _code_name(kind)
    problem = Diagnostic(
        f"{kebab(code)}-exists", f"{kind} {body['id']} exists and {origin}", fix=fix
    )
    raise ServiceError(problem, code=f"{code}Exists", status=409)


def _being_deleted(kind: str, name: str) -> ServiceError:
    """The error of an object that the service reports as existing although it is being deleted."""
    response = ErrorResponse(f"{_code_name(kind)}BeingDeleted", 409, "")
    return ServiceError(to_diagnostic(response, f"{kind} {name}"), code=response.code, status=409)


def _code_name(kind: str) -> str:
    """A kind as in the error codes of the service: ``JobSchedule``."""
    return kind.title().replace(" ", "")
