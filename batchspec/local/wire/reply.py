"""Replies: status, headers and body of an operation, in the form that the service sends them.

Contains ``odata.metadata``, the body of an error, and the removal of secrets. The HTTP library does
not belong here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from batchspec.local.wire.fault import Fault
from batchspec.local.wire.models import properties, unwrapped, write_list, write_model
from batchspec.local.wire.request import Request, select_properties
from batchspec.local.wire.times import etag_of, write_exact, write_http_date

_NO_METADATA = "odata=nometadata"
JSON_TYPES = {
    True: "application/json;odata=minimalmetadata",
    False: f"application/json;{_NO_METADATA}",
}
"""The content type of JSON with and without ``odata.metadata``."""
_FAULTS = "Microsoft.Azure.Batch.Protocol.Entities.Container.errors/@Element"


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply with a JSON ``body``, with the bytes of a file in ``chunks``, or with neither.

    ``metadata`` is the part of ``odata.metadata`` after ``#``.
    """

    status: int
    body: Mapping[str, Any] | None = None
    metadata: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    chunks: Iterator[bytes] | None = None


def resource_reply(
    request: Request,
    model: str,
    body: Mapping[str, Any],
    metadata: str,
    modified: datetime | None = None,
    *,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """200 with one resource, a ``model`` in newest names, as the request's api-version has it.

    ``modified`` is given for resources that have an ETag.

    Raises:
        Fault: the request selects a property that the model does not have.
    """
    extra = {**(headers or {}), **({} if modified is None else version_headers(modified))}
    row = unwrapped(model, request.version)
    if row is not None:
        model = properties(model)[row.name].strip("@!")
        body, metadata = body[row.name], row.metadata
    shown = write_model(model, request.version, body)
    return Reply(200, select_properties(shown, request.select(model)), metadata, extra)


def list_reply(
    request: Request,
    model: str,
    items: Sequence[Mapping[str, Any]],
    metadata: str,
    next_link: str | None,
) -> Reply:
    """200 with a page of a list of ``model``; see :func:`resource_reply`."""
    names = request.select(model)
    shown = write_list(model, request.version, items)
    body: dict[str, Any] = {"value": [select_properties(item, names) for item in shown]}
    if next_link is not None:
        body["odata.nextLink"] = next_link
    return Reply(200, body, metadata)


def created_reply(url: str, modified: datetime | None) -> Reply:
    """201 with an empty body; ``url`` is the URL of the new resource."""
    stamp = {} if modified is None else version_headers(modified)
    return Reply(201, headers={**stamp, "Location": url, "DataServiceId": url})


def empty_reply(status: int, url: str | None, modified: datetime | None = None) -> Reply:
    """An empty reply to a change; ``url`` is the URL of the request, including the action."""
    stamp = {} if modified is None else version_headers(modified)
    return Reply(status, headers=stamp if url is None else {**stamp, "DataServiceId": url})


def version_headers(modified: datetime) -> dict[str, str]:
    """``ETag`` (without quotes, as the service sends it) and ``Last-Modified``."""
    return {"ETag": etag_of(modified), "Last-Modified": write_http_date(modified)}


def fault_body(fault: Fault, request_id: str, now: datetime) -> dict[str, Any]:
    """The JSON body of an error, without ``odata.metadata``."""
    body: dict[str, Any] = {
        "code": fault.code,
        "message": {
            "lang": "en-US",
            "value": stamped_message(fault.sentence, request_id, now),
        },
    }
    if fault.values:
        body["values"] = [{"key": key, "value": value} for key, value in fault.values]
    return body


def stamped_message(sentence: str, request_id: str, now: datetime) -> str:
    """The message of an error as the service sends it: with the request and the time."""
    return f"{sentence}\nRequestId:{request_id}\nTime:{write_exact(now)}"


def fault_reply(fault: Fault, request_id: str, now: datetime) -> Reply:
    """The reply for a fault; a read whose condition is not met (304) has no body."""
    if fault.status == 304:
        return Reply(304)
    return Reply(fault.status, fault_body(fault, request_id, now), _FAULTS)


def wants_metadata(accept: str) -> bool:
    """Whether a reply to a request with this ``Accept`` header has ``odata.metadata``.

    A request for full metadata gets the minimal one; what the real service adds is not recorded.
    """
    return _NO_METADATA not in accept.lower().replace(" ", "")


def write_body(reply: Reply, base_url: str, *, metadata: bool = True) -> bytes:
    """The bytes of a JSON body; ``odata.metadata`` comes first, if it has ``metadata``."""
    first = {"odata.metadata": f"{base_url}/$metadata#{reply.metadata}"} if metadata else {}
    text = json.dumps({**first, **(reply.body or {})}, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "replace")


_SECRETS = frozenset({"password", "sshPrivateKey", "accountKey", "sasKey", "protectedSettings"})


def without_secrets(settings: Mapping[str, Any]) -> dict[str, Any]:
    """``settings`` (JSON data) without secret properties at any depth.

    Recorded: user accounts of a pool are returned without their passwords; these are omitted, not
    masked. All other secrets in the settings of a resource are omitted in the same way.
    """
    return {name: _without(value) for name, value in settings.items() if name not in _SECRETS}


def _without(value: Any) -> Any:
    if isinstance(value, Mapping):
        return without_secrets(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_without(item) for item in value]
    return value
