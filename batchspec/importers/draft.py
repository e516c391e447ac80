"""A spec that is being written: its sections, with notes on what could not be imported.

The importers fill a :class:`Draft`; :meth:`Draft.text` is the YAML. Notes become comments above the
section that they are about.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from batchspec.importers.secret_values import SecretRemoval, secret_variables
from batchspec.spec import RESERVED, dump_document, slug

Body: TypeAlias = dict[str, Any]
"""Members of a section, as YAML has them."""

POOL, JOB, CONTAINERS, PARAMETERS = "pool", "job", "containers", "parameters"
"""Sections of a spec that a note can be about; that of a stage is :func:`stage_section`."""

_WIDTH = 100
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufeff\ufffe\uffff]")
_LIMIT = "1d"
"""The time limit of a job that had none."""


def stage_section(name: str) -> str:
    """The section of a stage."""
    return f"tasks.{name}"


@dataclass(slots=True)
class Draft:
    """The sections of a spec, and notes by section."""

    name: str = ""
    description: str = ""
    parameters: dict[str, Body] = field(default_factory=dict)
    containers: dict[str, Body] = field(default_factory=dict)
    pool: Body = field(default_factory=dict)
    job: Body = field(default_factory=dict)
    stages: dict[str, Body] = field(default_factory=dict)
    notes: dict[str, list[str]] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    """Names of secret parameters by the values that they replace in all sections."""

    def hide_secrets(self, document: object) -> None:
        """Declare a secret parameter for each variable whose name says that its value is secret."""
        for name, value in secret_variables(document):
            if value in self.secrets:
                continue
            wanted, number = name.lower(), 2
            while identifier(wanted) in self.secrets.values():
                wanted, number = f"{name.lower()}_{number}", number + 1
            key = self.parameter(wanted, type="string", secret=True)
            self.secrets[value] = key
            self.note(
                PARAMETERS,
                f"The value of `{name}` is not imported; set it with `--var {key}=...`.",
            )

    def note(self, section: str, text: str) -> None:
        """Say something about a section, once."""
        found = self.notes.setdefault(section, [])
        if text not in found:
            found.append(text)

    def container(self, name: str, *, key: str = "", existing: bool = False) -> str:
        """The key of a container by its name in the account; it is declared if it is new."""
        key = key or identifier(name)
        body = self.containers.setdefault(key, {})
        if key != name:
            body["id"] = name
        if existing:
            body["existing"] = True
        return key

    def parameter(self, name: str, **declaration: Any) -> str:
        """The name of a parameter, which is declared if it is new."""
        key = identifier(name)
        if key in RESERVED:
            key = f"{key}_value"
        self.parameters.setdefault(key, {}).update(declaration)
        return key

    def stage(self, wanted: str, body: Body) -> str:
        """Add a stage; returns its name, which is ``wanted`` unless that is taken."""
        base = slug(wanted, 40) or "task"
        name, number = base, 2
        while name in self.stages:
            name, number = f"{base}-{number}", number + 1
        self.stages[name] = body
        return name

    def finish(self) -> None:
        """Add what every spec needs and the original did not say."""
        self.name = slug(self.name, 64) or "imported"
        if not self.pool:
            pool = self.parameter("pool_id", type="string", description="The id of the pool.")
            self.pool = {"existing": f"{{{{ {pool} }}}}"}
            self.note(POOL, "The original does not define the pool. Name one, or define it here.")
        if "existing" not in self.pool and "vm_size" not in self.pool:
            self.pool["vm_size"] = "standard_d2s_v5"
            self.note(POOL, "The original has no VM size.")
        constraints = self.job.get("constraints", {})
        if not {"max_wall_clock_time"} & {*self.job, *constraints}:
            self.job = {"max_wall_clock_time": _LIMIT, **self.job}
            self.note(JOB, "The original has no time limit; batchspec requires one.")
        self._remove_secrets()

    def _remove_secrets(self) -> None:
        without_secrets = SecretRemoval(self.secrets)
        self.description = without_secrets(self.description)
        self.parameters = without_secrets(self.parameters)
        self.containers = without_secrets(self.containers)
        self.pool = without_secrets(self.pool)
        self.job = without_secrets(self.job)
        self.stages = without_secrets(self.stages)
        self.notes = without_secrets(self.notes)

    def text(self, origin: str) -> str:
        """The spec as YAML. ``origin`` says what it was imported from."""
        return "\n".join(self._lines(origin)) + "\n"

    def _lines(self, origin: str) -> Iterator[str]:
        yield f"# Imported from {_one_line(origin)} by batchspec import."
        yield from _comment(self.notes.get("", ()))
        yield from _dumped({"version": 1, "name": self.name})
        if self.description:
            yield from _dumped({"description": self.description})
        for section, body in (
            (PARAMETERS, self.parameters),
            (CONTAINERS, self.containers),
            (POOL, self.pool),
            (JOB, self.job),
        ):
            if body:
                yield ""
                yield from _comment(self.notes.get(section, ()))
                yield from _dumped({section: body})
        if self.stages:
            yield ""
            yield from _comment(self.notes.get("tasks", ()))
            yield "tasks:"
        for number, (name, body) in enumerate(self.stages.items()):
            if number:
                yield ""
            yield from _indented(_comment(self.notes.get(stage_section(name), ())))
            yield from _indented(_dumped({name: body}))


def identifier(name: str) -> str:
    """A name as templates can use it: letters, digits and underscores."""
    found = re.sub(r"\W", "_", name, flags=re.ASCII).strip("_") or "unnamed"
    return f"_{found}" if found[0].isdigit() else found


def _one_line(text: str) -> str:
    """A text without the line breaks and control characters of YAML, which would end a comment."""
    return _CONTROL.sub("?", " ".join(text.split()))


def _dumped(document: Mapping[str, object]) -> list[str]:
    return dump_document(document, "yaml").rstrip("\n").split("\n")


def _indented(lines: Iterator[str] | list[str]) -> Iterator[str]:
    return (f"  {line}" if line else line for line in lines)


def _comment(notes: list[str] | tuple[str, ...]) -> Iterator[str]:
    for note in notes:
        yield from textwrap.wrap(
            _one_line(note),
            _WIDTH,
            initial_indent="# ",
            subsequent_indent="# ",
            break_long_words=False,
        )
