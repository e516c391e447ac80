"""The plan: ordered steps, what is kept, what was found, and a fingerprint of what it rests on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from batchspec.diagnostics import Diagnostic, Severity
from batchspec.plan.actions import Action
from batchspec.plan.observed import Account


class Verb(StrEnum):
    """What a step does, in one word. Part of the published JSON."""

    CREATE = "create"
    UPDATE = "update"
    REPLACE = "replace"
    DELETE = "delete"
    UPLOAD = "upload"
    SUBMIT = "submit"
    WAIT = "wait"
    DOWNLOAD = "download"
    KEEP = "keep"
    RESIZE = "resize"
    TERMINATE = "terminate"


class Gate(StrEnum):
    """When a step that is not blocked may run."""

    FLOW = "flow"
    """As soon as what it comes after is done."""
    SUCCESS = "success"
    """Only if nothing failed so far."""
    END = "end"
    """When all else has ended, well or not."""
    ASK = "ask"
    """When all else has ended, well or not, and the user agrees."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step: ``after`` names the steps it waits for; ``items`` counts files, tasks or nodes.

    ``subject`` is what it is about in the user's words (``container input``, ``pool topn``);
    ``reason`` says why it is in the plan. A step that only keeps has no ``action``.
    """

    id: str
    action: Action | None
    verb: Verb
    subject: str
    reason: str
    after: tuple[str, ...] = ()
    items: int = 1
    gate: Gate = Gate.FLOW


class Fact(NamedTuple):
    """A fact that a plan rests on: what it is, and its parts by name where they can be told apart.

    From a ``#`` on a text is a digest: it tells that something moved, and is not shown. It is a
    tuple, and so a value that can be part of a digest.
    """

    value: str
    parts: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole plan. ``digest`` is the spec's; ``fingerprint`` covers all that it rests on.

    ``snapshot`` are what it rests on, by what the user calls them.

    ``kept`` are the parts that stay as they are, each with its reason (verb ``keep``). A plan that
    is ``detached`` ends before its job does; one that is ``scheduled`` before the jobs that a
    schedule makes.
    """

    account: Account
    name: str
    description: str
    digest: str
    steps: tuple[Step, ...]
    kept: tuple[Step, ...]
    findings: tuple[Diagnostic, ...]
    fingerprint: str
    snapshot: Mapping[str, Fact] = field(default_factory=dict)
    detached: bool = False
    scheduled: bool = False

    @property
    def counts(self) -> Mapping[str, int]:
        """How many steps there are of each verb, kept ones included."""
        counts: dict[str, int] = {}
        for step in (*self.steps, *self.kept):
            counts[step.verb] = counts.get(step.verb, 0) + 1
        return counts

    @property
    def questions(self) -> tuple[Diagnostic, ...]:
        """The findings that the user has to agree to before anything is sent."""
        return tuple(found for found in self.findings if found.severity is Severity.QUESTION)

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do."""
        return not self.steps
