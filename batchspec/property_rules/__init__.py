"""The rules that the Batch reference states about properties of requests, as one table.

In: an object of a request as :class:`Properties`. Out: every property that breaks a rule. Both
sides of the protocol use the table: ``spec`` reports errors with their position, and ``local``
refuses requests like the service. Not here: the language of specs, positions, HTTP, and rules that
need the account.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from batchspec.frozen import frozen
from batchspec.property_rules.arm_pool import ForeignPropertyError, arm_names, arm_pool, batch_pool
from batchspec.property_rules.job import JOB, TASKS
from batchspec.property_rules.machine import MACHINE
from batchspec.property_rules.pool import NETWORK, POOL
from batchspec.property_rules.rule import (
    MISSING,
    UNKNOWN,
    Path,
    Properties,
    PropertyRule,
    PropertyValue,
)

__all__ = [
    "PROPERTY_RULES",
    "UNKNOWN",
    "ForeignPropertyError",
    "Path",
    "Properties",
    "PropertyRule",
    "PropertyValue",
    "Violation",
    "arm_names",
    "arm_pool",
    "batch_pool",
    "violations",
]

PROPERTY_RULES: tuple[PropertyRule, ...] = (*POOL, *MACHINE, *NETWORK, *JOB, *TASKS)


@frozen
class Violation:
    """A property that breaks a rule.

    ``path`` leads from the object that was checked to the property, which may be absent.
    ``missing`` is the name of a required property that is absent. ``message`` and
    ``fix`` have REST names in backticks.
    """

    rule: PropertyRule
    path: Path
    message: str
    fix: str
    missing: str = ""

    @property
    def code(self) -> str:
        """The code of the finding."""
        return "missing-key" if self.missing else self.rule.code

    @property
    def fault(self) -> str:
        """The error code of the service."""
        return MISSING if self.missing else self.rule.faults[0]

    @property
    def name(self) -> str:
        """The REST name of the property, or of the list or object that it belongs to."""
        return next((part for part in reversed(self.path) if isinstance(part, str)), "")


def violations(value: PropertyValue) -> list[Violation]:
    """Every violation in an object and the objects in it, outermost first."""
    found: list[Violation] = []
    _collect(value, (), found)
    return found


def _collect(value: PropertyValue, path: Path, found: list[Violation]) -> None:
    # No generators are used, for speed: the embedded service checks up to a million tasks.
    if isinstance(value, tuple):
        for index, item in enumerate(value):
            if isinstance(item, Properties):
                _collect(item, (*path, index), found)
        return
    assert isinstance(value, Properties)
    for rule in _by_model().get(value.model, ()):
        for each in rule.check(value):
            at, fix = (*path, *each.path), each.fix or rule.fix
            found.append(Violation(rule, at, each.message, fix, each.missing))
    for name, member in value.members.items():
        if isinstance(member, Properties | tuple):
            _collect(member, (*path, name), found)


@cache
def _by_model() -> Mapping[str, tuple[PropertyRule, ...]]:
    found: dict[str, tuple[PropertyRule, ...]] = {}
    for rule in PROPERTY_RULES:
        for model in rule.models:
            found[model] = (*found.get(model, ()), rule)
    return found
