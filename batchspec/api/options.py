"""The options that select a run: the spec, its parameters and the account.

This is a separate module, because ``--help`` needs it and must not import the rest.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from batchspec.diagnostics import Secret


class Target(StrEnum):
    """Where a run takes place: on the embedded service, or in an Azure account."""

    LOCAL = "local"
    AZURE = "azure"


class TaskState(StrEnum):
    """The states of tasks that can be listed."""

    ACTIVE = "active"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    ALL = "all"


class ReportFormat(StrEnum):
    """The forms of a report: a page, or data for other tools."""

    HTML = "html"
    JSON = "json"
    CSV = "csv"
    TRACE = "trace"


@dataclass(frozen=True, slots=True)
class RunOptions:
    """The options that select the spec, its parameters and the account.

    ``variables`` are values of parameters as text, which is parsed by the declared type. Without a
    ``target``, the account is azure if ``environ`` names one, else local. ``max_cost``, such as
    ``25 EUR``, replaces the limit of the spec. ``estimate``: the cost is estimated even if the spec
    does not request an estimate. ``environ`` names the account, and ``BATCHSPEC_VAR_NAME`` in it
    sets a parameter. ``read_value`` reads the value of a secret (its first argument) from ``@FILE``
    or ``-``; without it, these texts are values.
    """

    path: Path
    variables: Mapping[str, str] = field(repr=False)
    variable_files: tuple[Path, ...]
    target: Target | None
    environ: Mapping[str, str] = field(repr=False)
    max_cost: str = ""
    estimate: bool = False
    read_value: Callable[[str, str], str] | None = field(default=None, repr=False)


def variable_text(value: object) -> str:
    """The value of a parameter as text: a string unchanged, everything else as JSON.

    Raises:
        TypeError: JSON has no such value.
    """
    match value:
        case str():
            return value
        case Secret():
            return value.reveal()
        case os.PathLike():
            return str(os.fspath(value))
        case _:
            return json.dumps(value, ensure_ascii=False)
