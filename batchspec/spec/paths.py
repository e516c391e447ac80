"""Templates of texts and names alone, as most are: told apart and looked up without Jinja.

What is not as simple as that, or not right, is left to those who know Jinja: they have the words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

from batchspec.spec.held import guard
from batchspec.spec.shell import reader
from batchspec.spec.values import Quoting

if TYPE_CHECKING:
    from batchspec.spec.template import Names

Part: TypeAlias = str | tuple[str, ...]
"""A text as it is, or a path of names: ``containers.output.url`` in three."""

_MEMBER = r"""\.[A-Za-z_][A-Za-z0-9_]*|\[\s*(?:'[^'"\\\s]*'|"[^'"\\\s]*")\s*\]"""
_PATH = re.compile(rf"(?<!\{{)\{{\{{\s*([A-Za-z_][A-Za-z0-9_]*)((?:{_MEMBER})*)\s*\}}\}}")
_MORE = re.compile(r"\{\{|\r|\0")
"""What makes a text more than a text."""

_STATEMENT = re.compile(r"\{%|\{#")
"""What would be a statement or a comment elsewhere."""

_WORDS = frozenset(("and", "else", "false", "if", "in", "is", "none", "not", "or", "true"))
"""What Jinja takes for something else than a name, in any case."""


@lru_cache(maxsize=4096)
def parts(source: str) -> tuple[Part, ...] | None:
    """The texts and paths of a template; ``None`` if there is more to it."""
    found: list[Part] = []
    end = 0
    for match in _PATH.finditer(source):
        path = (match[1], *(name.strip("[]'\". \t\n") for name in re.findall(_MEMBER, match[2])))
        if any(name.lower() in _WORDS for name in path):
            return None
        found += [source[end : match.start()], path]
        end = match.end()
    found.append(source[end:])
    if any(_MORE.search(part) for part in found if isinstance(part, str)):
        return None
    return tuple(part for part in found if part)


def is_good(source: str, names: Names, quoting: Quoting | None) -> bool:
    """Whether a template is so simple, and all of it known and where it may stand."""
    simple = parts(source)
    if simple is None or _STATEMENT.search(source):
        return False
    if not all(_is_known(part, names) for part in simple if type(part) is tuple):
        return False
    if quoting is None:
        return True
    shell = reader(quoting)
    for part, following in zip(simple, (*simple[1:], ""), strict=False):
        if isinstance(part, str):
            shell.read(part)
        elif shell.value(following if isinstance(following, str) else ""):
            return False
    return True


def _is_known(path: tuple[str, ...], names: Names) -> bool:
    for name in path:
        if name not in names.known:
            return names.open
        names = names.known[name]
    return True


def looked_up(simple: tuple[Part, ...], scope: Mapping[str, object]) -> list[object] | None:
    """The parts as Jinja would yield them; ``None`` where a name is not simply there."""
    found: list[object] = []
    for part in simple:
        if type(part) is str:
            found.append(part)
            continue
        value: object = scope
        for name in part:
            if not isinstance(value, _OBJECTS) or name not in value:
                return None
            value = value[name]
        found.append((guard(value),))
    return found


_OBJECTS = (dict, Mapping)
