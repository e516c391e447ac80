"""The filters and tests that expressions have: Jinja's harmless ones, and those that jobs need.

A filter makes text of bounded size, and refuses what is held.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import wraps
from pathlib import PurePosixPath

from jinja2.filters import FILTERS as JINJA_FILTERS
from jinja2.tests import TESTS as JINJA_TESTS

from batchspec.spec.held import LIMIT, Argument, Held, Raw, RefusalError, guard, plain
from batchspec.spec.names import slug

CONCAT = "~"
"""The name under which ``~`` is a filter over a list, so that it makes text as all else does."""

_KEPT_FILTERS = """
abs capitalize count d default first float int items last length list lower map max min reject
rejectattr reverse round select selectattr sort string sum title trim truncate unique upper
urlencode
"""

_KEPT_TESTS = """
boolean defined divisibleby eq even false float ge gt in integer le lower lt mapping ne none number
odd sequence string true undefined upper
"""


def _guarded(function: Callable[..., object]) -> Callable[..., object]:
    """A filter that refuses what is held. Several of Jinja's swallow the error it would raise."""

    @wraps(function)
    def guarded(*args: object, **named: object) -> object:
        for value in (*args, *named.values()):
            if isinstance(value, Held):
                value.refuse()
        return function(*args, **named)

    return guarded


def _raw(value: object) -> Raw:
    return Raw(value.value if isinstance(value, Argument) else value)


def _quote(value: object) -> Argument:
    return Argument(value.value if isinstance(value, Raw) else value)


def _hash(value: object, length: int = 8) -> str:
    """The first hexadecimal digits of the SHA-256 of a text: the same everywhere, always."""
    return hashlib.sha256(plain(value).encode("utf-8", "surrogatepass")).hexdigest()[:length]


def _zfill(value: object, width: int) -> str:
    if width > 1024:
        raise RefusalError("`zfill` fills up to 1024 characters")
    return plain(value).zfill(width)


def _replace(value: object, old: str, new: str) -> str:
    text, new = plain(value), plain(new)
    if len(text) + text.count(old) * len(new) > LIMIT:
        raise RefusalError(f"a text of more than {LIMIT:,} characters")
    return text.replace(old, new)


def _join(values: Iterable[object], between: str = "", attribute: str | None = None) -> str:
    """``attribute`` names a member of each, as in Jinja's own."""
    texts = []
    for value in values:
        if attribute is not None and isinstance(value, Mapping):
            texts.append(plain(guard(value.get(attribute))))
        else:
            texts.append(plain(value))
    if sum(map(len, texts)) + len(texts) * len(between) > LIMIT:
        raise RefusalError(f"a text of more than {LIMIT:,} characters")
    return between.join(texts)


def _tojson(value: object) -> str:
    return json.dumps(_json(value), ensure_ascii=False)


def _json(value: object) -> object:
    match guard(value):
        case Mapping() as members:
            return {str(key): _json(item) for key, item in members.items()}
        case list() | tuple() | Iterator() as items:
            return [_json(item) for item in items]
        case None | bool() | int() | float() | str() as scalar:
            return scalar
        case other:
            return plain(other)  # which refuses what is held or undefined


def _path(value: object) -> PurePosixPath:
    return PurePosixPath(plain(value).replace("\\", "/"))


FILTERS: Mapping[str, Callable[..., object]] = {
    **{name: _guarded(JINJA_FILTERS[name]) for name in _KEPT_FILTERS.split()},
    "raw": _raw,
    "quote": _quote,
    "stem": lambda value: _path(value).stem,
    "suffix": lambda value: _path(value).suffix,
    "basename": lambda value: _path(value).name,
    "dirname": lambda value: str(_path(value).parent),
    "zfill": _zfill,
    "hash": _hash,
    "slug": lambda value: slug(plain(value)),
    "replace": _replace,
    "join": _join,
    "tojson": _tojson,
    CONCAT: _join,
}
"""By name."""

TESTS = {name: JINJA_TESTS[name] for name in _KEPT_TESTS.split()}
"""By name; what stands behind ``is``."""
