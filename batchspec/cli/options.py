"""Options that several commands share."""

from __future__ import annotations

import os
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from batchspec.api.options import RunOptions, Target
from batchspec.cli.activity import show_activity
from batchspec.cli.completion import complete_step, complete_variable
from batchspec.diagnostics import Diagnostic, UsageError
from batchspec.plan import Part


class Format(StrEnum):
    """Output formats; only a plan has ``markdown``."""

    TEXT = "text"
    JSON = "json"
    MARKDOWN = "markdown"


class ProgressKind(StrEnum):
    """How the progress of a run is shown."""

    AUTO = "auto"
    LIVE = "live"
    PLAIN = "plain"
    JSON = "json"
    QUIET = "quiet"

    @property
    def shows_plan(self) -> bool:
        """Whether the plan is printed before the run."""
        return self not in {ProgressKind.JSON, ProgressKind.QUIET}


SpecFile: TypeAlias = Annotated[Path, typer.Argument(metavar="SPEC", help="The spec, a YAML file.")]
SpecOrPlan: TypeAlias = Annotated[
    Path, typer.Argument(metavar="SPEC", help="The spec, or a plan saved by `plan --out`.")
]
Rerun: TypeAlias = Annotated[
    bool, typer.Option("--rerun", help="Run all tasks again, including those that succeeded.")
]
Replace: TypeAlias = Annotated[
    list[Part] | None,
    typer.Option(
        "--replace", help="Delete the pool or the job and create it again. Can be repeated."
    ),
]
OnlyStep: TypeAlias = Annotated[
    str,
    typer.Option(
        "--target-step",
        metavar="STEP",
        autocompletion=complete_step,
        help="Only this step of the plan and the steps it needs.",
    ),
]
Variables: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--var",
        metavar="NAME=VALUE",
        autocompletion=complete_variable,
        help="Set a parameter. Can be repeated.",
    ),
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
        help="The account: the embedded service's (local) or one on Azure. "
        "[default: azure if the environment names an account, else local]",
        show_default=False,
    ),
]
MaxCost: TypeAlias = Annotated[
    str,
    typer.Option(
        "--max-cost",
        metavar="AMOUNT",
        help="Refuse a run that could cost more, such as 25 or '25 EUR'. Replaces `cost.max`.",
    ),
]
Yes: TypeAlias = Annotated[bool, typer.Option("--yes", "-y", help="Answer yes to every question.")]
Verbose: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--verbose",
        "-v",
        help="Print more: the requests of a plan, full ids of nodes, error details.",
    ),
]
Progress: TypeAlias = Annotated[
    ProgressKind,
    typer.Option(
        "--progress",
        help="How progress is shown. auto: live on a terminal, plain elsewhere.",
    ),
]
AnyFormat: TypeAlias = Annotated[Format, typer.Option("--format", help="Output format.")]


def _reject_markdown(output_format: Format) -> Format:
    if output_format is Format.MARKDOWN:
        raise UsageError(
            Diagnostic("bad-format", "only `plan` has a markdown format", fix="Use text or json.")
        )
    return output_format


TextOrJson: TypeAlias = Annotated[
    Format,
    typer.Option("--format", metavar="text|json", help="Output format.", callback=_reject_markdown),
]


def run_options(
    path: Path,
    variables: list[str] | None,
    variable_files: list[Path] | None,
    target: Target | None = None,
    *,
    max_cost: str = "",
    estimate: bool = False,
) -> RunOptions:
    """From the values that typer passes, with the environment of this process.

    Raises:
        UsageError: a ``--var`` option is wrong.
    """
    show_activity(f"reading {path.name}")
    files = tuple(variable_files or ())
    given = variables_of(variables or ())
    return RunOptions(path, given, files, target, os.environ, max_cost, estimate)


def variables_of(texts: Iterable[str]) -> dict[str, str]:
    """``--var NAME=VALUE`` options as a mapping; the last value of a name counts.

    Raises:
        UsageError: an option has no ``=`` or no name.
    """
    variables: dict[str, str] = {}
    errors: list[Diagnostic] = []
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            # The text is not printed: it may be a secret without its name.
            errors.append(
                Diagnostic(
                    "bad-variable", "`--var` needs NAME=VALUE", fix="For example: --var top=5"
                )
            )
            continue
        variables[name.strip()] = value
    if errors:
        raise UsageError(*errors)
    return variables
