"""Requests and replies, in the form that clients and the service send them.

A request has a body, query options (``maxresults``, ``$filter``, ...) and conditional headers. A
reply has a status, headers, and a resource or an error as its body, without secrets. The HTTP
library, signatures (checked before a request is built) and the store do not belong here.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode

from batchspec.local.wire.body import check_rules, parse_body
from batchspec.local.wire.fault import Fault, bad_body, bad_query
from batchspec.local.wire.models import properties, unwrapped, write_list, write_model
from batchspec.local.wire.odata import Filter, QueryError, parse_filter, parse_select
from batchspec.local.wire.times import etag_of, read_http_date, write_exact, write_http_date

MAX_RESULTS = 1000
_HALF = re.compile(r"\\u[dD][89a-fA-F]")


@dataclass(frozen=True, slots=True)
class Request:
    """An authenticated request.

    ``path`` is as sent; ``parameters`` are its decoded variable segments by the names in the route.
    Names in ``headers`` are in lower case. ``now`` is the service's time.
    """

    method: str
    path: str
    parameters: Mapping[str, str]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    base_url: str
    id: str
    now: datetime

    @property
    def version(self) -> str:
        """The api-version, one of :data:`batchspec.local.wire.models.VERSIONS`."""
        return self.query["api-version"]

    @property
    def url(self) -> str:
        """The absolute URL of the request, without the query."""
        return self.base_url + self.path

    def json(self) -> Any:
        """The decoded body.

        Raises:
            Fault: ``InvalidRequestBody``.
        """
        try:
            # Reject invalid UTF-8 and escapes of single surrogates: the store cannot keep them, and
            # no reply can contain them.
            text = self.body.decode(json.detect_encoding(self.body))
            value = json.loads(text, parse_constant=_refuse)
            if _HALF.search(text):
                json.dumps(value, ensure_ascii=False).encode()
            return value
        except (ValueError, RecursionError):
            raise bad_body("The request body is not JSON.") from None

    def parse_body(self, model: str) -> dict[str, Any]:
        """The validated body as a wire model, in the names of the newest api-version.

        Raises:
            Fault: see :func:`batchspec.local.wire.body.parse_body` and
                :func:`batchspec.local.wire.body.check_rules`.
        """
        body = parse_body(model, self.json(), self.version)
        check_rules(model, body, self.version)
        return body

    def parse_optional_body(self, model: str) -> dict[str, Any]:
        """As :meth:`parse_body`; a missing body counts as an empty object."""
        return self.parse_body(model) if self.body.strip() else {}

    def flag(self, name: str) -> bool:
        """A query parameter that is ``true`` or ``false``; false if missing.

        Raises:
            Fault: the value is something else.
        """
        value = self.query.get(name, "false")
        if value.lower() not in {"true", "false"}:
            raise bad_query(name, value, "The value must be true or false")
        return value.lower() == "true"

    def max_results(self, most: int = MAX_RESULTS) -> int:
        """``maxresults``; ``most`` is its maximum and its default.

        Raises:
            Fault: it is not a number from 1 to ``most``.
        """
        text = self.query.get("maxresults")
        if text is None:
            return most
        digits = text.removeprefix("-")
        if not (digits.isascii() and digits.isdigit()) or len(text) > 10:
            raise bad_query("maxresults", text, "MaxResults must be an integer")
        if int(text) < 1:
            raise bad_query("maxresults", text, "MaxResults cannot be less than 1")
        if int(text) > most:
            raise bad_query("maxresults", text, f"MaxResults cannot be greater than {most}")
        return int(text)

    def start(self) -> int:
        """The number of items before this page, in a list whose pages are numbered.

        Raises:
            Fault: the ``$skiptoken`` is not valid.
        """
        digits = self.after()
        if digits and not (digits.isascii() and digits.isdigit() and len(digits) <= 10):
            token = self.query["$skiptoken"]
            raise bad_query("$skiptoken", token, "The skip token is not valid")
        return int(digits or "0")

    def numbered_page(
        self, items: Sequence[Mapping[str, Any]]
    ) -> tuple[Sequence[Mapping[str, Any]], str | None]:
        """One page of the complete list ``items``, and the URL of the next page.

        Raises:
            Fault: ``maxresults`` or the ``$skiptoken`` is not valid.
        """
        limit, start = self.max_results(), self.start()
        end = start + limit
        return items[start:end], self.next_link(str(end)) if len(items) > end else None

    def after(self, *, file: bool = False) -> str:
        """The last key of the previous page; empty for the first page.

        Ids are text; the name of a ``file`` may contain any bytes.

        Raises:
            Fault: the ``$skiptoken`` is not valid.
        """
        token = self.query.get("$skiptoken")
        if token is None:
            return ""
        try:
            padding = "=" * (-len(token) % 4)
            key = base64.b64decode(token + padding, b"-_", validate=True)
            return key.decode(errors="surrogateescape" if file else "strict")
        except (binascii.Error, ValueError):
            raise bad_query("$skiptoken", token, "The skip token is not valid") from None

    def next_link(self, last: str) -> str:
        """The URL of the page after the key ``last``."""
        token = base64.urlsafe_b64encode(last.encode(errors="surrogateescape")).decode().rstrip("=")
        query = {name: value for name, value in self.query.items() if name != "$skiptoken"}
        text = urlencode({**query, "$skiptoken": token}, quote_via=quote, safe="$,")
        return f"{self.url}?{text}"

    def filter(self) -> Filter | None:
        """The parsed ``$filter``; ``None`` without one.

        Raises:
            Fault: the filter is not valid.
        """
        text = self.query.get("$filter")
        if text is None or not text.strip():
            return None
        try:
            return parse_filter(text)
        except QueryError as error:
            raise bad_query("$filter", text, error.reason) from None

    def select(self, model: str) -> frozenset[str] | None:
        """The selected top-level properties; ``None`` for all.

        Raises:
            Fault: ``model`` does not have a selected property.
        """
        text = self.query.get("$select")
        if text is None or not text.strip():
            return None
        try:
            names = parse_select(text)
        except QueryError as error:
            raise bad_query("$select", text, error.reason) from None
        unknown = sorted(names - properties(model, self.version).keys())
        if unknown:
            raise bad_query("$select", text, f"The property '{unknown[0]}' does not exist")
        return names

    def expands_stats(self) -> bool:
        """Whether the request has ``$expand=stats``.

        Raises:
            Fault: the request expands another property.
        """
        text = self.query.get("$expand")
        if text is None or not text.strip():
            return False
        try:
            names = parse_select(text)
        except QueryError as error:
            raise bad_query("$expand", text, error.reason) from None
        if names != {"stats"}:
            raise bad_query("$expand", text, "Only stats can be expanded")
        return True


_OPTIONS = frozenset({"$filter", "$select", "$expand", "$skiptoken"})


def check_options(query: Mapping[str, str]) -> None:
    """Check that the service supports all OData options of the request.

    Raises:
        Fault: ``UnsupportedQueryParameter``, for example for ``$orderby`` and ``$top``.
    """
    for name, value in query.items():
        if name.startswith("$") and name not in _OPTIONS:
            raise Fault(
                "UnsupportedQueryParameter",
                ("QueryParameterName", name),
                ("QueryParameterValue", value),
            )


def select_properties(body: Mapping[str, Any], names: frozenset[str] | None) -> Mapping[str, Any]:
    """``body`` reduced to ``names``, in its order."""
    if names is None:
        return body
    return {name: value for name, value in body.items() if name in names}


def _refuse(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


_HEADERS = ("if-match", "if-none-match", "if-modified-since", "if-unmodified-since")


def check_conditions(
    headers: Mapping[str, str], modified: datetime, *, reads: bool, tagged: bool = True
) -> None:
    """Check the conditional headers for a resource last changed at ``modified``.

    An ETag is accepted without quotes, as the service sends it, and with quotes, as the SDKs send
    it back. Times are compared in whole seconds, the resolution of HTTP dates. A file has no ETag
    (``tagged`` is false).

    Raises:
        Fault: ``ConditionNotMet``, 304 for a read and 412 for a change; ``InvalidHeaderValue``.
    """
    if not any(name in headers for name in _HEADERS):
        return
    etag = etag_of(modified) if tagged else None
    second = modified.replace(microsecond=0)
    holds = True
    if "if-match" in headers:
        holds &= _names(headers["if-match"], etag)
    if "if-none-match" in headers:
        holds &= not _names(headers["if-none-match"], etag)
    if "if-modified-since" in headers:
        holds &= second > _date(headers, "if-modified-since")
    if "if-unmodified-since" in headers:
        holds &= second <= _date(headers, "if-unmodified-since")
    if not holds:
        raise Fault("ConditionNotMet", status=304 if reads else 412)


def _names(header: str, etag: str | None) -> bool:
    tags = {tag.strip().removeprefix("W/").strip('"') for tag in header.split(",")}
    return "*" in tags or (etag is not None and etag in tags)


def _date(headers: Mapping[str, str], name: str) -> datetime:
    try:
        return read_http_date(headers[name]) + timedelta(0)
    except (ValueError, OverflowError):
        raise Fault(
            "InvalidHeaderValue", ("HeaderName", name), ("HeaderValue", headers[name])
        ) from None


_NO_METADATA = "odata=nometadata"
JSON_TYPES = {
    True: "application/json;odata=minimalmetadata",
    False: f"application/json;{_NO_METADATA}",
}
"""The content type of JSON with and without ``odata.metadata``."""
_FAULTS = "Microsoft.Azure.Batch.Protocol.Entities.Container.errors/@Element"


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply with a JSON ``body``, with the bytes of a file in ``chunks``, or without content.

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
    """200 with one resource in the form of the request's api-version.

    ``body`` is a ``model`` in the newest names; ``modified`` is set for resources with an ETag.

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
    """The message of an error as the service sends it, with the request id and the time."""
    return f"{sentence}\nRequestId:{request_id}\nTime:{write_exact(now)}"


def fault_reply(fault: Fault, request_id: str, now: datetime) -> Reply:
    """The reply for a fault; a read with an unmet condition (304) has no body."""
    if fault.status == 304:
        return Reply(304)
    return Reply(fault.status, fault_body(fault, request_id, now), _FAULTS)


def wants_metadata(accept: str) -> bool:
    """Whether a reply to a request with this ``Accept`` header has ``odata.metadata``.

    A request for full metadata gets minimal metadata; no recording shows full metadata.
    """
    return _NO_METADATA not in accept.lower().replace(" ", "")


def write_body(reply: Reply, base_url: str, *, metadata: bool = True) -> bytes:
    """The bytes of a JSON body; with ``metadata``, ``odata.metadata`` comes first."""
    first = {"odata.metadata": f"{base_url}/$metadata#{reply.metadata}"} if metadata else {}
    text = json.dumps({**first, **(reply.body or {})}, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "replace")


_SECRETS = frozenset({"password", "sshPrivateKey", "accountKey", "sasKey", "protectedSettings"})


def without_secrets(settings: Mapping[str, Any]) -> dict[str, Any]:
    """``settings`` (JSON data) without secret properties at any depth.

    Recorded: replies omit the passwords of a pool's user accounts and do not mask them. All other
    secrets in the settings of a resource are omitted in the same way.
    """
    return {name: _without(value) for name, value in settings.items() if name not in _SECRETS}


def _without(value: Any) -> Any:
    if isinstance(value, Mapping):
        return without_secrets(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_without(item) for item in value]
    return value
