"""Converts texts and parts of a validated tree.

Durations and times; strings, items of a stage, and commands as command lines of the service, which
splits them without a shell.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from batchspec.diagnostics import Diagnostic, SpecError
from batchspec.spec.model import (
    Command,
    EachBlob,
    EachFile,
    EachNumber,
    EachValue,
    ForEach,
    Matrix,
    NumberRange,
    Once,
    Rows,
    Shell,
)
from batchspec.spec.template import Names, check, evaluate, merged, position
from batchspec.spec.values import (
    Piece,
    Quoted,
    Quoting,
    Record,
    Target,
    Template,
    Text,
    UnquotableError,
    Value,
    quote,
)
from batchspec.spec.yaml_tree import Node

_SHORT = re.compile(
    r"(?=.)(?:(?P<d>[0-9]+)d)?(?:(?P<h>[0-9]+)h)?(?:(?P<m>[0-9]+)m)?"
    r"(?:(?P<s>[0-9]+(?:\.[0-9]+)?)s)?"
)
_ISO = re.compile(
    r"P(?=.)(?:(?P<w>[0-9]+)W|(?:(?P<d>[0-9]+)D)?"
    r"(?:T(?=.)(?:(?P<h>[0-9]+)H)?(?:(?P<m>[0-9]+)M)?(?:(?P<s>[0-9]+(?:\.[0-9]+)?)S)?)?)"
)
_PARTS = {"w": "weeks", "d": "days", "h": "hours", "m": "minutes", "s": "seconds"}
_MOST_DIGITS = 30
"""The maximum number of digits of a number in a duration; the longest duration has fewer."""
_CLOCK = re.compile(r"(?:(\d+):)?(\d+):(\d\d)")
_LONG_UNIT = re.compile(r"days?|hours?|hrs|min(?:ute)?s?|sec(?:ond)?s?")
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")


LONGEST = timedelta(days=10_675_199, hours=2, minutes=48, seconds=5, microseconds=477_580)
"""The longest duration of the service (a .NET ``TimeSpan``), in whole microseconds; in its replies
this value means no limit."""


def duration(text: str) -> timedelta | None:
    """Parse a duration such as ``90s``, ``1h30m`` or ``PT30M``, in whole microseconds.

    ``None`` if it is not valid, or longer than the service can store (:func:`is_too_long`).
    """
    match = _SHORT.fullmatch(text) or _ISO.fullmatch(text)
    if match is None or any(len(part or "") > _MOST_DIGITS for part in match.groups()):
        return None
    microseconds = 0
    for unit, number in match.groupdict().items():
        whole, _, fraction = (number or "0").partition(".")
        length = timedelta(**{_PARTS[unit]: 1}) // timedelta(microseconds=1)
        microseconds += int(whole) * length + int(f"{fraction:0<6.6}")
    if microseconds > LONGEST // timedelta(microseconds=1):
        return None
    return timedelta(microseconds=microseconds)


def is_too_long(text: str) -> bool:
    """Whether a text is a duration that is longer than the service can store."""
    well_formed = _SHORT.fullmatch(text) or _ISO.fullmatch(text)
    return well_formed is not None and duration(text) is None


def iso(length: timedelta) -> str:
    """Format a duration in ISO 8601 as the service does: ``PT30M``, ``P1DT2H``, ``PT0S``."""
    if length == LONGEST:
        return "P10675199DT2H48M5.4775807S"
    hours, rest = divmod(length.seconds, 3600)
    minutes, seconds = divmod(rest, 60)
    second = f"{seconds + length.microseconds / 1_000_000:.6f}".rstrip("0").rstrip(".")
    parts = ((hours, f"{hours}H"), (minutes, f"{minutes}M"), (float(second), f"{second}S"))
    clock = "".join(text for value, text in parts if value)
    days = f"{length.days}D" if length.days else ""
    return f"P{days}T{clock}" if clock else f"P{days}" if days else "PT0S"


def suggested(text: str) -> str:
    """The fix for a string that is not a valid duration."""
    if _NUMBER.fullmatch(text):
        return f"Write a unit: `{text}s`, `{text}m` or `{text}h`."
    if clock := _CLOCK.fullmatch(text):
        hours, minutes, seconds = clock.groups()
        if hours is None:
            return f"Write `{int(minutes)}h{int(seconds)}m` or `{int(minutes)}m{int(seconds)}s`."
        return f"Write `{int(hours)}h{int(minutes)}m{int(seconds)}s`."
    packed = _LONG_UNIT.sub(lambda match: match[0][0], text.replace(" ", "").lower())
    if packed != text and duration(packed) is not None:
        return f"Write `{packed}`."
    return "Write a duration such as `90s`, `30m`, `2h`, `7d`, `1h30m` or `PT30M`."


def moment(text: str) -> str | None:
    """A time with an offset, such as ``2026-12-01T06:00:00Z``, in UTC; ``None`` if not valid."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    if found.tzinfo is None:
        return None
    try:
        return found.astimezone(UTC).isoformat().replace("+00:00", "Z")
    except OverflowError:  # before year 1 or after year 9999 in UTC
        return None


def slug(text: str, longest: int = 64) -> str:
    """Convert a string to a part of an id: ``A-Za-z0-9_`` and single hyphens.

    Accents are removed. The result has at most ``longest`` characters and may be empty.
    """
    if not text.isascii():
        text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9_]+", "-", text).strip("-")[:longest].rstrip("-")


def patterns(node: Node | None) -> tuple[str, ...]:
    """One glob pattern or a list of them."""
    if node is None:
        return ()
    return tuple(item.shown for item in node.items or (node,))


def frozen(node: Node) -> Value:
    """A node as a frozen value."""
    if isinstance(node.value, Mapping):
        return Record({key: frozen(child) for key, child in node.value.items()})
    if isinstance(node.value, tuple):
        return tuple(frozen(item) for item in node.value)
    return node.value


_TARGETS = {
    "file_pattern": Target.PATTERN,
    "http_url": Target.URL,
    "storage_container_url": Target.URL,
    "container_url": Target.URL,
}
"""The target that values are escaped for, by key."""


def template_of(node: Node, key: str = "") -> Template:
    """A string as a template; values are escaped for the property with this key."""
    assert isinstance(node.value, str)
    return Template(node.value, node.inner or node.where, target=_TARGETS.get(key))


def command_of(node: Node, shell: Shell) -> Command | None:
    """A command; ``None`` if the node is neither a string nor a list of strings."""
    if node.items and all(item.text is not None for item in node.items):
        return Command(shell, arguments=tuple(template_of(item) for item in node.items))
    return Command(shell, template=template_of(node)) if node.text is not None else None


def for_each(node: Node | None, folder: Path) -> ForEach:  # noqa: PLR0911 - one for each form
    """The source of a stage's items; ``folder`` is the folder of the spec."""
    if node is None:
        return Once()
    if (files := node.get("files")) is not None:
        return EachFile(files.shown, patterns(node.get("match")), _group(node))
    if (blobs := node.get("blobs")) is not None:
        match = patterns(node.get("match"))
        return EachBlob(blobs.shown, node.string("prefix"), match, _group(node))
    if (matrix := node.get("matrix")) is not None:
        axes = tuple((name, _axis(axis)) for name, axis in matrix.members.items())
        return Matrix(axes, _records(node, "exclude"), _records(node, "include"))
    if (rows := node.get("rows")) is not None:
        return Rows(folder / rows.shown, rows.where)
    if (numbers := node.get("range")) is not None:
        return EachNumber(_range(numbers))
    values = node.get("list")
    return EachValue(tuple(map(frozen, values.items))) if values is not None else Once()


def _group(node: Node) -> int | None:
    group = node.get("group")
    return group.value if group is not None and isinstance(group.value, int) else None


def _axis(node: Node) -> tuple[Value, ...] | NumberRange:
    numbers = node.get("range")
    return _range(numbers) if numbers is not None else tuple(map(frozen, node.items))


def _range(node: Node) -> NumberRange:
    numbers = [item.value for item in node.items if isinstance(item.value, int | float)]
    # Only an invalid spec has fewer.
    return NumberRange(*numbers[:3]) if len(numbers) > 1 else NumberRange(0, 0)


def _records(node: Node, key: str) -> tuple[Record, ...]:
    found = map(frozen, node.sequence(key))
    return tuple(item for item in found if isinstance(item, Record))


def value_quoting(command: Command, *, windows: bool) -> Quoting | None:
    """The quoting of values in the text of a command; ``None`` for a list (quoted as a whole)."""
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
