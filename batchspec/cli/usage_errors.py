"""Errors of the command line as diagnostics, from typer's exceptions and pydantic's error types."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from enum import Enum
from typing import Any, get_args

from batchspec.diagnostics import Diagnostic, UsageError

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
    near = get_close_matches(given.lower(), known, 1, 0.6)
    return f"Did you mean `{near[0]}`?" if near else ""
