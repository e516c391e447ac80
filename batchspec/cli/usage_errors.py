"""Usage errors: the diagnostics for a command line that cannot be read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from batchspec.diagnostics import Diagnostic, UsageError, nearest


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
        fix = _suggestion(option, error.possibilities or ())
        return _error(f"`{command}` has no option `{option}`", command, fix)
    known = next((param for param in context.command.params if option in param.opts), None)
    if known is not None and known.is_flag:
        return _error(f"`{option}` takes no value", command)
    return _error(f"`{option}` needs a value", command)


def unknown_command(group: str, name: str, commands: Sequence[str]) -> UsageError:
    """The error for a command that a group does not have."""
    return _error(f"`{group}` has no command `{name}`", group, _suggestion(name, commands))


def unexpected_arguments(command: str, arguments: Sequence[str]) -> UsageError:
    """The error for arguments that are more than a command takes."""
    listed = ", ".join(f"`{argument}`" for argument in arguments)
    noun = "argument" if len(arguments) == 1 else "arguments"
    return _error(f"unexpected {noun} for `{command}`: {listed}", command)


def unknown_choice(param: Any, context: Any, given: str, choices: Sequence[str]) -> UsageError:
    """The error for a value that is not one of the choices of a parameter."""
    *first, last = [f"`{choice}`" for choice in choices]
    listed = f"{', '.join(first)} or {last}" if first else last
    summary = f" must be {listed}, not `{given}`"
    return parameter_error(param, context, summary, _suggestion(given, choices))


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


def _suggestion(given: str, known: Sequence[str]) -> str:
    near = nearest(given, known)
    return f"Did you mean `{near}`?" if near is not None else ""
