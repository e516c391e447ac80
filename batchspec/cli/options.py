"""Options that several commands share."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, BinaryIO, TypeAlias

import typer

from batchspec.api import RunOptions, Target
from batchspec.cli.completion import complete_step, complete_variable
from batchspec.diagnostics import Diagnostic, UsageError
from batchspec.plan import Part


class Format(StrEnum):
    """Output formats; only a plan has ``markdown``."""

    TEXT = "text"
    JSON = "json"
    MARKDOWN = "markdown"


class ProgressKind(StrEnum):
    """The view of the progress of a run."""

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
        help="Select this step of the plan and the steps that it needs.",
    ),
]
Variables: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--var",
        metavar="NAME=VALUE",
        autocompletion=complete_variable,
        help="Set a parameter. Can be repeated. For a secret, VALUE can be @FILE, or - for "
        "standard input. [env var: BATCHSPEC_VAR_NAME]",
    ),
]
VariableFiles: TypeAlias = Annotated[
    list[Path] | None,
    typer.Option(
        "--var-file",
        metavar="FILE",
        help="Set parameters from a YAML or JSON file. Can be repeated.",
    ),
]
TargetOption: TypeAlias = Annotated[
    Target | None,
    typer.Option(
        "--target",
        envvar="BATCHSPEC_TARGET",
        help="Where to run: on the embedded service (local) or in an Azure account (azure). "
        "[default: azure if the environment names an account, else local]",
        show_default=False,
    ),
]
MaxCost: TypeAlias = Annotated[
    str,
    typer.Option(
        "--max-cost",
        metavar="AMOUNT",
        help="Refuse a run that could cost more than AMOUNT, such as '25 EUR'. Overrides "
        "`cost.max`.",
    ),
]
Yes: TypeAlias = Annotated[bool, typer.Option("--yes", "-y", help="Answer yes to every question.")]
Verbose: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--verbose",
        "-v",
        help="Show the requests of a plan, full node ids, and details of errors.",
    ),
]
Progress: TypeAlias = Annotated[
    ProgressKind,
    typer.Option(
        "--progress",
        help="How to show progress; auto is live on a terminal and plain elsewhere.",
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
    reader: ValueReader | None = None,
) -> RunOptions:
    """Create the options from the values that typer passes and the environment of this process.

    ``reader`` reads values from files and standard input; several options of one command share it.

    Raises:
        UsageError: a ``--var`` option is wrong.
    """
    from batchspec.cli.console import show_activity

    show_activity(f"reading {path.name}")
    files = tuple(variable_files or ())
    given = variables_of(variables or ())
    return RunOptions(
        path, given, files, target, os.environ, max_cost, estimate, (reader or ValueReader()).read
    )


class ValueReader:
    """Reads values of secrets from files and, once, from standard input."""

    def __init__(self) -> None:
        self._input: tuple[str, str] | None = None

    def read(self, name: str, text: str) -> str:
        """The value from a file (``@FILE``) or standard input (``-``), without a final line break.

        Raises:
            UsageError: it cannot be read. The message does not contain ``text``, which may be a
                secret that begins with ``@``.
        """
        value = self._from_input(name) if text == "-" else self._from_file(name, text[1:])
        return value.removesuffix("\n").removesuffix("\r")

    def _from_file(self, name: str, path: str) -> str:
        try:
            with Path(path).expanduser().open("rb") as file:
                return _decoded(file)
        except (OSError, RuntimeError, ValueError) as error:
            raise _unreadable(
                f"the file of `--var {name}=@FILE` cannot be read: {_why(error)}",
                "Check the path after @; set the environment variable "
                f"BATCHSPEC_VAR_{name.upper()} to a value that itself begins with @",
            ) from None

    def _from_input(self, name: str) -> str:
        if self._input is None:
            self._input = (name, self._prompt(name) if _is_terminal() else _standard_input(name))
        first, value = self._input
        if first != name:
            raise _unreadable(
                f"`--var {first}=-` and `--var {name}=-` both read standard input",
                "Pass one of them in another way: @FILE or BATCHSPEC_VAR_NAME",
            )
        return value

    def _prompt(self, name: str) -> str:
        from getpass import getpass

        from batchspec.cli.console import clear_activity, ctrl_c_raises

        clear_activity()
        with ctrl_c_raises():
            try:
                return getpass(f"Value of {name} (not shown): ", stream=sys.stderr)
            except EOFError:
                return ""


def _is_terminal() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()


def _standard_input(name: str) -> str:
    if sys.stdin is None:
        raise _unreadable(
            f"`--var {name}=-` cannot be read: standard input is closed",
            "Redirect it from a file or a command",
        )
    try:
        return _decoded(sys.stdin.buffer)
    except (OSError, ValueError) as error:
        raise _unreadable(
            f"standard input for `--var {name}=-` cannot be read: {_why(error)}",
            "Redirect it from a file or a command",
        ) from None


_LONGEST_VALUE = 1024 * 1024
"""The maximum bytes of a value. A device has no end, and the input file of a task can be longer."""


def _decoded(file: BinaryIO) -> str:
    """The text of a file.

    Raises:
        OSError: it cannot be read, or is longer than a value can be.
        ValueError: it is not UTF-8.
    """
    data = file.read(_LONGEST_VALUE + 1)
    if len(data) > _LONGEST_VALUE:
        raise OSError(errno.EFBIG, "it is longer than 1 MiB")
    return data.decode("utf-8")


def _why(error: Exception) -> str:
    return error.strerror or "" if isinstance(error, OSError) else "it is not UTF-8 text"


def _unreadable(summary: str, fix: str) -> UsageError:
    return UsageError(Diagnostic("bad-value-source", summary, fix=fix))


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
