"""``If-Match`` and its kin: may the request be done on the resource as it is now?

What lives here: the four conditional headers. What may not: which resources have an ETag.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from batchspec.local.wire.fault import Fault
from batchspec.local.wire.times import etag_of, read_http_date

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
