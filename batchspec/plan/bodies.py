"""A task's body with its templates, made ready once and filled in for every task."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import TypeAlias

from batchspec.spec import Quoting, Record, Template, Value, evaluate, typed

Scope: TypeAlias = Mapping[str, object]
Fill: TypeAlias = Callable[[Scope], Value]

_READ = 1024
"""How many texts of one template are kept beside the values that they were read as."""


def filler(value: Value, *, windows: bool) -> Fill | None:
    """A function that fills in the templates of a value; ``None`` if there are none.

    What has no template in it is not copied.
    """
    shell = Quoting.WINDOWS if windows else Quoting.POSIX
    match value:
        case Template():
            return _evaluated(value, shell)
        case Record():
            fills = {
                key: fill for key, item in value.items() if (fill := filler(item, windows=windows))
            }
            if not fills:
                return None
            return lambda scope: Record(
                {key: fills[key](scope) if key in fills else item for key, item in value.items()}
            )
        case tuple():
            members = [(item, filler(item, windows=windows)) for item in value]
            if not any(fill for _, fill in members):
                return None
            return lambda scope: tuple(fill(scope) if fill else item for item, fill in members)
    return None


def _evaluated(template: Template, shell: Quoting) -> Fill:
    if template.kind is None:
        return lambda scope: evaluate(template, scope, shell=shell)
    # Numbers and choices are few, however many the tasks: each is read once.
    read = lru_cache(maxsize=_READ)(partial(typed, kind=template.kind))
    return lambda scope: read(evaluate(template, scope, shell=shell))


def names_task(value: Value) -> bool:
    """Whether a template in a value may use ``task.id``."""
    return names(value, "task")


def names(value: Value, word: str) -> bool:
    """Whether a template in a value may use a variable; a false positive costs little."""
    match value:
        case Template(source=source):
            return re.search(rf"\b{word}\b", source) is not None
        case Record():
            return any(names(item, word) for item in value.values())
        case tuple():
            return any(names(item, word) for item in value)
    return False
