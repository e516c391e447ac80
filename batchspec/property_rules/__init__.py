"""The rules that the Batch reference states about properties of requests, as one table.

In: an object of a request as :class:`Properties`. Out: every property that breaks a rule. Both
sides of the protocol use the table: ``spec`` to report mistakes with their position, ``local`` to
refuse requests as the service does. Not here: the language of specs, positions, HTTP, and rules
that need the account.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache

from batchspec.property_rules.job import JOB
from batchspec.property_rules.machine import MACHINE
from batchspec.property_rules.network import NETWORK
from batchspec.property_rules.pool import POOL, unknown_user, user_names
from batchspec.property_rules.rule import (
    UNKNOWN,
    Path,
    Properties,
    PropertyRule,
    PropertyValue,
)
from batchspec.property_rules.task import TASKS

__all__ = [
    "PROPERTY_RULES",
    "UNKNOWN",
    "Path",
    "Properties",
    "PropertyRule",
    "PropertyValue",
    "Violation",
    "models_with_rules",
    "unknown_user",
    "user_names",
    "violations",
]

PROPERTY_RULES: tuple[PropertyRule, ...] = (*POOL, *MACHINE, *NETWORK, *JOB, *TASKS)


@dataclass(frozen=True, slots=True)
class Violation:
    """A property that breaks a rule.

    ``path`` leads from the object that was checked to the property, which may be absent.
    ``message`` and ``fix`` have REST names in backticks.
    """

    rule: PropertyRule
    path: Path
    code: str
    message: str
    fix: str

    @property
    def name(self) -> str:
        """The REST name of the property, or of the list or object that it belongs to."""
        return next((part for part in reversed(self.path) if isinstance(part, str)), "")


def violations(value: PropertyValue, path: Path = ()) -> Iterator[Violation]:
    """Every violation in an object and the objects in it, outermost first."""
    if isinstance(value, tuple):
        for index, item in enumerate(value):
            yield from violations(item, (*path, index))
    if not isinstance(value, Properties):
        return
    for rule in _by_model().get(value.model, ()):
        for found in rule.check(value):
            code, fix = found.code or rule.code, found.fix or rule.fix
            yield Violation(rule, (*path, *found.path), code, found.message, fix)
    for name, member in value.members.items():
        if isinstance(member, Properties | tuple):
            yield from violations(member, (*path, name))


def models_with_rules() -> frozenset[str]:
    """The models that have rules of their own."""
    return frozenset(_by_model())


@cache
def _by_model() -> Mapping[str, tuple[PropertyRule, ...]]:
    found: dict[str, tuple[PropertyRule, ...]] = {}
    for rule in PROPERTY_RULES:
        for model in rule.models:
            found[model] = (*found.get(model, ()), rule)
    return found
