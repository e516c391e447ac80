"""Random requests of any size and encoding: each gets a reply; unsigned ones have no effect."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from batchspec.local.api import Route
from tests.local.engines import job, pool, running_with_engine, task, wait_until
from tests.local.generated_requests import (
    BODIES,
    HEADERS,
    METHODS,
    NAMES,
    VALUES,
    bodies_of,
    operations,
    targets,
)
from tests.local.raw_http import VERSION, Observer, RawReply, exchange, lines_of, observer, signed
from tests.local.running import ACCOUNT, KEY, Service

MANY = settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture
def observed(service: Service) -> Iterator[Observer]:
    """A service without an engine, so that every write comes from a request."""
    service.client.create_pool(pool())
    service.client.create_job(job())
    service.client.create_task("j", task("t", "true"))
    with observer(service) as found:
        yield found
        assert found.alive()


# --- bytes that are hardly HTTP

HEAD = b"POST /jobs?" + VERSION + b" HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}"


@st.composite
def malformed_request(draw: st.DrawFn) -> bytes:
    """A request with changed, removed or inserted bytes."""
    data = bytearray(HEAD)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        gone = draw(st.integers(0, 6))
        data[at : at + gone] = draw(
            st.binary(max_size=6)
            | st.sampled_from([b"\r\n", b"\n", b"\0", b" ", b":", b"\r\n\r\n", b"%", b"\xff"])
        )
    return bytes(data)


@given(data=st.binary(max_size=300) | malformed_request())
@MANY
def test_random_bytes(observed: Observer, data: bytes) -> None:
    before = observed.version()
    got = exchange(observed.service, data, half_close=True)
    event(f"answered {got.status}")
    assert got.status < 500
    assert not 200 <= got.status < 300
    assert observed.version() == before


@pytest.mark.parametrize(
    "data",
    [
        b"GET /" + b"a" * 10_000_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"x: " + b"a" * 10_000_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 200_000 + b"\r\n",
        b"GET / HTTP/1.1\r\nx" * 100_000,
        b"\r\n" * 1_000_000,
        b"\0" * 1_000_000,
        b"GET / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n" + b"f" * 1_000_000,
    ],
    ids=["path", "header", "headers", "names", "lines", "nulls", "chunk size"],
)
def test_oversized_requests(observed: Observer, data: bytes) -> None:
    got = exchange(observed.service, data, half_close=True)
    assert got.status == 0 or 400 <= got.status < 500


@given(
    method=METHODS,
    target=targets(),
    headers=st.lists(HEADERS, max_size=4),
    body=BODIES,
    how=st.sampled_from(["unsigned", "wrong key", "stale", "early", "other account", "no base64"]),
)
@MANY
def test_an_unsigned_request_has_no_effect(
    observed: Observer,
    method: str,
    target: bytes,
    headers: list[tuple[str, str]],
    body: bytes,
    how: str,
) -> None:
    sized = [*headers, ("content-length", str(len(body)))]
    match how:
        case "unsigned":
            head = lines_of(method, target, sized)
        case "wrong key":
            head = signed(method, target, sized, key=base64.b64encode(b"x").decode())
        case "stale" | "early":
            head = signed(method, target, sized, days=-1 if how == "stale" else 1)
        case "other account":
            head = signed(method, target, sized).replace(ACCOUNT.encode(), b"other")
        case _:
            head = signed(method, target, sized).replace(
                f"{ACCOUNT}:".encode(), f"{ACCOUNT}:=é".encode()
            )
    before = observed.version()
    got = exchange(observed.service, head, body)
    event(f"answered {got.status}")
    assert got.status in (400, 403), got
    assert KEY.encode() not in got.body
    assert observed.version() == before


@given(
    method=METHODS,
    target=targets(),
    headers=st.lists(HEADERS, max_size=4),
    body=BODIES,
    framing=st.sampled_from(["length", "chunks", "none"]),
)
@MANY
def test_any_signed_request_gets_a_reply(
    observed: Observer,
    method: str,
    target: bytes,
    headers: list[tuple[str, str]],
    body: bytes,
    framing: str,
) -> None:
    if framing == "chunks":
        headers = [*headers, ("transfer-encoding", "chunked")]
        body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
    elif framing == "length":
        headers = [*headers, ("content-length", str(len(body)))]
    else:
        body = b""
    got = exchange(observed.service, signed(method, target, headers), body)
    event(f"answered {got.status}")
    check_reply(method, got)


def check_reply(method: str, got: RawReply) -> None:
    """Check that a reply is not an internal error and has the form of the protocol."""
    assert 200 <= got.status < 500 or got.status == 501, got
    if got.status >= 400 and method != "HEAD" and got.headers and "request-id" in got.headers:
        fault = json.loads(got.body)
        assert fault["code"]
        assert fault["message"]["value"]


@pytest.mark.parametrize(
    ("method", "target", "body"),
    [
        ("PATCH", b"/jobs/j?", b'{"metadata":[{"name":"a","value":"\\udcff"}]}'),
        ("POST", b"/jobs/j/tasks?", b'{"id":"x","commandLine":"\xed\xa0\x80"}'),
        ("GET", b"/jobs/j/tasks?$skiptoken=7aCA&", b""),
    ],
)
def test_single_surrogates_are_rejected(
    observed: Observer, method: str, target: bytes, body: bytes
) -> None:
    head = signed(method, target + VERSION, [("content-length", str(len(body)))])
    assert exchange(observed.service, head, body).status == 400


@pytest.mark.parametrize("number", [b"9" * 5000, "²".encode(), b"-1"])
def test_numbers_of_pages_that_are_not_numbers_are_rejected(
    observed: Observer, number: bytes
) -> None:
    token = base64.urlsafe_b64encode(number).rstrip(b"=")
    target = b"/supportedimages?$skiptoken=" + token + b"&" + VERSION
    head = signed("GET", target, [])
    assert exchange(observed.service, head, b"").status == 400


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ([("content-length", "10")], b"{}"),
        ([("content-length", "1")], b"{}GET / HTTP/1.1"),
        ([("content-length", "-1")], b"{}"),
        ([("content-length", "9" * 30)], b"{}"),
        ([("content-length", "2"), ("content-length", "3")], b"{}x"),
        ([("content-length", "2"), ("transfer-encoding", "chunked")], b"2\r\n{}\r\n0\r\n\r\n"),
        ([("transfer-encoding", "chunked")], b"2\r\n{}\r\n"),
        ([("transfer-encoding", "chunked")], b"zz\r\n{}\r\n0\r\n\r\n"),
        ([("transfer-encoding", "chunked")], b"-2\r\n{}\r\n0\r\n\r\n"),
        ([("transfer-encoding", "gzip, chunked")], b"2\r\n{}\r\n0\r\n\r\n"),
        ([("transfer-encoding", "identity")], b"{}"),
        ([("content-length", "2000000")], b"{" * 2_000_000),
        (
            [("transfer-encoding", "chunked")],
            b"100000\r\n" + b" " * 0x100000 + b"\r\n1\r\n{\r\n0\r\n\r\n",
        ),
        ([("expect", "100-continue"), ("content-length", "2")], b"{}"),
    ],
)
def test_a_body_with_a_wrong_content_length(
    observed: Observer, headers: list[tuple[str, str]], body: bytes
) -> None:
    head = signed("POST", b"/jobs?" + VERSION, headers)
    before = observed.version()
    got = exchange(observed.service, head, body, half_close=True)
    assert got.status in (0, 100, 400, 403, 413), got
    assert observed.version() == before


@given(
    operation=operations(),
    query=st.lists(st.tuples(NAMES, VALUES), max_size=2),
    headers=st.lists(HEADERS, max_size=1),
)
@settings(MANY, max_examples=300)
def test_any_operation_with_any_settings_gets_a_reply(
    observed: Observer,
    operation: tuple[Route, bytes, dict[str, Any] | None],
    query: list[tuple[str, str]],
    headers: list[tuple[str, str]],
) -> None:
    route, path, body = operation
    content = b"" if body is None else json.dumps(body).encode()
    target = (
        path
        + b"?"
        + b"&".join([VERSION, *(f"{n}={v}".encode() for n, v in query if n != "API-VERSION")])
    )
    sized = [*headers, ("content-length", str(len(content)))]
    got = exchange(observed.service, signed(route.method, target, sized), content)
    event(f"{route.operation} answered {got.status}")
    check_reply(route.method, got)


@given(
    start=bodies_of("BatchStartTask"),
    work=bodies_of("BatchJobCreateOptions"),
    one=bodies_of("BatchTaskCreateOptions"),
)
@settings(MANY, max_examples=60)
def test_the_engine_continues_with_any_accepted_request(
    engine: Service, start: dict[str, Any], work: dict[str, Any], one: dict[str, Any]
) -> None:
    name = f"x{next(NUMBERS)}"
    for path, content in (
        ("/pools", pool(name, startTask=start)),
        ("/jobs", {**work, **job(name)}),
        (f"/jobs/{name}/tasks", {**one, "id": "t"}),
        ("/jobs/j/tasks", {**one, "id": name}),
    ):
        answer = engine.request("POST", path, content, checked=False)
        event(f"{path.replace(name, 'x')} answered {answer.status}")
        assert answer.status in (201, 400, 404, 409, 501)


NUMBERS = count()


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Service]:
    """A service with its engine; afterwards it must still run a valid task."""
    with running_with_engine(tmp_path / "batch") as service:
        service.client.create_pool(pool(taskSlotsPerNode=8))
        service.client.create_job(job())
        yield service
        service.client.create_pool(pool("right"))
        service.client.create_job(job("right", "right"))
        service.client.create_task("right", task("t", "true"))
        wait_until(lambda: service.client.get_task("right", "t").state == "completed")
