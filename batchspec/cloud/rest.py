"""Requests to the Batch service and its responses as JSON, without the models of the SDK.

Bodies are plain dictionaries. Lists are read page by page through the pipeline of the SDK, but not
into its models: a task costs 70 µs as a model and 4 µs as JSON.

Pools, jobs and job schedules are created and deleted exactly once, even if responses are lost.
"Exists" can mean that another client or an earlier run created the object, or that the request was
carried out and its response was lost. The metadata of the object decide.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import quote, urlencode, urlsplit

from azure.core.exceptions import AzureError, HttpResponseError
from azure.core.rest import HttpRequest

from batchspec.account import FilePart, NodeFile
from batchspec.cloud.account import API_VERSION
from batchspec.cloud.errors import (
    ErrorResponse,
    error_response,
    kebab,
    to_diagnostic,
    transition_timeout,
    translate,
)
from batchspec.cloud.facts import Json, metadata, node_file
from batchspec.cloud.pipeline import track_attempts
from batchspec.cloud.sas import SasSigner
from batchspec.cloud.timing import Limits, RateLimiter, ServiceTime, Timing, Transition
from batchspec.diagnostics import ConflictError, Diagnostic, ServiceError, Severity, redact
from batchspec.frozen import frozen
from batchspec.plan import created_meanwhile
from batchspec.plan.metadata import DIGEST, SPEC, from_elsewhere
from batchspec.plan.observed import JobFacts, PoolFacts, ScheduleFacts
from batchspec.spec import Record, json_texts, thaw

if TYPE_CHECKING:
    from azure.batch.aio import BatchClient
    from azure.batch.models import BatchFileProperties
    from azure.mgmt.batch.aio import BatchManagementClient


PAGE = 1000
"""The longest page of most lists (``maxresults`` in the REST reference)."""
_BEFORE = 8192
"""How many bytes before the requested ones are read, for signatures of less than 1,000 bytes."""


@frozen
class BatchConnection:
    """An open Batch account: its client, its signer, its limits, and the time at the service."""

    client: BatchClient
    signer: SasSigner
    limiter: RateLimiter
    limits: Limits
    timing: Timing
    time: ServiceTime

    async def request_body(self, record: Record, sas: timedelta) -> dict[str, Any]:
        """The JSON of a request; its blob URLs are signed for ``sas``, or not at all if it is 0."""
        signer = await self.signer.for_lifetime(sas) if sas else self.signer.unsigned
        return cast(dict[str, Any], thaw(record, lambda text: text.resolve(signer)))

    async def request_texts(self, records: Sequence[Record], sas: timedelta) -> list[str]:
        """The JSON texts of :meth:`request_body`."""
        signer = await self.signer.for_lifetime(sas) if sas else self.signer.unsigned
        return json_texts(records, lambda text: text.resolve(signer))

    def transition(self) -> Transition:
        """A new bounded wait for an object whose state refuses a request."""
        return Transition(self.limits, self.timing)


def json_of(response: Any, _model: object, _headers: object) -> Json:
    """The JSON of a response: for the ``cls`` keyword of an SDK method."""
    return cast(Json, response.http_response.json())


async def post_json(client: BatchClient, path: str, text: str) -> Json:
    """Send a JSON text (ASCII) in a POST request; returns the JSON of the response.

    Raises:
        AzureError: the service refused, or did not answer.
    """
    request = HttpRequest(
        "POST",
        _endpoint_url(f"{path}?api-version={API_VERSION}"),
        headers=_JSON,
        content=text.encode("ascii"),
    )
    response = await client.send_request(request)
    if response.status_code != 200:
        raise HttpResponseError(response=response)
    return cast(Json, response.json())


async def list_items(
    client: BatchClient,
    path: str,
    *,
    where: str = "",
    select: Sequence[str] = (),
    page: int = PAGE,
    recursive: bool = False,
) -> AsyncIterator[Json]:
    """The elements of a list, page by page; ``where`` is ``$filter``, ``select`` is ``$select``.

    ``recursive``: a list of files contains those in all folders.
    """
    query = {"api-version": API_VERSION, "maxresults": str(page)}
    if recursive:
        query["recursive"] = "true"
    if where:
        query["$filter"] = where
    if select:
        query["$select"] = ",".join(select)
    target = f"{path}?{urlencode(query, quote_via=quote, safe='$,')}"
    async for element in list_pages(client, target, "odata.nextLink"):
        yield element


async def list_pages(
    client: BatchClient | BatchManagementClient, target: str, link_name: str
) -> AsyncIterator[Json]:
    """The elements of a list, page by page.

    ``target`` is path and query of the first page, ``link_name`` the property with the URL of the
    next page.

    Raises:
        ServiceError: a response is not such a list, or refers to a page that was read before.
    """
    path, read = target.partition("?")[0], set[str]()
    while target not in read:
        read.add(target)
        response = await client.send_request(
            HttpRequest("GET", _endpoint_url(target), headers=_ACCEPT)
        )
        response.raise_for_status()
        body = response.json()
        if not _is_page(body):
            raise _bad_response(path, "is not a list")
        for element in body["value"]:
            yield element
        link = body.get(link_name)
        if not link:
            return
        # Only the path and query of the link are used: its host may be an internal address of the
        # service. The request is signed for the address of the account, and no other host gets a
        # token.
        parts = urlsplit(str(link))
        target = f"{parts.path}?{parts.query}"
    raise _bad_response(path, "refers to a page that it has sent before")


def _is_page(body: object) -> bool:
    elements = body.get("value") if isinstance(body, dict) else None
    return isinstance(elements, list) and all(isinstance(each, dict) for each in elements)


_ACCEPT = {"Accept": "application/json"}
_JSON = {**_ACCEPT, "Content-Type": "application/json; odata=minimalmetadata"}


def _endpoint_url(target: str) -> str:
    """A URL at the endpoint of the client, which the SDK inserts, from a path and a query.

    A link of the service without a slash at its start would change the host.
    """
    return "{endpoint}/" + target.lstrip("/").replace("{", "%7B").replace("}", "%7D")


def _bad_response(path: str, fault: str) -> ServiceError:
    return ServiceError(
        Diagnostic("bad-answer", f"the response to GET {path} {fault}"), code="bad-answer"
    )


def path_segment(name: str) -> str:
    """A name as one segment of a path."""
    return quote(name, safe="")


def odata_literal(text: str) -> str:
    """A text as a literal of an OData filter."""
    return "'" + text.replace("'", "''") + "'"


def error_code(error: AzureError) -> str:
    """The error code of the service; empty if the service did not answer."""
    return error_response(error).code if isinstance(error, HttpResponseError) else ""


def status_code(error: AzureError) -> int:
    """The HTTP status; 0 if the service did not answer."""
    return error_response(error).status if isinstance(error, HttpResponseError) else 0


Found = TypeVar("Found", PoolFacts, JobFacts, ScheduleFacts)


async def create_or_adopt(
    kind: str,
    body: Mapping[str, Any],
    send: Callable[[], Awaitable[object]],
    read: Callable[[str], Awaitable[Found | None]],
    transition: Transition,
    *,
    conditional: bool = False,
) -> bool:
    """Create an object; ``False`` if the same spec has already created the same object.

    While an object with this id is being deleted, the creation is repeated.

    Args:
        kind: ``pool``, ``job`` or ``job schedule``.
        body: the body of the request.
        send: sends the request.
        read: reads the object with an id; ``None`` if it does not exist.
        transition: bounds the wait for the deletion of an object with this id.
        conditional: the request has a condition, and Resource Manager may answer 412 or 409 with
            any code if the object exists.

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
        known = refusal.code.lower() in taken
        if not known and not (conditional and refusal.status in _CONFLICTS):
            raise refusal from None
        existing = await read(body["id"])
        if existing is None and not known and refusal.status == 409:
            raise refusal
        if existing is not None and existing.state != "deleting":
            _check_owner(kind, body, existing.metadata)
            return attempts.unconfirmed
        if existing is not None:
            refusal = _being_deleted(kind, body["id"])
        if not await transition.pause():
            raise transition_timeout(refusal, transition.waited) from None


_CONFLICTS = (409, 412)


async def when_steady(
    pool_id: str,
    send: Callable[[], Awaitable[object]],
    done: Callable[[], Awaitable[bool]],
    transition: Transition,
) -> None:
    """Repeat a request that the pool refuses during a resize, until it is accepted or ``done``.

    Raises:
        ServiceError: refused; ``PoolBeingResized`` if the resize is in progress when ``transition``
            ends.
    """
    while True:
        try:
            await send()
            return
        except AzureError as error:
            refusal = translate(error, f"pool {pool_id}")
        except ServiceError as error:
            refusal = error
        if refusal.code != "PoolBeingResized":
            raise refusal from None
        if await done():
            return
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
    """Raise an error unless an existing object has the metadata of ``body``."""
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


_NO_FILE = (404, 409, 416)
"""404: the file, task or node does not exist. 409: the task has not run yet, its files were
deleted, or its node left the pool. 416: the file has become shorter. The status decides, because
the response to HEAD has no body and no error code."""

_ATTEMPTS = 4


@frozen
class RemoteFile:
    """A file of a task or of a node: the requests for its properties and its content."""

    subject: str
    properties: Callable[[], Awaitable[BatchFileProperties]]
    download: Callable[..., Awaitable[AsyncIterator[bytes]]]


async def read_part(
    connection: BatchConnection, file: RemoteFile, start: int, size: int
) -> FilePart | None:
    """Up to ``size`` bytes of a file from ``start``; ``None`` if it does not exist."""
    return await _read(connection, file, lambda length: range(start, min(length, start + size)))


async def read_tail(connection: BatchConnection, file: RemoteFile, size: int) -> str:
    """The last ``size`` bytes of a file as text; empty if it does not exist.

    Reading starts ``_BEFORE`` bytes earlier, and secrets are removed before the text is cut: a part
    of a secret cannot be recognized.
    """
    wanted = size + _BEFORE
    part = await _read(connection, file, lambda length: range(max(0, length - wanted), length))
    if part is None:
        return ""
    text = redact(part.data[-wanted:].decode("utf-8", "replace")).encode()
    return _text(text[-size:], cut=len(text) > size)


async def _read(
    connection: BatchConnection, file: RemoteFile, requested: Callable[[int], range]
) -> FilePart | None:
    """The bytes of a file that ``requested`` selects by its length; ``None`` without a file."""
    failures = 0
    while True:
        try:
            length = int((await file.properties()).content_length or 0)
            span = requested(length)
            if not span:
                return FilePart(b"", length)
            # The REST reference has bytes=FROM-TO only, not bytes=-N.
            partial = len(span) < length
            option = {"ocp_range": f"bytes={span.start}-{span.stop - 1}"} if partial else {}
            data = b"".join([part async for part in await file.download(**option)])
        except AzureError as error:
            if status_code(error) in _NO_FILE:
                return None
            failures += 1
            # An error of the service is final; an interrupted response is requested again.
            if status_code(error) or failures >= _ATTEMPTS:
                raise translate(error, file.subject) from None
            await connection.timing.sleep(connection.limiter.backoff(failures))
            continue
        return FilePart(data, max(length, span.start + len(data)))


async def list_files(client: BatchClient, path: str, subject: str) -> AsyncIterator[NodeFile]:
    """The files of a task or node at ``path``; none if they do not exist."""
    try:
        async for body in list_items(client, f"{path}/files", recursive=True):
            if (file := node_file(body)) is not None:
                yield file
    except AzureError as error:
        if status_code(error) not in _NO_FILE:
            raise translate(error, subject) from None


def _text(data: bytes, *, cut: bool) -> str:
    if cut:
        # The range may start within a character: remove up to three continuation bytes.
        for _ in range(3):
            if not data or data[0] & 0xC0 != 0x80:
                break
            data = data[1:]
    return data.decode("utf-8", "replace")
