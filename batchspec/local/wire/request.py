"""A request as the API sees it: decoded, bounded, its query options understood.

What lives here: the frozen request, ``maxresults``, ``$skiptoken``, ``$select``, ``$expand``. What
may not: HTTP libraries, signatures (checked before a request is made), the store.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode

from batchspec.local.wire.body import parse_body, properties
from batchspec.local.wire.fault import Fault, bad_body, bad_query
from batchspec.local.wire.odata import Filter, QueryError, parse, read_select
from batchspec.local.wire.times import etag_of, read_http_date

NEWEST = "2025-06-01"
OLDER_VERSIONS = frozenset({"2024-02-01.19.0", "2022-10-01.16.0"})
MAX_RESULTS = 1000
_HALF = re.compile(r"\\u[dD][89a-fA-F]")


@dataclass(frozen=True, slots=True)
class Request:
    """One request, after its signature was found right.

    ``path`` is as sent, ``parameters`` are the decoded parts of it by the route's names; the names
    in ``headers`` are lower case. ``url`` is ``base_url`` and ``path``; ``now`` the service's time.
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
    def older(self) -> bool:
        """Whether it speaks an api-version before the newest."""
        return self.query.get("api-version") != NEWEST

    @property
    def url(self) -> str:
        """The absolute URL of what was asked for, without the query."""
        return self.base_url + self.path

    def json(self) -> Any:
        """The decoded body.

        Raises:
            Fault: ``InvalidRequestBody``.
        """
        try:
            # What is no text, in bytes or as an escape that stands for half a character, is refused
            # here: nobody could store it, or send it back.
            text = self.body.decode(json.detect_encoding(self.body))
            value = json.loads(text, parse_constant=_refuse)
            if _HALF.search(text):
                json.dumps(value, ensure_ascii=False).encode()
            return value
        except (ValueError, RecursionError):
            raise bad_body("The request body is not JSON.") from None

    def parse_body(self, model: str) -> dict[str, Any]:
        """The body as a wire model.

        Raises:
            Fault: see :func:`parse_body`.
        """
        return parse_body(model, self.json(), older=self.older)

    def parse_optional_body(self, model: str) -> dict[str, Any]:
        """As :meth:`parse_body`; a request without a body has an empty one."""
        return self.parse_body(model) if self.body.strip() else {}

    def flag(self, name: str) -> bool:
        """A query parameter that is ``true`` or ``false``; absent is false.

        Raises:
            Fault: it is neither.
        """
        value = self.query.get(name, "false")
        if value.lower() not in {"true", "false"}:
            raise bad_query(name, value, "The value must be true or false")
        return value.lower() == "true"

    def max_results(self, most: int = MAX_RESULTS) -> int:
        """``maxresults``, at most ``most``, which is also the default.

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

    def after(self, *, file: bool = False) -> str:
        """The key that the page before this one ended with; empty for the first.

        An id is text; the name of a ``file`` may be any bytes.

        Raises:
            Fault: the ``$skiptoken`` is none of ours.
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
        """The URL of the page behind the one that ends with key ``last``."""
        token = base64.urlsafe_b64encode(last.encode(errors="surrogateescape")).decode().rstrip("=")
        query = {name: value for name, value in self.query.items() if name != "$skiptoken"}
        text = urlencode({**query, "$skiptoken": token}, quote_via=quote, safe="$,")
        return f"{self.url}?{text}"

    def filter(self) -> Filter | None:
        """The parsed ``$filter``.

        Raises:
            Fault: it cannot be understood.
        """
        text = self.query.get("$filter")
        if text is None or not text.strip():
            return None
        try:
            return parse(text)
        except QueryError as error:
            raise bad_query("$filter", text, error.reason) from None

    def select(self, model: str) -> frozenset[str] | None:
        """The top-level names asked for; ``None`` for all.

        Raises:
            Fault: ``model`` has no such property.
        """
        text = self.query.get("$select")
        if text is None or not text.strip():
            return None
        try:
            names = read_select(text)
        except QueryError as error:
            raise bad_query("$select", text, error.reason) from None
        unknown = sorted(names - properties(model).keys())
        if unknown and not self.older:
            raise bad_query("$select", text, f"The property '{unknown[0]}' does not exist")
        return names

    def expands_stats(self) -> bool:
        """Whether ``$expand=stats`` was asked for.

        Raises:
            Fault: something else is to be expanded.
        """
        text = self.query.get("$expand")
        if text is None or not text.strip():
            return False
        try:
            names = read_select(text)
        except QueryError as error:
            raise bad_query("$expand", text, error.reason) from None
        if names != {"stats"}:
            raise bad_query("$expand", text, "Only stats can be expanded")
        return True


def check_version(query: Mapping[str, str]) -> None:
    """Return when the ``api-version`` is one that this service speaks.

    Raises:
        Fault: it is missing or another.
    """
    version = query.get("api-version")
    if version is None:
        raise Fault("MissingRequiredQueryParameter", ("QueryParameterName", "api-version"))
    if version != NEWEST and version not in OLDER_VERSIONS:
        raise bad_query("api-version", version, "The specified api version string is invalid")


def select_properties(body: Mapping[str, Any], names: frozenset[str] | None) -> Mapping[str, Any]:
    """``body`` cut to the selected names, in its own order."""
    if names is None:
        return body
    return {name: value for name, value in body.items() if name in names}


def _refuse(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


_HEADERS = ("if-match", "if-none-match", "if-modified-since", "if-unmodified-since")


def check_conditions(
    headers: Mapping[str, str], modified: datetime, *, reads: bool, tagged: bool = True
) -> None:
    """Return when the request's conditions hold for a resource last changed at ``modified``.

    Both spellings of an ETag are taken, bare as the service writes it and quoted as the SDKs send
    it back; dates count in whole seconds, as HTTP dates do. Files are not ``tagged``.

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
