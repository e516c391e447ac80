"""Escapes inserted values for the place where they stand: a file pattern, a URL, a JSON text.

Commands are quoted in ``template``. Raw values are inserted as they are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from urllib.parse import quote as percent_encoded

from batchspec.spec.values import (
    Argument,
    BlobUrl,
    Opaque,
    Quoted,
    Quoting,
    Raw,
    Target,
    Text,
    plain,
)

_SPECIAL = re.compile(r"[*?\[$]")
_SPECIAL_ON_WINDOWS = re.compile(r"[*?\[%]")
_ESCAPED = re.compile(r"\[([*?\[$%])\]")
_WILDCARD = re.compile(r"[*?\[]")
_IN_PATH = "/:@!$&'()*+,;=~-._"
"""Characters that a path of a URL contains without encoding (RFC 3986)."""
_AUTHORITY = re.compile(r"://[^/?#]*/|\0[^?#]*/")
"""What comes before the path of a URL; a URL of the spec is one NUL character."""


def escaped(
    source: str, parts: Iterable[object], target: Target | None, *, windows: bool
) -> Iterable[object]:
    """The parts of a template, with values escaped.

    Parts are literal text, and 1-tuples with a value. ``source`` is the text of the template.
    """
    if target is Target.PATTERN:
        special = _SPECIAL_ON_WINDOWS if windows else _SPECIAL
        return _each(parts, lambda value: special.sub(r"[\g<0>]", plain(value)))
    if target is Target.URL:
        return _in_url(parts)
    if source.lstrip()[:1] in ("{", "[") and (in_strings := _json_strings(source)):
        return _in_json(parts, in_strings)
    return parts


def _each(parts: Iterable[object], escape: object) -> Iterator[object]:
    for part in parts:
        value = part[0] if type(part) is tuple else None
        if type(part) is str or isinstance(value, Raw | Argument | Opaque):
            yield part
        else:
            yield (escape(value),)  # type: ignore[operator]


def literal_name(pattern: str) -> str | None:
    """The name that a pattern consists of if its only wildcards are escaped characters.

    ``None`` for a pattern without escaped characters, or with wildcards.
    """
    if not _ESCAPED.search(pattern) or _WILDCARD.search(_ESCAPED.sub("", pattern)):
        return None
    return _ESCAPED.sub(r"\1", pattern)


def _in_url(parts: Iterable[object]) -> Iterator[object]:
    """Values in the path of a URL are percent-encoded; the host and the query stay as they are."""
    before = ""
    for part in parts:
        if type(part) is str:
            before += part
            yield part
            continue
        value: object = part[0]  # type: ignore[index]
        if isinstance(value, Opaque):
            before += "\0" if isinstance(value.value, BlobUrl) else ""
            yield part
        elif isinstance(value, Raw | Argument) or not _is_in_path(before):
            before += str(value) if isinstance(value, str) else ""
            yield part
        else:
            yield (percent_encoded(plain(value), safe=_IN_PATH),)


def _is_in_path(before: str) -> bool:
    return _AUTHORITY.search(before) is not None and "?" not in before and "#" not in before


@lru_cache(maxsize=1024)
def _json_strings(source: str) -> tuple[bool, ...]:
    """Whether each expression of a JSON text is inside a string; empty if it is no JSON text."""
    from batchspec.spec.template import EXPRESSION  # noqa: PLC0415 - template imports this module

    found: list[bool] = []
    skeleton, end = "", 0
    for match in EXPRESSION.finditer(source):
        skeleton += source[end : match.start()]
        end = match.end()
        found.append(_in_string(skeleton))
        skeleton += "x" if found[-1] else "0"
    try:
        value = json.loads(skeleton + source[end:])
    except ValueError:
        return ()
    return tuple(found) if isinstance(value, dict | list) else ()


def _in_string(text: str) -> bool:
    return len(re.findall(r'(?<!\\)(?:\\\\)*"', text)) % 2 == 1


def _in_json(parts: Iterable[object], in_strings: tuple[bool, ...]) -> Iterator[object]:
    modes = iter(in_strings)
    for part in parts:
        if type(part) is str:
            yield part
            continue
        value: object = part[0]  # type: ignore[index]
        in_string = next(modes, True)
        if isinstance(value, Raw | Argument):
            yield part
        elif isinstance(value, Opaque):
            pieces = value.value.pieces if isinstance(value.value, Text) else (value.value,)
            text = Text((Quoted(Text(pieces), Quoting.IN_JSON),))
            yield part if not in_string else (Opaque(text),)
        elif in_string:
            yield (json.dumps(plain(value), ensure_ascii=False)[1:-1],)
        else:
            yield (_json_value(value),)


def _json_value(value: object) -> str:
    """A value outside of a string; a text that is JSON (a number of a row) stays as it is."""
    from batchspec.spec.sandbox import to_json  # noqa: PLC0415 - imports Jinja

    if isinstance(value, str):
        try:
            json.loads(value)
        except ValueError:
            return json.dumps(value, ensure_ascii=False)
        return value
    return to_json(value)
