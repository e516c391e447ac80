"""Hypothesis strategies for requests that are almost valid: targets, headers and bodies."""

from __future__ import annotations

import inspect
import json
import re
from functools import cache
from importlib.resources import files
from typing import Any

from hypothesis import strategies as st

from batchspec.local.api import ROUTES, Route
from batchspec.local.wire import model_names, properties
from tests.local.raw_http import VERSION

METHODS = st.sampled_from(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
_IDS = "jobs pools tasks j p t J nodes files wd stdout.txt $metadata taskcounts addtaskcollection"
_PARTS = ".. . %2e%2e %2F %00 % %zz %FF %C3%A9 %ED%A0%80 a%20b + ~ ;x=1 %25 terminate"
SEGMENTS = st.sampled_from(["", "a" * 5000, *_IDS.split(), *_PARTS.split()])
_OPTIONS = "$filter $select $expand $skiptoken maxresults recursive timeout api-version force x"
NAMES = st.sampled_from(["", *_OPTIONS.split(), "API-VERSION", "%00", "%24filter"])
_WORDS = "id id,state stats id%20eq%20'j' % %00 %FF %ED%A0%80 ((((( not ' &&= startswith(id,'j')"
_NUMBERS = "0 1 -1 1e9 999999999999999999999 true TRUE creationTime%20gt%20DateTime'2020-01-01'"
VALUES = st.sampled_from(["", "a" * 3000, *_WORDS.split(), *_NUMBERS.split()]) | st.text(
    st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="#"), max_size=9
)
_CONDITIONS = "if-match if-none-match if-modified-since if-unmodified-since ocp-range range"
_OTHERS = (
    "client-request-id return-client-request-id content-type content-md5 content-encoding expect "
    "connection upgrade accept ocp-batch-x x"
)
HEADERS = st.tuples(
    st.sampled_from([*_CONDITIONS.split(), *_OTHERS.split()]),
    st.sampled_from(
        [
            *("", "*", '"0x8D"', "W/x", "true", "gzip", "é", "\x01", "\t x \t", "a" * 3000),
            *("Sun, 22 Nov 2020 14:12:28 GMT", "Mon, 99 Foo 0000 99:99:99 XYZ"),
            *("bytes=0-", "bytes=-1", "bytes=9-1", "bytes=99999999999999999999-"),
            *("100-continue", "close", "websocket", "Upgrade"),
        ]
    ),
)


@st.composite
def targets(draw: st.DrawFn) -> bytes:
    path = "/" + "/".join(draw(st.lists(SEGMENTS, max_size=7)))
    pairs = draw(st.lists(st.tuples(NAMES, st.sampled_from(["=", "", "=="]), VALUES), max_size=4))
    query = [VERSION, *("".join(pair).encode() for pair in pairs)]
    draw(st.randoms()).shuffle(query)
    return path.encode() + b"?" + b"&".join(query)


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=6,
)
BODIES = st.one_of(
    JSON.map(lambda value: json.dumps(value).encode()),
    st.binary(max_size=50),
    st.sampled_from(
        [
            *(b"[" * 100_000, b'{"a":' * 50_000, b"1" * 10_000, b'{"value":' + b"9" * 5000 + b"}"),
            *(b'{"id":"' + b"x" * 600_000 + b'"}', b"{}" + b" " * 900_000, b"-" * 9, b"1e999"),
            *(b'{"id":"\\ud800"}', b'{"id":"\\u0000"}', b'{"id":"a","id":"b"}', b"\xef\xbb\xbf{}"),
            *(b"NaN", b"\0", b"{} {}"),
        ]
    ),
)


@cache
def enums() -> dict[str, list[str]]:
    """The values of each enum of the wire models."""
    text = files("batchspec.local.wire").joinpath("models.json").read_text(encoding="utf-8")
    found: dict[str, list[str]] = json.loads(text)["enums"]
    return found


@cache
def models_of(route: Route) -> tuple[str, ...]:
    """The wire models that an operation parses."""
    found = (
        re.findall(r'parse_(?:optional_)?body\(\s*"(\w+)"', inspect.getsource(route.handler))
        if route.handler
        else []
    )
    return tuple(name for name in found if name in model_names())


RIGHT: dict[str, st.SearchStrategy[Any]] = {
    "bool": st.booleans(),
    "int": st.sampled_from([0, 1, 2, 3, 100]),
    "long": st.sampled_from([0, 1, 2**40]),
    "double": st.sampled_from([0, 1.5]),
    "duration": st.sampled_from(["PT1M", "P1D", "PT0S", "PT5M", "P9DT1H"]),
    "datetime": st.sampled_from(["2020-01-01T00:00:00Z", "2099-12-31T23:59:59.9999999Z"]),
    "string": st.sampled_from(
        ["a", "p", "j", "t", "new", "é", "/bin/sh -c 'exit 0'", "http://127.0.0.1:1/c?sig=x"]
    ),
}
ODD = st.sampled_from(
    [
        *(
            "",
            "x" * 70,
            "\ud800",
            "\0",
            "../..",
            "$X",
            "'",
            "*",
            "12",
            "-",
            "PT-1S",
            "P99999999999D",
        ),
        *("0001-01-01T00:00Z", "9999-12-31T23:59:59.9999999Z", "2020-01-01", None, True, [], {}),
        *(-1, 256, 2**31 - 1, 2**31, 2**63, -(2**63), 10**400, 1.5, 1e308, [None], [[]], {"": 1}),
    ]
)


@cache
def values_of(kind: str, depth: int) -> st.SearchStrategy[Any]:
    """Values of a property of this type, and occasionally an invalid value."""
    kind = kind.removeprefix("-").rstrip("!")
    if kind.startswith("@"):
        right = bodies_of(kind[1:], depth - 1) if depth else st.just({})
    elif kind.startswith("#"):
        right = st.sampled_from(enums()[kind[1:]])
    elif kind.startswith("["):
        right = st.lists(values_of(kind[1:-1], depth), max_size=2)
    elif kind.startswith("{"):
        right = st.dictionaries(RIGHT["string"], values_of(kind[1:-1], depth), max_size=2)
    else:
        right = RIGHT.get(kind, RIGHT["string"])
    return st.integers(0, 29).flatmap(lambda n: ODD if n == 7 else right)


@cache
def bodies_of(model: str, depth: int = 3) -> st.SearchStrategy[dict[str, Any]]:
    """Bodies with the required and a few optional properties of a model."""
    fields = properties(model)
    values = {name: values_of(kind, depth) for name, kind in fields.items()}
    needed = {name: values[name] for name, kind in fields.items() if kind.endswith("!")}
    others = [name for name, kind in fields.items() if name not in needed and kind[0] != "-"]
    if not others:
        return st.fixed_dictionaries(needed)
    few = st.lists(st.sampled_from(others), max_size=3, unique=True)
    return few.flatmap(
        lambda names: st.fixed_dictionaries({**needed, **{name: values[name] for name in names}})
    )


@st.composite
def operations(draw: st.DrawFn) -> tuple[Route, bytes, dict[str, Any] | None]:
    route = draw(st.sampled_from([route for route in ROUTES if route.handler]))
    # Operations that delete or terminate use other resources than the remaining operations.
    for_good = route.operation in {"delete_pool", "delete_job", "terminate_job"}
    ids = {} if for_good else {"poolId": "p", "jobId": "j", "taskId": "t"}
    parts = [
        draw(st.sampled_from([ids.get(part[1:-1], "x")] * 9 + ["new", "%00", "%2e%2e", "J"]))
        if part.startswith("{")
        else part
        for part in route.path.split("/")
    ]
    models = models_of(route)
    body = draw(bodies_of(draw(st.sampled_from(models)))) if models else None
    return route, "/".join(parts).encode(), body
