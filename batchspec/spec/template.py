"""Templates: checked without being evaluated, and evaluated once for every task.

``{{ ... }}`` is a Jinja2 expression; nothing else of Jinja is there. What it inserts into a command
is quoted for the node's shell, unless it ends in ``| raw``. A secret, or a URL that is signed at
submission, becomes a piece of a :class:`~batchspec.spec.values.Text`. What expressions may do is
the business of ``sandbox`` and ``filters``; how shells read is told by ``shell``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache, partial
from itertools import groupby
from typing import TYPE_CHECKING, NoReturn

from batchspec.problems import Place, Problem, Secret, SpecError
from batchspec.spec.held import LIMIT, Argument, Held, Raw, RefusalError, plain
from batchspec.spec.paths import Part, is_good, looked_up, parts
from batchspec.spec.values import (
    Piece,
    Quoted,
    Quoting,
    Template,
    Text,
    UnquotableError,
    quote,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from batchspec.spec.sandbox import Sandbox

EXPRESSION = re.compile(
    r"""\{\{ (?: '(?:\\.|[^'\\])*' | "(?:\\.|[^"\\])*" | [^'"}] | \}(?!\}) )* \}\}""",
    re.DOTALL | re.VERBOSE,
)
"""An expression with its braces, as far as its place is concerned."""


@dataclass(frozen=True, slots=True)
class Names:
    """The names that a template may use: what each has below it, or anything (``open``)."""

    known: Mapping[str, Names] = field(default_factory=dict)
    open: bool = False


VALUE = Names()
"""A text or a number: nothing is below it."""

ANYTHING = Names(open=True)
"""What only the data can tell."""


def has_expression(source: str) -> bool:
    """Whether there is anything in a text to evaluate."""
    return "{{" in source


def check(
    template: Template, names: Names, *, quoting: Quoting | None = None
) -> tuple[Problem, ...]:
    """Everything that is wrong with a template, found without evaluating it.

    ``quoting`` is given for a command line: expressions between the user's own quotes are refused.
    """
    if is_good(template.source, names, quoting):
        return ()
    from batchspec.spec.syntax import faults  # noqa: PLC0415 - Jinja is for those who use it

    return faults(template, names, quoting)


def evaluate(
    template: Template,
    scope: Mapping[str, object],
    *,
    quoting: Quoting | None = None,
    shell: Quoting = Quoting.POSIX,
) -> str | Text:
    """The text of a template, all its expressions evaluated.

    With ``quoting``, each value is one argument of a command line, and a list is one for each of
    its members; values that stand side by side are one argument together. Without it values go in
    as they are, and ``| quote`` quotes for ``shell``. The text is a ``str`` unless something in it
    is only known at submission.

    Raises:
        SpecError: the template cannot be read, or an expression fails on these values; the
            problem has its place.
    """
    try:
        render = _compiled(template.source)
    except RefusalError:
        raise SpecError(*check(template, ANYTHING)) from None
    if render is None:
        return template.source
    writer = _Writer(quoting, shell)
    try:
        writer.write(render(scope))
        return writer.text()
    except _EXPECTED as error:
        _fail(template, error, writer.values)


_EXPECTED = (
    RefusalError,
    UnquotableError,
    ArithmeticError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
    RecursionError,
)
"""What evaluating an expression on unfit values raises."""


@cache
def sandbox() -> Sandbox:
    """The environment, made when the first template is met."""
    from batchspec.spec.sandbox import Sandbox  # noqa: PLC0415 - Jinja is for those who use it

    return Sandbox()


@lru_cache(maxsize=4096)
def _compiled(source: str) -> Callable[[Mapping[str, object]], Iterable[object]] | None:
    """A function from scope to parts: ``str`` is the text around, a 1-tuple holds a value."""
    if not has_expression(source):
        return None
    simple = parts(source)
    return _with_jinja(source) if simple is None else partial(_simply, source, simple)


@lru_cache(maxsize=4096)
def _with_jinja(source: str) -> Callable[[Mapping[str, object]], Iterable[object]]:
    return sandbox().renderer(source)


def _simply(source: str, simple: tuple[Part, ...], scope: Mapping[str, object]) -> Iterable[object]:
    """What Jinja would yield, several times as fast; where a name is not there, it has its say."""
    found = looked_up(simple, scope)
    return found if found is not None else _with_jinja(source)(scope)


@dataclass(slots=True)
class _Writer:
    """Puts parts together: ``_out`` is done, ``_argument`` the argument that is being built."""

    quoting: Quoting | None
    shell: Quoting
    values: int = 0
    _out: list[Piece] = field(default_factory=list)
    _argument: list[Piece] = field(default_factory=list)

    def write(self, parts: Iterable[object]) -> None:
        """Put all parts of a template together."""
        bare = self.quoting is None
        out = self._out
        for part in parts:
            if type(part) is str:
                if self._argument:
                    self._close()
                out.append(part)
                continue
            value: object = part[0]  # type: ignore[index]
            if type(value) is str:
                (out if bare else self._argument).append(value)
            elif type(value) is Raw:
                self._close()
                self._many(value.value, raw=True)
            elif type(value) is Argument:
                self._many(value.value)
                if bare:
                    self._close()
            elif bare:
                out.extend(_pieces(value))
            else:
                self._many(value)
            self.values += 1

    def text(self) -> str | Text:
        """What was written."""
        self._close()
        pieces = _merged(self._out)
        if sum(len(piece) for piece in pieces if type(piece) is str) > LIMIT:
            raise RefusalError(f"a text of more than {LIMIT:,} characters")
        if not pieces:
            return ""
        only = pieces[0]
        return only if len(pieces) == 1 and isinstance(only, str) else Text(pieces)

    def _literal(self, text: str) -> None:
        self._close()
        self._out.append(text)

    def _many(self, value: object, *, raw: bool = False) -> None:
        """A value, or the members of a list with spaces between."""
        items = value if isinstance(value, list | tuple | Iterator) else (value,)
        for number, item in enumerate(items):
            if number:
                self._literal(" ")
            (self._out if raw else self._argument).extend(_pieces(item))

    def _close(self) -> None:
        """End the argument that is being built."""
        if not self._argument:
            return
        quoting = self.quoting or self.shell
        pieces, self._argument = self._argument, []
        if quoting is not Quoting.POSIX and self._out and isinstance(self._out[-1], str):
            # A backslash before a quote would escape it: the user's own `dir\` joins the argument.
            before = self._out[-1].rstrip("\\")
            pieces = [self._out[-1][len(before) :], *pieces]
            self._out[-1] = before
        merged = _merged(pieces)
        only = merged[0] if merged else ""
        if len(merged) < 2 and isinstance(only, str):
            self._out.append(quote(only, quoting))
        else:
            for piece in merged:
                if isinstance(piece, Secret):
                    quote(piece.reveal(), quoting)  # What no line can carry is told now.
            self._out.append(Quoted(Text(merged), quoting))


def _pieces(value: object) -> tuple[Piece, ...]:
    if not isinstance(value, Held):
        return (plain(value),)
    held = value.value
    return held.pieces if isinstance(held, Text) else (held,)


def _merged(pieces: list[Piece]) -> tuple[Piece, ...]:
    """The pieces with neighbouring strings joined and empty ones gone."""
    if len(pieces) == 1:
        return tuple(pieces) if pieces[0] != "" else ()
    merged: list[Piece] = []
    for held, run in groupby(pieces, _is_held):
        if held:
            merged.extend(run)
        elif text := "".join(run):  # type: ignore[arg-type]
            merged.append(text)
    return tuple(merged)


def _is_held(piece: Piece) -> bool:
    return type(piece) is not str


def _fail(template: Template, error: Exception, number: int) -> NoReturn:
    """Say which expression failed, and why. No value is told, for it might be a secret."""
    hint = error.hint if isinstance(error, RefusalError) else ""
    expressions = [match.group() for match in EXPRESSION.finditer(template.source)]
    which = expressions[number] if number < len(expressions) else template.source
    problem = Problem(
        "template-value",
        f"`{which}` cannot be evaluated: {_words(error)}",
        where=place_of(template, number),
        hint=hint,
    )
    raise SpecError(problem) from None


def _words(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    return str(error) or type(error).__name__


def place_of(template: Template, number: int) -> Place:
    """The place of an expression by its number (from 0), as well as it can be told."""
    for count, match in enumerate(EXPRESSION.finditer(template.source)):
        if count == number:
            return place(template, match.start(), match.end() - match.start())
    return template.where


def place(template: Template, offset: int, length: int = 1) -> Place:
    """The place of a part of a template in the file.

    The text of a scalar is not always what stands in the file: where the two differ (escapes,
    folded lines) the part is looked for in the line, and else the template's own place is given.
    """
    where, source = template.where, template.source
    lines = source[:offset].split("\n")
    row, column = len(lines) - 1, len(lines[-1])
    whole = source.split("\n")
    length = max(1, min(length, len(whole[row]) - column))
    indent = where.column - 1
    if where.text[indent:].startswith(whole[0]) and (row == 0 or where.text[indent:] == whole[0]):
        text = where.text if row == 0 else " " * indent + whole[row]
        return Place(where.file, where.line + row, where.column + column, text, length)
    part = source[offset : offset + length]
    found = where.text.find(part, indent)
    if part and found >= 0 and where.text.find(part, found + 1) < 0:
        return Place(where.file, where.line, found + 1, where.text, length)
    return where
