"""typer with the help texts, exit codes and usage errors of batchspec."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import wraps
from inspect import getdoc, iscoroutinefunction
from typing import Any, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

from batchspec.cli.parameter_values import annotations_of, convert_values
from batchspec.cli.usage_errors import unexpected_arguments, unknown_command, usage_error

_Function = TypeVar("_Function", bound=Callable[..., Any])


class OutputClosedError(Exception):
    """The reader of the output of ``command`` has closed it, as ``| head`` does."""

    def __init__(self, command: str) -> None:
        super().__init__(command)
        self.command = command


class CommandGroup(TyperGroup):
    """A group that builds a command when it is used: building all takes as long as ``--help``."""

    functions: Mapping[str, Callable[..., Any]] = {}

    def get_params(self, ctx: Any) -> list[Any]:
        """The parameters, with those that typer adds: help and completion."""
        return convert_values(super().get_params(ctx), {})

    def list_commands(self, ctx: Any) -> list[str]:
        """The names of the commands, in the order of the help; groups are last."""
        return list(dict.fromkeys([*self.functions, *super().list_commands(ctx)]))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command with this name; ``None`` if there is none."""
        if cmd_name in self.functions and cmd_name not in self.commands:
            single = typer.Typer(add_completion=False, rich_markup_mode=None)
            function = self.functions[cmd_name]
            single.command(cmd_name, cls=Command)(function)
            command = typer.main.get_command(single)
            command.annotations = annotations_of(function)  # type: ignore[attr-defined]
            self.commands[cmd_name] = command
        return super().get_command(ctx, cmd_name)

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        """Read the options of the group.

        Raises:
            UsageError: one of them is wrong.
        """
        return _parsed(super().parse_args, ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that the first argument names.

        Raises:
            UsageError: there is no such command.
        """
        name = args[0]
        unknown = self.get_command(ctx, name) is None and not name.startswith("-")
        if unknown and not ctx.resilient_parsing:
            raise unknown_command(ctx.command_path, name, self.list_commands(ctx))
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run a command.

        Raises:
            OutputClosedError: its output is no longer read. typer would end with exit code 1.
        """
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise OutputClosedError(str(ctx.invoked_subcommand)) from error

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the commands in two columns, each with the first sentence of its help."""
        rows = []
        for name in self.list_commands(ctx):
            function = self.functions.get(name)
            text = getdoc(function) if function else self.commands[name].help
            rows.append((name, _first_sentence(text or "")))
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def _first_sentence(text: str) -> str:
    sentence, period, _ = " ".join(text.partition("\n\n")[0].split()).partition(". ")
    return sentence + period.strip()


class Command(TyperCommand):
    """A command whose help names arguments as the user enters them: ``SPEC``."""

    annotations: Mapping[str, Any] = {}
    """The types of the parameters, by name."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The parameters, with those that typer adds: help and completion."""
        return convert_values(super().get_params(ctx), self.annotations)

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        """Read the arguments.

        Raises:
            UsageError: one of them is wrong, missing or unexpected.
        """
        # Otherwise typer reports them with an exception that has no type of its own.
        ctx.allow_extra_args = True
        if ctx.resilient_parsing and args and args[-1].startswith("-"):
            # The line is being completed. An option without its value ends the parsing of typer,
            # and the arguments before it would not be read.
            args = args[:-1]
        rest = _parsed(super().parse_args, ctx, args)
        if rest and not ctx.resilient_parsing:
            raise unexpected_arguments(ctx.command_path, rest)
        return rest

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """The arguments that follow the command's name in the usage line."""
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
        """``--format text|json`` instead of typer's ``--format <text|json>``."""
        name, text = record
        return re.sub(r"<(?:list\[)?([^<>\]]+)\]?>", r"\1", name), text


def _parsed(parse: Callable[[Any, list[str]], Any], ctx: Any, args: list[str]) -> Any:
    try:
        return parse(ctx, args)
    except typer.TyperException as error:
        raise usage_error(error, ctx) from error


class CommandLine(typer.Typer):
    """A group of commands. Without a command, its help is printed."""

    def __init__(self, **settings: Any) -> None:
        self.functions: dict[str, Callable[..., Any]] = {}
        """The functions of the commands, in the order of the help."""
        cls = type("CommandGroup", (CommandGroup,), {"functions": self.functions})
        super().__init__(cls=cls, invoke_without_command=True, rich_markup_mode=None, **settings)

    def command(  # type: ignore[override]  # Fewer ways to register a command than typer has.
        self, name: str | None = None
    ) -> Callable[[_Function], _Function]:
        """Register a function or a coroutine function, which is run in a new event loop."""

        def register(function: _Function) -> _Function:
            run = _run_async(function) if iscoroutinefunction(function) else function
            self.functions[name or function.__name__] = run
            return function

        return register


def _run_async(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        import asyncio

        return asyncio.run(function(*args, **kwargs))

    return run


def show_help(context: typer.Context) -> None:
    """Print the help of a group that is called without a command; the exit code is 2.

    Raises:
        typer.Exit: there is no command to run.
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)
