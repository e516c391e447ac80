"""The command line as typer sees it, mended where typer's ways are not a user's.

``--help`` has whole sentences, and arguments as they are typed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

_Function = TypeVar("_Function", bound=Callable[..., Any])

_WHOLE = 1000
"""Characters; no sentence is longer."""


class UnreadError(Exception):
    """Whoever read what ``command`` wrote has gone away."""

    def __init__(self, command: str) -> None:
        super().__init__(command)
        self.command = command


class Listing(TyperGroup):
    """A group that does not break off what its commands do where a line ends."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command; that its output is read no more is told before typer ends it as a bug.

        Raises:
            UnreadError: it is read no more.
        """
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise UnreadError(str(ctx.invoked_subcommand)) from error

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the commands in two columns; a long sentence takes several lines."""
        named = {name: self.get_command(ctx, name) for name in self.list_commands(ctx)}
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, made.get_short_help_str(_WHOLE)) for name, made in named.items() if made]
            )


class Described(TyperCommand):
    """A command whose help names things as the user types them: ``SPEC``, not ``{SPEC} <path>``."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """The words after the command's name."""
        return [param.metavar for param in self._arguments(ctx)] + ["[OPTIONS]"]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments and options, each in two columns."""
        arguments = self._arguments(ctx)
        if arguments:
            with formatter.section("Arguments"):
                formatter.write_dl([(param.metavar, param.help) for param in arguments])
        options = [param for param in self.get_params(ctx) if param.param_type_name == "option"]
        with formatter.section("Options"):
            formatter.write_dl([self._option(param.get_help_record(ctx)) for param in options])

    def _arguments(self, ctx: Any) -> list[Any]:
        return [param for param in self.get_params(ctx) if param.param_type_name == "argument"]

    @staticmethod
    def _option(record: Any) -> tuple[str, str]:
        """``--format <text|json>`` without what marks a type."""
        name, words = record
        return re.sub(r"<(?:list\[)?([^<>\]]+)\]?>", r"\1", name), words


class CommandLine(typer.Typer):
    """A group of such commands; named without one, it says what there is."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(
            cls=Listing, invoke_without_command=True, rich_markup_mode=None, **settings
        )

    def command(  # type: ignore[override]  # Fewer ways to register a command than typer has.
        self, name: str | None = None
    ) -> Callable[[_Function], _Function]:
        """Register a function as a command."""
        return super().command(name, cls=Described)


def show_help(context: typer.Context) -> None:
    """For a group that was named without a command: what there is. The exit code is a misuse's.

    Raises:
        typer.Exit: there is no command to go on with.
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)
