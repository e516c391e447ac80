"""Options that mean the same in every command."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Self, TypeAlias

import typer

from batchspec.diagnostics import Diagnostic, UsageError
from batchspec.plan.options import Part


class Target(StrEnum):
    """Which account a command works on."""

    LOCAL = "local"
    AZURE = "azure"


class Format(StrEnum):
    """How an answer is written."""

    TEXT = "text"
    JSON = "json"
    MARKDOWN = "markdown"


class Shape(StrEnum):
    """How a configuration is written."""

    YAML = "yaml"
    JSON = "json"


class ProgressKind(StrEnum):
    """How a run is shown."""

    AUTO = "auto"
    LIVE = "live"
    PLAIN = "plain"
    JSON = "json"
    QUIET = "quiet"


class StarterTemplate(StrEnum):
    """What a starter spec is a start of."""

    ONE_FILE_PER_TASK = "one-file-per-task"
    SWEEP = "sweep"
    CONTAINER = "container"
    MAP_REDUCE = "map-reduce"

    @property
    def folder(self) -> str:
        """The folder of its files."""
        return self.value.replace("-", "_")


SpecFile: TypeAlias = Annotated[Path, typer.Argument(metavar="SPEC", help="The spec, a YAML file.")]
Rerun: TypeAlias = Annotated[
    bool, typer.Option("--rerun", help="Do all of it again, what is finished included.")
]
Replace: TypeAlias = Annotated[
    list[Part] | None,
    typer.Option("--replace", help="Make the pool or the job anew. May be repeated."),
]
OnlyStep: TypeAlias = Annotated[
    str,
    typer.Option(
        "--target-step", metavar="STEP", help="Only this step of the plan, and what it needs."
    ),
]
SpecOrPlan: TypeAlias = Annotated[
    Path, typer.Argument(metavar="SPEC", help="The spec, or a plan that `plan --out` saved.")
]
Variables: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--var", metavar="NAME=VALUE", help="Set a parameter. May be repeated."),
]
VariableFiles: TypeAlias = Annotated[
    list[Path] | None,
    typer.Option("--var-file", metavar="FILE", help="Set parameters from a YAML or JSON file."),
]
TargetOption: TypeAlias = Annotated[
    Target | None,
    typer.Option(
        "--target",
        envvar="BATCHSPEC_TARGET",
        help="Which account: the embedded service, or Azure. "
        "[default: azure if an account is named in the environment, else local]",
        show_default=False,
    ),
]
Yes: TypeAlias = Annotated[bool, typer.Option("--yes", "-y", help="Answer yes to every question.")]
Verbose: TypeAlias = Annotated[
    bool, typer.Option("--verbose", "-v", help="Show more: requests in a plan, causes of errors.")
]
Progress: TypeAlias = Annotated[
    ProgressKind,
    typer.Option("--progress", help="How the run is shown. auto: live on a terminal, else plain."),
]
AnyFormat: TypeAlias = Annotated[Format, typer.Option("--format", help="How it is written.")]


def _no_markdown(form: Format) -> Format:
    """A plan alone has a form that fits a pull request."""
    if form is Format.MARKDOWN:
        raise UsageError(
            Diagnostic("bad-format", "only a plan has a markdown form", fix="Take text or json.")
        )
    return form


TextOrJson: TypeAlias = Annotated[
    Format,
    typer.Option(
        "--format",
        metavar="text|json",
        help="How it is written.",
        callback=_no_markdown,
    ),
]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a command was given to find its spec and its account."""

    path: Path
    variables: tuple[str, ...]
    variable_files: tuple[Path, ...]
    target: Target | None
    environ: Mapping[str, str]

    @classmethod
    def of(
        cls,
        path: Path,
        variables: list[str] | None,
        variable_files: list[Path] | None,
        target: Target | None = None,
    ) -> Self:
        """From the options as they come; the environment is read here and nowhere else."""
        files = tuple(variable_files or ())
        return cls(path, tuple(variables or ()), files, target, os.environ)


def variables_of(given: Iterable[str]) -> dict[str, str]:
    """``--var NAME=VALUE`` options as a mapping; the last of a name counts.

    Raises:
        UsageError: one has no ``=`` or no name.
    """
    variables: dict[str, str] = {}
    wrong: list[Diagnostic] = []
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            # The text itself may be a secret that lost its name.
            wrong.append(
                Diagnostic(
                    "bad-variable",
                    "--var takes NAME=VALUE",
                    fix="For example: --var top=5",
                )
            )
            continue
        variables[name.strip()] = value
    if wrong:
        raise UsageError(*wrong)
    return variables
