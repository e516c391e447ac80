"""Verification of the Shared Key signature of a request.

Rebuilds the string that the client signed from the request as received. This module writes no log,
so that no log contains a key or a signature.

Four observed Batch clients send this format. They differ in the length of a missing body: ``0``, an
empty string, or the header value. The service accepts all forms.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from urllib.parse import parse_qs

MAX_SKEW = timedelta(minutes=15)
"""Maximum difference between the date of a request and the clock, in either direction."""

_SIGNED_HEADERS = (
    "content-encoding",
    "content-language",
    "content-length",
    "content-md5",
    "content-type",
    "date",
    "if-modified-since",
    "if-match",
    "if-none-match",
    "if-unmodified-since",
    "range",
)


class SignatureError(Exception):
    """The request is not signed with the account's key.

    ``detail`` is the ``AuthenticationErrorDetail`` of the fault. It contains neither the key nor a
    signature.
    """

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """The signed parts of a request.

    ``path`` and ``query`` are as sent: percent-encoded, no leading ``?``. Names in ``headers`` are
    lower case; repeated headers are joined by commas.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]


def check_signature(request: SignedRequest, account: str, key: str, now: datetime) -> None:
    """Check that ``request`` has a signature made with ``key`` (base64) for ``account``.

    Raises:
        SignatureError: the header is missing or malformed or names another account, the date is
            missing or more than :data:`MAX_SKEW` from ``now``, or the signature is wrong.
    """
    given = _signature(request.headers.get("authorization"), account)
    _check_date(request.headers, now)
    secret = base64.b64decode(key)
    candidates = list(strings_to_sign(request, account))
    for candidate in candidates:
        right = hmac.new(secret, candidate.encode(), hashlib.sha256).digest()
        if hmac.compare_digest(right, given):
            return
    raise SignatureError(
        "The MAC signature found in the HTTP request is not the same as any computed signature. "
        f"Server used following string to sign: '{candidates[0]}'."
    )


def strings_to_sign(request: SignedRequest, account: str) -> Iterator[str]:
    """All strings that a correct client may have signed for ``request``, most likely first."""
    headers = request.headers
    ocp = "".join(
        f"{name}:{value}\n"
        for name, value in sorted(headers.items())
        if name.startswith("ocp-") and value
    )
    seen: set[str] = set()
    for length in _content_lengths(request):
        lines = [
            length if name == "content-length" else headers.get(name, "")
            for name in _SIGNED_HEADERS
        ]
        head = "\n".join([request.method, *lines]) + f"\n{ocp}/{account}{request.path}"
        for query in _queries(request.query):
            text = head + query
            if text not in seen:
                seen.add(text)
                yield text


def _content_lengths(request: SignedRequest) -> tuple[str, ...]:
    given = request.headers.get("content-length", "")
    if request.method in {"GET", "HEAD"}:
        return (given, "")
    return (given or "0", "") if given in {"", "0"} else (given,)


def _queries(query: str) -> Iterator[str]:
    # The Python clients sign names unchanged and only the first of repeated values; the
    # documentation requires lower-case names and all values, sorted.
    values = parse_qs(query)
    yield "".join(f"\n{name}:{values[name][0]}" for name in sorted(values))
    lowered: dict[str, list[str]] = {}
    for name, several in values.items():
        lowered.setdefault(name.lower(), []).extend(several)
    yield "".join(f"\n{name}:{','.join(sorted(lowered[name]))}" for name in sorted(lowered))


def _signature(header: str | None, account: str) -> bytes:
    if not header:
        raise SignatureError("The request has no Authorization header.")
    scheme, _, rest = header.partition(" ")
    named, colon, signature = rest.strip().rpartition(":")
    if scheme.lower() != "sharedkey" or not colon:
        raise SignatureError(
            "The Authorization header is not of the form 'SharedKey account:signature'."
        )
    if named != account:
        raise SignatureError(f"The account that signed the request is not '{account}'.")
    try:
        return base64.b64decode(signature, validate=True)
    except (binascii.Error, ValueError):
        raise SignatureError("The signature in the Authorization header is not base64.") from None


def _check_date(headers: Mapping[str, str], now: datetime) -> None:
    text = headers.get("ocp-date") or headers.get("date")
    if not text:
        raise SignatureError("The request has neither an ocp-date nor a Date header.")
    try:
        sent = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        raise SignatureError(
            f"The date of the request, '{text}', is not an RFC 1123 date."
        ) from None
    if sent.tzinfo is None:
        sent = sent.replace(tzinfo=UTC)
    if abs(sent - now) > MAX_SKEW:
        raise SignatureError(
            f"The date of the request, '{text}', is not within 15 minutes of the server's time."
        )
