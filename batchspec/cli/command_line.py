"""typer with the help texts, exit codes and usage errors of batchspec.

Usage errors are diagnostics from typer's exceptions and pydantic's error types.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from functools import wraps
from inspect import getdoc, iscoroutinefunction
from typing import Any, TypeVar, get_args

import typer
from typer.core import TyperCommand, TyperGroup

from batchspec.diagnostics import Diagnostic, UsageError, nearest

_Function = TypeVar("_Function", bound=Callable[..., Any])


class OutputClosedError(Exception):
    """The reader of the output of ``command`` has closed it, as ``| head`` does."""

    def __init__(self, command: str) -> None:
        super().__init__(command)
        self.command = command


class CommandGroup(TyperGroup):
    """A group that builds a command when it is used: building all takes as long as ``--help``."""

    functions: Mapping[str, Callable[..., Any]] = {}

    def list_commands(self, ctx: Any) -> list[str]:
        """The names of the commands, in the order of the help; groups are last."""
        return list(dict.fromkeys([*self.functions, *super().list_commands(ctx)]))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command with this name; ``None`` if there is none."""
        if cmd_name in self.functions and cmd_name not in self.commands:
            single = typer.Typer(add_completion=False, rich_markup_mode=None)
            single.command(cmd_name, cls=Command)(self.functions[cmd_name])
            self.commands[cmd_name] = typer.main.get_command(single)
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


_TYPES = {
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_parsing": "a number",
    "bool_parsing": "`true` or `false`",
}
_BOUNDS = {
    "greater_than_equal": ("at least", "ge"),
    "less_than_equal": ("at most", "le"),
    "greater_than": ("greater than", "gt"),
    "less_than": ("less than", "lt"),
}
"""Error types of pydantic, which typer validates values with."""


def usage_error(error: Any, context: Any) -> UsageError:
    """The error for an exception that typer raised while it read the arguments of a command.

    typer exports the base class of these exceptions only; their attributes distinguish them.
    """
    param = getattr(error, "param", None)
    if param is not None:
        return _value_error(error, param, context)
    option = getattr(error, "option_name", None)
    if option is not None:
        return _option_error(error, option, context)
    return _error(error.format_message().rstrip("."), context.command_path)


def _option_error(error: Any, option: str, context: Any) -> UsageError:
    command = context.command_path
    if hasattr(error, "possibilities"):
        fix = _suggestion(option, error.possibilities or ())
        return _error(f"`{command}` has no option `{option}`", command, fix)
    known = next((param for param in context.command.params if option in param.opts), None)
    if known is not None and known.is_flag:
        return _error(f"`{option}` takes no value", command)
    return _error(f"`{option}` needs a value", command)


def _value_error(error: Any, param: Any, context: Any) -> UsageError:
    command, name = context.command_path, _param_name(param, context)
    if hasattr(error.__cause__, "errors"):
        return _invalid_value(name, param, error.__cause__.errors()[0], command)
    if error.message:  # The parameter's own check failed.
        return _error(f"{name}: {error.message.rstrip('.')}", command)
    return _error(f"{name} is missing", command)


def unknown_command(group: str, name: str, commands: Sequence[str]) -> UsageError:
    """The error for a command that a group does not have."""
    return _error(f"`{group}` has no command `{name}`", group, _suggestion(name, commands))


def unexpected_arguments(command: str, arguments: Sequence[str]) -> UsageError:
    """The error for arguments that are more than a command takes."""
    listed = ", ".join(f"`{argument}`" for argument in arguments)
    noun = "argument" if len(arguments) == 1 else "arguments"
    return _error(f"unexpected {noun} for `{command}`: {listed}", command)


def _error(summary: str, command: str, fix: str = "") -> UsageError:
    fix = fix or f"See `{command} --help`."
    return UsageError(Diagnostic("command-line", summary, fix=fix))


def _param_name(param: Any, context: Any) -> str:
    """A parameter as it is entered: its longest option, or its argument's placeholder."""
    options = [name for name in param.opts if name.startswith("-")]
    name = f"`{max(options, key=len)}`" if options else f"`{param.metavar or param.name.upper()}`"
    source = context.get_parameter_source(param.name)
    if source is not None and source.name == "ENVIRONMENT":
        return f"{name} (from `{param.envvar}` in the environment)"
    return name


def _invalid_value(name: str, param: Any, fault: Any, command: str) -> UsageError:
    kind, given = str(fault["type"]), f"`{fault['input']}`"
    if kind in _TYPES:
        return _error(f"{name} must be {_TYPES[kind]}, not {given}", command)
    if kind in _BOUNDS:
        comparison, key = _BOUNDS[kind]
        return _error(f"{name} must be {comparison} {fault['ctx'][key]}, not {given}", command)
    choices = _choices(param.type_descriptor.annotation)
    if choices:
        *first, last = [f"`{choice}`" for choice in choices]
        listed = f"{', '.join(first)} or {last}" if first else last
        fix = _suggestion(str(fault["input"]), choices)
        return _error(f"{name} must be {listed}, not {given}", command, fix)
    return _error(f"{name}: {fault['msg'].rstrip('.')}", command)


def _choices(annotation: Any) -> list[str]:
    """The values of an enumeration, or of a list of one."""
    kind = next(iter(get_args(annotation)), annotation)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return [str(member.value) for member in kind]
    return []


def _suggestion(given: str, known: Sequence[str]) -> str:
    near = nearest(given, known)
    return f"Did you mean `{near}`?" if near is not None else ""
