"""typer with the help texts, exit codes and usage errors of batchspec.

Values are converted here: typer uses pydantic, whose import takes longer than ``batchspec --help``.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from functools import partial, wraps
from inspect import getdoc, iscoroutinefunction
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

import typer
from typer.core import TyperCommand, TyperGroup

from batchspec.cli.console import out, writing_output
from batchspec.diagnostics import Diagnostic, UsageError, did_you_mean

_TRUE = frozenset({"1", "on", "t", "true", "y", "yes"})
_FALSE = frozenset({"", "0", "f", "false", "n", "no", "off"})


def annotations_of(function: Callable[..., Any]) -> dict[str, Any]:
    """The annotations of a function's parameters, with what ``typer.Option`` adds, by name."""
    return get_type_hints(function, include_extras=True)


def convert_values(params: list[Any], annotations: Mapping[str, Any]) -> list[Any]:
    """Return the parameters, whose values are converted by the annotations.

    A value without an annotation is a flag or a string and is not converted.
    """
    for param in params:
        param.process_value = partial(_process, param, annotations.get(param.name, str))
    return params


def _process(param: Any, annotation: Any, context: Any, value: Any) -> Any:
    """The value of a parameter; the method ``process_value`` of click's parameters.

    Raises:
        UsageError: the value is wrong or missing.
        DiskError, OutputClosedError: the help cannot be written.
    """
    convert = partial(_converted, param, annotation, context)
    if param.nargs == -1 or getattr(param, "multiple", False):
        value = tuple(map(convert, value or ()))
    else:
        value = convert(value)
    if param.required and value in {None, ()}:
        raise parameter_error(param, context, " is missing")
    if param.callback is None:
        return value
    try:
        with writing_output():  # The callback of `--help` prints.
            return param.callback(context, param, value)
    except BrokenPipeError as error:
        raise OutputClosedError(None) from error


def _converted(param: Any, annotation: Any, context: Any, value: Any) -> Any:
    kind = _scalar_type(annotation)
    if not isinstance(value, str) or isinstance(value, kind):
        return value  # A flag, a default, no value, or a text.
    if issubclass(kind, Enum):
        return _member(param, kind, context, value)
    if kind is bool:
        return _boolean(param, context, value)
    if kind is Path:
        return Path(value)
    return _number(param, annotation, context, value)


def _scalar_type(annotation: Any) -> type:
    """``Path`` for ``Annotated[list[Path] | None, ...]``."""
    while arguments := get_args(annotation):
        annotation = next(argument for argument in arguments if argument is not NoneType)
    kind: type = annotation
    return kind


def _member(param: Any, kind: type[Enum], context: Any, value: str) -> Enum:
    for member in kind:
        if member.value == value:
            return member
    raise unknown_choice(param, context, value, [str(member.value) for member in kind])


def _boolean(param: Any, context: Any, value: str) -> bool:
    """A flag that is set in the environment."""
    text = value.strip().lower()
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    raise parameter_error(param, context, f" must be `true` or `false`, not `{value}`")


def _number(param: Any, annotation: Any, context: Any, value: str) -> int | float:
    """A number, within the limits of a ``typer.Option`` that has ``min`` or ``max``."""
    kind = _scalar_type(annotation)
    try:
        number: int | float = kind(value)
    except ValueError:
        noun = "a whole number" if kind is int else "a number"
        raise parameter_error(param, context, f" must be {noun}, not `{value}`") from None
    option = get_args(annotation)[1] if get_origin(annotation) is Annotated else None
    least, most = getattr(option, "min", None), getattr(option, "max", None)
    if least is not None and number < least:
        raise parameter_error(param, context, f" must be at least {least}, not `{value}`")
    if most is not None and number > most:
        raise parameter_error(param, context, f" must be at most {most}, not `{value}`")
    return number


def usage_error(error: Any, context: Any) -> UsageError:
    """The error for an exception that typer raised while it read the arguments of a command.

    typer exports the base class of these exceptions only; their attributes distinguish them.
    """
    param = getattr(error, "param", None)
    if param is not None:
        # The parameter's callback rejects the value.
        return parameter_error(param, context, f": {error.message.rstrip('.')}")
    option = getattr(error, "option_name", None)
    if option is not None:
        return _option_error(error, option, context)
    return _error(error.format_message().rstrip("."), context.command_path)


def _option_error(error: Any, option: str, context: Any) -> UsageError:
    command = context.command_path
    if hasattr(error, "possibilities"):
        fix = did_you_mean(option, error.possibilities or ())
        return _error(f"`{command}` has no option `{option}`", command, fix)
    known = next((param for param in context.command.params if option in param.opts), None)
    if known is not None and known.is_flag:
        return _error(f"`{option}` takes no value", command)
    return _error(f"`{option}` needs a value", command)


def unknown_command(group: str, name: str, commands: Sequence[str]) -> UsageError:
    """The error for a command that a group does not have."""
    return _error(f"`{group}` has no command `{name}`", group, did_you_mean(name, commands))


def unexpected_arguments(command: str, arguments: Sequence[str]) -> UsageError:
    """The error for more arguments than a command takes."""
    listed = ", ".join(f"`{argument}`" for argument in arguments)
    noun = "argument" if len(arguments) == 1 else "arguments"
    return _error(f"unexpected {noun} for `{command}`: {listed}", command)


def unknown_choice(param: Any, context: Any, given: str, choices: Sequence[str]) -> UsageError:
    """The error for a value that is not one of the choices of a parameter."""
    *first, last = [f"`{choice}`" for choice in choices]
    listed = f"{', '.join(first)} or {last}" if first else last
    summary = f" must be {listed}, not `{given}`"
    return parameter_error(param, context, summary, did_you_mean(given, choices))


def parameter_error(param: Any, context: Any, summary: str, fix: str = "") -> UsageError:
    """The error for a parameter, whose name is put before ``summary``."""
    return _error(f"{_param_name(param, context)}{summary}", context.command_path, fix)


def _param_name(param: Any, context: Any) -> str:
    """A parameter as it is entered: its longest option, or its argument's placeholder."""
    options = [name for name in param.opts if name.startswith("-")]
    name = f"`{max(options, key=len)}`" if options else f"`{param.metavar or param.name.upper()}`"
    source = context.get_parameter_source(param.name)
    if source is not None and source.name == "ENVIRONMENT":
        return f"{name} (from `{param.envvar}` in the environment)"
    return name


def _error(summary: str, command: str, fix: str = "") -> UsageError:
    fix = fix or f"See `{command} --help`."
    return UsageError(Diagnostic("command-line", summary, fix=fix))


_Function = TypeVar("_Function", bound=Callable[..., Any])


class OutputClosedError(Exception):
    """The reader of the output of ``command`` has closed it, for example ``| head``.

    ``command`` is ``None`` if none was run, as for ``--help``.
    """

    def __init__(self, command: str | None) -> None:
        super().__init__(command)
        self.command = command


class CommandGroup(TyperGroup):
    """A group that builds a command on first use; all of them would take as long as ``--help``."""

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
            result = super().invoke(ctx)
            with writing_output():
                sys.stdout.flush()
        except BrokenPipeError as error:
            raise OutputClosedError(ctx.invoked_subcommand) from error
        return result

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
        # Otherwise typer reports them with an exception of a general type.
        ctx.allow_extra_args = True
        if ctx.resilient_parsing and args and args[-1].startswith("-"):
            # The line is being completed. An option without its value ends the parsing of typer,
            # which would lose the arguments before it.
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
        out(context.get_help())
        raise typer.Exit(2)
