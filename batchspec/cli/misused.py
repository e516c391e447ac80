"""What is wrong with a command line, in the words that a spec's mistakes are told in."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from batchspec.diagnostics import Diagnostic, UsageError

if TYPE_CHECKING:
    from typer.exceptions import TyperException

_KINDS = {
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_parsing": "a number",
    "bool_parsing": "`true` or `false`",
}
_BOUNDS = {
    "greater_than_equal": ("at least", "ge"),
    "less_than_equal": ("at most", "le"),
    "greater_than": ("more than", "gt"),
    "less_than": ("less than", "lt"),
}
"""Mistakes of a value by the names that typer's own checks give them."""

_MESSAGES = (
    (re.compile(r"No such command '(.+?)'"), "`{command}` has no command `{0}`"),
    (
        re.compile(r"Got unexpected extra arguments?(?:\(s\))? \((.+)\)"),
        "`{command}` has no use for `{0}`",
    ),
    (re.compile(r"Option '(.+)' requires an argument"), "`{0}` needs a value"),
    (re.compile(r"Option '(.+)' does not take a value"), "`{0}` takes no value"),
)
"""Messages of typer that have no type of their own."""

_CHOICES = re.compile(r"is not one of (.+)\.$")


def misused(error: TyperException) -> UsageError:
    """A command line that cannot be understood."""
    context = getattr(error, "ctx", None)
    command = getattr(context, "command_path", "batchspec")
    summary, fix = _words(error, command)
    return UsageError(Diagnostic("command-line", summary, fix=fix or f"See `{command} --help`."))


def _words(error: Any, command: str) -> tuple[str, str]:
    """What is wrong, and how to mend it where that can be told."""
    message = error.format_message()
    name = getattr(error, "option_name", None)
    match type(error).__name__:
        case "NoSuchOption" if name:
            return f"`{command}` has no option `{name}`", _did_you_mean(name, error.possibilities)
        case "MissingParameter" if error.param is not None:
            return f"{_called(error)} is missing", ""
        case "BadParameter" if error.param is not None and hasattr(error.__cause__, "errors"):
            return _bad_value(_called(error), error.__cause__.errors()[0])
    for pattern, words in _MESSAGES:
        if (found := pattern.match(message)) is not None:
            return words.format(*found.groups(), command=command), _meant(message)
    return message.rstrip("."), ""


def _meant(message: str) -> str:
    """The names that typer takes for those that were meant, in backticks."""
    names = re.findall(r"'([^']+)'", message.partition("Did you mean")[2])
    return f"Did you mean {' or '.join(f'`{name}`' for name in names)}?" if names else ""


def _called(error: Any) -> str:
    """A parameter as it is typed: its longest option, or what stands for an argument."""
    param = error.param
    options = [name for name in param.opts if name.startswith("-")]
    name = f"`{max(options, key=len)}`" if options else f"`{param.metavar or param.name.upper()}`"
    source = error.ctx.get_parameter_source(param.name) if error.ctx is not None else None
    from_outside = source is not None and source.name == "ENVIRONMENT"
    return f"{name} (of the environment: `{param.envvar}`)" if from_outside else name


def _bad_value(name: str, fault: Any) -> tuple[str, str]:
    kind, given = str(fault["type"]), f"`{fault['input']}`"
    if kind in _KINDS:
        return f"{name} takes {_KINDS[kind]}, not {given}", ""
    if kind in _BOUNDS:
        words, key = _BOUNDS[kind]
        return f"{name} is {words} {fault['ctx'][key]}, not {given}", ""
    said = str(fault.get("ctx", {}).get("error", fault["msg"]))
    if (listed := _CHOICES.search(said)) is not None:
        choices = re.findall(r"'([^']*)'", listed[1])
        shown = [f"`{choice}`" for choice in choices]
        words = f"{', '.join(shown[:-1])} or {shown[-1]}" if len(shown) > 1 else "".join(shown)
        return f"{name} is {words}, not {given}", _did_you_mean(str(fault["input"]), choices)
    return f"{name}: {said.rstrip('.')}", ""


def _did_you_mean(given: str, known: Sequence[str]) -> str:
    near = get_close_matches(given.lower(), list(known), 1, 0.6)
    return f"Did you mean `{near[0]}`?" if near else ""
