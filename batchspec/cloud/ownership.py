"""Making and deleting pools, jobs and schedules, exactly once, whatever comes of an answer.

Ambiguous answers are settled by reading back.

"Exists" may come because somebody else made it, because an earlier run did, or because our own
request was carried out and its answer lost. The metadata tell them apart.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from azure.core.exceptions import AzureError

from batchspec.cloud.errors import kebab, translate
from batchspec.cloud.facts import metadata
from batchspec.cloud.pipeline import watched
from batchspec.cloud.session import Session
from batchspec.cloud.wire import code_of, status_of
from batchspec.diagnostics import ConflictError, Diagnostic, ServiceError, Severity
from batchspec.plan.metadata import from_elsewhere
from batchspec.plan.observed import JobFacts, PoolFacts, ScheduleFacts
from batchspec.plan.rules.run import created_meanwhile

SPEC = "batchspec:spec"
DIGEST = "batchspec:digest"

Found = TypeVar("Found", PoolFacts, JobFacts, ScheduleFacts)


async def make(
    kind: str,
    wire: Mapping[str, Any],
    send: Callable[[], Awaitable[object]],
    read: Callable[[str], Awaitable[Found | None]],
    session: Session,
) -> bool:
    """Send a creation; ``False`` if what ``wire`` asks for was there before.

    One of that id that is being deleted is waited out: with a pool's nodes that takes minutes.

    Raises:
        ServiceError: refused, or another one of that id is there.
        ConflictError: another run of the same spec has created it since the plan was made.
    """
    taken = {f"{_code(kind)}exists", f"{_code(kind)}beingdeleted"}
    began, tries = session.timing.monotonic(), 0
    while True:
        try:
            with watched() as attempts:
                await send()
            return True
        except AzureError as error:
            refusal = translate(error, f"{kind} {wire['id']}")
        if refusal.code.lower() not in taken:
            raise refusal from None
        found = await read(wire["id"])
        if found is not None and found.state != "deleting":
            _settle(kind, wire, found.metadata)
            return attempts.lost
        if session.timing.monotonic() - began > session.limits.settle:
            raise refusal from None
        tries += 1
        await session.timing.sleep(min(2.0**tries, 15.0))


async def remove(kind: str, name: str, send: Callable[[], Awaitable[object]]) -> bool:
    """Send a deletion; ``False`` if there was nothing to delete."""
    try:
        with watched() as attempts:
            await send()
    except AzureError as error:
        if code_of(error).lower() == f"{_code(kind)}beingdeleted":
            return True
        if status_of(error) == 404:
            return attempts.lost
        raise translate(error, f"{kind} {name}") from None
    return True


def _settle(kind: str, wire: Mapping[str, Any], found: Mapping[str, str]) -> None:
    wanted = metadata(wire)
    if wanted.get(DIGEST) and all(wanted.get(key) == found.get(key) for key in (SPEC, DIGEST)):
        return
    owner = found.get(SPEC)
    if owner == wanted.get(SPEC) and from_elsewhere(found, wanted):
        problem = created_meanwhile(kind, str(wire["id"]), found)
        raise ConflictError(replace(problem, severity=Severity.ERROR))
    if owner is None:
        whose = "and batchspec did not make it"
        fix = f"give the {kind} of this spec another id, or delete the one that is there"
    elif owner != wanted.get(SPEC):
        whose = f"made by the spec {owner}"
        fix = f"give the {kind} of this spec another id"
    else:
        whose = "made by this spec when it said something else"
        fix = "run `batchspec plan` to see what differs"
    code = kind.title().replace(" ", "")
    problem = Diagnostic(
        f"{kebab(code)}-exists", f"{kind} {wire['id']} is there already, {whose}", fix=fix
    )
    raise ServiceError(problem, code=f"{code}Exists", status=409)


def _code(kind: str) -> str:
    """How the service's error codes begin that are about a thing of that kind."""
    return kind.replace(" ", "")
