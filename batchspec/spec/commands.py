"""Commands of a spec as command lines of the service, which splits them without a shell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from batchspec.diagnostics import Diagnostic, SpecError
from batchspec.spec.model import Command, Shell
from batchspec.spec.template import Names, check, evaluate, merged, position
from batchspec.spec.values import (
    Piece,
    Quoted,
    Quoting,
    Template,
    Text,
    UnquotableError,
    quote,
)


def value_quoting(command: Command, *, windows: bool) -> Quoting | None:
    """How values in the text of a command are quoted; ``None`` for a list (quoted as a whole)."""
    if command.template is None:
        return None
    if not windows:
        return Quoting.POSIX
    return Quoting.WINDOWS if command.shell is Shell.DEFAULT else Quoting.WINDOWS_PROGRAM


def check_command(command: Command, names: Names, *, windows: bool) -> tuple[Diagnostic, ...]:
    """Check a command without evaluating it."""
    quoting = value_quoting(command, windows=windows)
    found: list[Diagnostic] = []
    for template in (command.template, *command.arguments):
        if template is not None:
            found.extend(check(template, names, quoting=quoting))
    if quoting is Quoting.WINDOWS and command.template is not None:
        found.extend(_one_line(command.template))
    return tuple(found)


def _one_line(template: Template) -> tuple[Diagnostic, ...]:
    """``cmd /c`` runs the first line and ignores the rest."""
    offset = template.source.rstrip().find("\n")
    if offset < 0:
        return ()
    problem = Diagnostic(
        "command-lines",
        "the command has several lines, and `cmd /c` runs only the first",
        where=position(template, offset + 1),
        fix="Join the lines with `&&`, or fold them with `>-`.",
    )
    return (problem,)


def command_line(command: Command, scope: Mapping[str, object], *, windows: bool) -> str | Text:
    """The command line of a task, start task or the like.

    A string is run with ``/bin/sh -c``, or with ``cmd /c``, which takes all text between the first
    and the last quote literally. A list is quoted argument by argument. An empty text stays empty:
    in a container it means the entry point of the image.

    Raises:
        SpecError: a template cannot be evaluated, or a command line cannot contain its result.
    """
    shell = Quoting.WINDOWS if windows else Quoting.POSIX
    quoting = value_quoting(command, windows=windows)
    try:
        if command.template is None:
            arguments = [evaluate(item, scope, shell=shell) for item in command.arguments]
            return joined(arguments, windows=windows)
        assert quoting is not None
        if not command.template.source.strip():
            return ""
        text = evaluate(command.template, scope, quoting=quoting, shell=quoting)
        return text if command.shell is Shell.NONE else wrapped(text, windows=windows)
    except UnquotableError as error:
        where = (command.template or command.arguments[0]).where
        raise SpecError(Diagnostic("template-value", f"{error}", where=where)) from None


def wrapped(text: str | Text, *, windows: bool) -> str | Text:
    """The command line that starts the node's shell with a string."""
    text = _without_final_newline(text)
    if windows:
        return _between('cmd /c "', text, '"')
    return _between("/bin/sh -c ", _argument(text, Quoting.POSIX), "")


def joined(arguments: Sequence[str | Text], *, windows: bool) -> str | Text:
    """An argument vector as one command line, for a program that is started without a shell."""
    quoting = Quoting.WINDOWS_PROGRAM if windows else Quoting.POSIX
    quoted = [_argument(argument, quoting) for argument in arguments]
    if all(isinstance(argument, str) for argument in quoted):
        return " ".join(map(str, quoted))
    pieces: list[Piece] = []
    for number, argument in enumerate(quoted):
        if number:
            pieces.append(" ")
        pieces.extend((argument,) if isinstance(argument, str) else argument.pieces)
    return Text(merged(pieces))


def _argument(text: str | Text, quoting: Quoting) -> str | Text:
    return quote(text, quoting) if isinstance(text, str) else Text((Quoted(text, quoting),))


def _between(before: str, text: str | Text, after: str) -> str | Text:
    if isinstance(text, str):
        return before + text + after
    return Text(tuple(piece for piece in (before, *text.pieces, after) if piece != ""))


def _without_final_newline(text: str | Text) -> str | Text:
    """Remove the line break at the end of a block scalar."""
    if isinstance(text, str):
        return text.rstrip("\r\n")
    *before, last = text.pieces
    return Text(merged([*before, last.rstrip("\r\n")])) if isinstance(last, str) else text
