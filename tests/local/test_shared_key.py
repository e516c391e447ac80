"""Shared Key verification, against the signer of the Azure SDK and altered requests."""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import pytest
from azure.batch._patch import BatchSharedKeyAuthPolicy
from azure.core.credentials import AzureNamedKeyCredential
from azure.core.pipeline import PipelineContext, PipelineRequest
from azure.core.rest import HttpRequest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from batchspec.local.wire import MAX_SKEW, SignatureError, SignedRequest, check_signature

ACCOUNT = "acct"
KEY = base64.b64encode(b"not a key of anyone" * 3).decode()
NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
DATE = format_datetime(NOW, usegmt=True)

text = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
segments = st.lists(text.map(lambda s: quote(s, safe="")), min_size=1, max_size=4)
queries = st.lists(
    st.tuples(st.sampled_from(["$filter", "$select", "api-version", "timeOut", "a", "A"]), text),
    max_size=6,
)


def sign(
    method: str, path: str, query: str, headers: dict[str, str] | None = None, key: str = KEY
) -> SignedRequest:
    """A request signed by the Azure SDK."""
    http = HttpRequest(method, f"http://127.0.0.1:1{path}" + (f"?{query}" if query else ""))
    http.headers.update({"ocp-date": DATE, "client-request-id": "1", **(headers or {})})
    request: PipelineRequest[Any] = PipelineRequest(http, PipelineContext(None))
    BatchSharedKeyAuthPolicy(AzureNamedKeyCredential(ACCOUNT, key)).on_request(request)
    url = urlsplit(http.url)
    return SignedRequest(
        http.method, url.path, url.query, {k.lower(): v for k, v in http.headers.items()}
    )


def change(request: SignedRequest, **headers: str) -> SignedRequest:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return SignedRequest(request.method, request.path, request.query, {**request.headers, **named})


@settings(deadline=None)
@given(
    method=st.sampled_from(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]),
    parts=segments,
    query=queries,
    length=st.sampled_from([None, "0", "17"]),
    etag=st.sampled_from([None, '"0x8D"', "*"]),
)
def test_requests_signed_by_the_sdk_are_accepted(
    method: str,
    parts: list[str],
    query: list[tuple[str, str]],
    length: str | None,
    etag: str | None,
) -> None:
    headers = {"content-type": "application/json; odata=minimalmetadata"}
    if length is not None:
        headers["content-length"] = length
    if etag is not None:
        headers["If-Match"] = etag
    check_signature(
        sign(method, "/" + "/".join(parts), urlencode(query), headers), ACCOUNT, KEY, NOW
    )


@settings(deadline=None)
@given(parts=segments, other=segments)
def test_a_signature_is_valid_for_one_path(parts: list[str], other: list[str]) -> None:
    assume(parts != other)
    request = sign("GET", "/" + "/".join(parts), "api-version=1")
    moved = SignedRequest("GET", "/" + "/".join(other), request.query, request.headers)
    with pytest.raises(SignatureError, match="not the same"):
        check_signature(moved, ACCOUNT, KEY, NOW)


def test_a_request_without_a_body_can_sign_zero_or_nothing() -> None:
    sent_without = sign("DELETE", "/pools/p", "")
    assert "content-length" not in sent_without.headers
    check_signature(change(sent_without, content_length="0"), ACCOUNT, KEY, NOW)
    check_signature(sent_without, ACCOUNT, KEY, NOW)


def test_a_delete_that_signs_an_empty_length_is_accepted() -> None:
    # @azure/batch signs an empty length for DELETE and sends "Content-Length: 0".
    signed_as_get = sign("GET", "/jobs/j", "")
    lines = SignedRequest("DELETE", "/jobs/j", "", dict(signed_as_get.headers))
    with pytest.raises(SignatureError):
        check_signature(change(lines, content_length="0"), ACCOUNT, KEY, NOW)
    text = "DELETE\n" + "\n" * 11 + f"ocp-date:{DATE}\n/{ACCOUNT}/jobs/j"
    mac = hmac.new(base64.b64decode(KEY), text.encode(), hashlib.sha256).digest()
    header = f"SharedKey {ACCOUNT}:{base64.b64encode(mac).decode()}"
    check_signature(change(lines, content_length="0", authorization=header), ACCOUNT, KEY, NOW)


def test_an_unsigned_length_is_rejected() -> None:
    request = sign("POST", "/jobs", "", {"content-length": "17"})
    with pytest.raises(SignatureError):
        check_signature(change(request, content_length="18"), ACCOUNT, KEY, NOW)


def test_the_path_is_compared_as_sent() -> None:
    request = sign("GET", "/jobs/j/tasks/t/files/wd%2Fout.txt", "")
    check_signature(request, ACCOUNT, KEY, NOW)
    decoded = SignedRequest("GET", "/jobs/j/tasks/t/files/wd/out.txt", "", request.headers)
    with pytest.raises(SignatureError):
        check_signature(decoded, ACCOUNT, KEY, NOW)


@pytest.mark.parametrize("name", ["ocp-range", "if-match", "content-type", "ocp-x"])
def test_a_header_added_after_signing_is_rejected(name: str) -> None:
    request = sign("GET", "/pools", "")
    with pytest.raises(SignatureError):
        check_signature(change(request, **{name: "bytes=0-1"}), ACCOUNT, KEY, NOW)


@pytest.mark.parametrize("days", [0, 400])
@pytest.mark.parametrize("sign_of", [1, -1])
def test_dates_with_more_than_15_minutes_difference_are_rejected(days: int, sign_of: int) -> None:
    request = sign("GET", "/pools", "")
    edge = sign_of * (MAX_SKEW + timedelta(days=days))
    if not days:
        check_signature(request, ACCOUNT, KEY, NOW + edge)
    with pytest.raises(SignatureError, match="15 minutes"):
        check_signature(request, ACCOUNT, KEY, NOW + edge + sign_of * timedelta(seconds=1))


def test_the_date_header_is_used_without_ocp_date() -> None:
    request = sign("GET", "/pools", "", {"Date": DATE})
    lines = {k: v for k, v in request.headers.items() if k != "ocp-date"}
    with pytest.raises(SignatureError, match="not the same"):  # dated, but signed with ocp-date
        check_signature(SignedRequest("GET", "/pools", "", lines), ACCOUNT, KEY, NOW)
    with pytest.raises(SignatureError, match="neither"):
        check_signature(
            SignedRequest("GET", "/pools", "", {"authorization": lines["authorization"]}),
            ACCOUNT,
            KEY,
            NOW,
        )


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ("", "no Authorization"),
        ("Bearer abc", "form"),
        ("SharedKey nothing", "form"),
        ("SharedKey other:AAAA", "account"),
        ("SharedKey acct:not base64!", "base64"),
        ("SharedKey acct:", "not the same"),
        ("SharedKey acct:\u00e9", "base64"),
    ],
)
def test_malformed_headers_are_rejected_with_the_reason(header: str, reason: str) -> None:
    with pytest.raises(SignatureError, match=reason):
        check_signature(change(sign("GET", "/pools", ""), authorization=header), ACCOUNT, KEY, NOW)


@pytest.mark.parametrize(
    "date",
    [
        "yesterday",
        "",
        "Sun, 99 Nov 2026 12:00:00 GMT",
        "-1",
        "Sun, 1 Nov 99999999999999999999 12:00:00 GMT",
    ],
)
def test_an_invalid_date_is_rejected(date: str) -> None:
    with pytest.raises(SignatureError, match="date"):
        check_signature(change(sign("GET", "/pools", ""), ocp_date=date), ACCOUNT, KEY, NOW)


def test_a_wrong_key_is_rejected_without_showing_secrets() -> None:
    other = base64.b64encode(b"another key").decode()
    request = sign("GET", "/pools", "api-version=1", key=other)
    with pytest.raises(SignatureError) as refused:
        check_signature(request, ACCOUNT, KEY, NOW)
    assert "GET\n" in refused.value.detail
    for secret in (KEY, other, request.headers["authorization"].rpartition(":")[2]):
        assert secret not in refused.value.detail


def test_query_names_and_repeated_values_as_documented() -> None:
    sdk = sign("GET", "/pools", "b=2&b=1&A=x")
    check_signature(sdk, ACCOUNT, KEY, NOW)
    by_the_rules = sign("GET", "/pools", urlencode({"a": "x", "b": "1,2"}))
    moved = SignedRequest("GET", "/pools", "b=2&b=1&A=x", by_the_rules.headers)
    check_signature(moved, ACCOUNT, KEY, NOW)
