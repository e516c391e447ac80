"""What is said of every finding of one code, whatever it is about."""

from __future__ import annotations

from dataclasses import dataclass

from batchspec.problems import Severity

ERROR, WARNING, NOTE = Severity.ERROR, Severity.WARNING, Severity.NOTE


@dataclass(frozen=True, slots=True)
class Kind:
    """One code: how much it weighs, what it is called, why it matters, how to mend it.

    An ``ERROR`` stops the plan, and nothing is sent; a ``WARNING`` and a ``NOTE`` are told with it.
    """

    code: str
    severity: Severity
    title: str
    why: str
    mend: str


@dataclass(frozen=True, slots=True)
class Family:
    """Kinds that are about one thing; ``about`` is a sentence on it."""

    title: str
    about: str
    kinds: tuple[Kind, ...]
