"""Checks templates without evaluating them, and evaluates them for every task.

``{{ ... }}`` is a Jinja2 expression; no other Jinja syntax is supported. Values inserted into a
command are quoted for the node's shell, unless the expression ends in ``| raw``. Secrets, and URLs
that are signed at submission, become pieces of a :class:`~batchspec.spec.values.Text`.

Most templates consist of strings and paths of names. They are checked and evaluated here without
Jinja, which takes time to import and is several times slower. Jinja (``sandbox``,
``template_syntax``) evaluates all other templates and reports all errors.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache, partial
from itertools import groupby
from typing import TYPE_CHECKING, NoReturn, TypeAlias

from batchspec.diagnostics import Diagnostic, Place, Secret, SpecError
from batchspec.frozen import frozen
from batchspec.spec.insertion import (
    DOUBLE,
    NESTED_DOUBLE,
    NESTED_SINGLE,
    SAFE,
    SINGLE,
    escaped,
    reader,
)
from batchspec.spec.values import (
    LIMIT,
    UNQUOTE,
    Argument,
    Opaque,
    Piece,
    Quoted,
    Quoting,
    Raw,
    RefusalError,
    Template,
    Text,
    UnquotableError,
    guard,
    plain,
    quote,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from batchspec.spec.sandbox import Sandbox

_OBJECTS = (dict, Mapping)

EXPRESSION = re.compile(
    r"""\{\{ (?: '(?:\\.|[^'\\])*' | "(?:\\.|[^"\\])*" | [^'"}] | \}(?!\}) )* \}\}""",
    re.DOTALL | re.VERBOSE,
)
"""An expression with its braces; used to find positions."""


Part: TypeAlias = str | tuple[str, ...]
"""A literal text, or a path of names such as ``("containers", "output", "url")``."""

_MEMBER = r"""\.[A-Za-z_][A-Za-z0-9_]*|\[\s*(?:'[^'"\\\s]*'|"[^'"\\\s]*")\s*\]"""
_PATH = re.compile(rf"(?<!\{{)\{{\{{\s*([A-Za-z_][A-Za-z0-9_]*)((?:{_MEMBER})*)\s*\}}\}}")
_MORE = re.compile(r"\{\{|\r|\0")
"""A match means that a literal text contains other syntax."""

_STATEMENT = re.compile(r"\{%|\{#")
"""Starts a statement or a comment in Jinja."""

_WORDS = frozenset(("and", "else", "false", "if", "in", "is", "none", "not", "or", "true"))
"""Words that are not names in Jinja, in any case."""


@frozen
class Names:
    """The names that a template can use, with their members; ``open``: any name is allowed."""

    known: Mapping[str, Names] = field(default_factory=dict)
    open: bool = False


VALUE = Names()
"""A string or a number: it has no members."""

ANYTHING = Names(open=True)
"""A value whose members depend on the data."""


def has_expression(source: str) -> bool:
    """Whether a string has an expression."""
    return "{{" in source


def check(
    template: Template, names: Names, *, quoting: Quoting | None = None
) -> tuple[Diagnostic, ...]:
    """Check a template without evaluating it.

    ``quoting`` is set for a command: expressions are refused in places where a value is not safe.
    """
    if is_simple_and_valid(template.source, names, quoting):
        return ()
    from batchspec.spec.template_syntax import problems_of  # noqa: PLC0415 - imports Jinja

    return problems_of(template, names, quoting)


def evaluate(
    template: Template,
    scope: Mapping[str, object],
    *,
    quoting: Quoting | None = None,
    shell: Quoting = Quoting.POSIX,
) -> str | Text:
    """Evaluate a template.

    With ``quoting``, each value becomes one argument of a command line, and a list one argument for
    each item; adjacent values form one argument. A value between the user's quotes cannot close
    them. Without ``quoting``, values are inserted unquoted, and ``| quote`` quotes for ``shell``.
    The result is a ``str`` unless a part of it is only known at submission.

    Raises:
        SpecError: the template has a syntax error, or an expression fails on these values; the
            problem has its position.
    """
    try:
        render = _compiled(template.source)
    except RefusalError as error:
        # The check knows the position. Errors that only the compiler finds have the position of the
        # template.
        problems = check(template, ANYTHING)
        if not problems:
            _fail(template, error, 0)
        raise SpecError(*problems) from None
    if render is None:
        return template.source
    writer = _Writer(quoting, shell, () if quoting is None else places(template.source, quoting))
    try:
        parts = render(scope)
        if quoting is None:
            windows = shell is not Quoting.POSIX
            parts = escaped(template.source, parts, template.target, windows=windows)
        writer.write(parts)
        return writer.text()
    except (RefusalError, UnquotableError) as error:
        _fail(template, error, writer.values)


@cache
def sandbox() -> Sandbox:
    """The Jinja environment, created for the first template that needs it."""
    from batchspec.spec.sandbox import Sandbox  # noqa: PLC0415 - imports Jinja

    return Sandbox()


@lru_cache(maxsize=4096)
def _compiled(source: str) -> Callable[[Mapping[str, object]], Iterable[object]] | None:
    """A function from a scope to parts: strings are literal text, 1-tuples contain values."""
    if not has_expression(source):
        return None
    simple = parts(source)
    return _with_jinja(source) if simple is None else partial(_simply, source, simple)


@lru_cache(maxsize=4096)
def _with_jinja(source: str) -> Callable[[Mapping[str, object]], Iterable[object]]:
    return sandbox().renderer(source)


def _simply(source: str, simple: tuple[Part, ...], scope: Mapping[str, object]) -> Iterable[object]:
    """The parts without Jinja, which is several times slower; Jinja reports unknown names."""
    found = looked_up(simple, scope)
    return found if found is not None else _with_jinja(source)(scope)


@lru_cache(maxsize=4096)
def parts(source: str) -> tuple[Part, ...] | None:
    """The strings and paths of a template; ``None`` if it has any other expression."""
    found: list[Part] = []
    end = 0
    for match in _PATH.finditer(source):
        path = (match[1], *(name.strip("[]'\". \t\n") for name in re.findall(_MEMBER, match[2])))
        if any(name.lower() in _WORDS for name in path):
            return None
        found += [source[end : match.start()], path]
        end = match.end()
    found.append(source[end:])
    if any(_MORE.search(part) for part in found if isinstance(part, str)):
        return None
    return tuple(part for part in found if part)


def is_simple_and_valid(source: str, names: Names, quoting: Quoting | None) -> bool:
    """Whether a template has only paths, all of them known and outside of quotes."""
    simple = parts(source)
    if simple is None or _STATEMENT.search(source):
        return False
    if not all(_is_known(part, names) for part in simple if type(part) is tuple):
        return False
    if quoting is None:
        return True
    shell = reader(quoting)
    for part, following in zip(simple, (*simple[1:], ""), strict=False):
        if isinstance(part, str):
            shell.read(part)
        elif shell.value(following if isinstance(following, str) else "") not in SAFE:
            return False
    return True


@lru_cache(maxsize=4096)
def places(source: str, quoting: Quoting) -> tuple[Quoting, ...]:
    """The quoting of the value of each expression of a command, by its context."""
    if "'" not in source and '"' not in source:
        return ()
    shell, found, end = reader(quoting), [], 0
    for match in EXPRESSION.finditer(source):
        shell.read(source[end : match.start()])
        end = match.end()
        following = source[end : end + 1]
        found.append(in_quotes(shell.value(following), quoting))
    return tuple(found)


def in_quotes(context: str, quoting: Quoting) -> Quoting:
    """The quoting of a value in a context of :meth:`~batchspec.spec.insertion.Reader.value`."""
    if quoting is not Quoting.POSIX:
        return Quoting.IN_WINDOWS if context == DOUBLE else quoting
    # A text for another shell is an argument of it, quoted with `| quote`.
    if context in (DOUBLE, NESTED_DOUBLE):
        return Quoting.IN_DOUBLE
    return Quoting.IN_SINGLE if context in (SINGLE, NESTED_SINGLE) else quoting


def _is_known(path: tuple[str, ...], names: Names) -> bool:
    for name in path:
        if name not in names.known:
            return names.open
        names = names.known[name]
    return True


def looked_up(simple: tuple[Part, ...], scope: Mapping[str, object]) -> list[object] | None:
    """The parts as Jinja yields them; ``None`` where a name is not found."""
    found: list[object] = []
    for part in simple:
        if type(part) is str:
            found.append(part)
            continue
        value: object = scope
        for name in part:
            if not isinstance(value, _OBJECTS) or name not in value:
                return None
            value = value[name]
        found.append((guard(value),))
    return found


@dataclass(slots=True)
class _Writer:
    """Joins parts: ``_out`` is finished, ``_argument`` is the argument in progress."""

    quoting: Quoting | None
    shell: Quoting
    places: tuple[Quoting, ...] = ()
    values: int = 0
    _out: list[Piece] = field(default_factory=list)
    _argument: list[Piece] = field(default_factory=list)

    def write(self, parts: Iterable[object]) -> None:
        """Append the parts of a template."""
        bare = self.quoting is None
        out = self._out
        for part in parts:
            if type(part) is str:
                if self._argument:
                    self._close()
                out.append(part)
                continue
            value: object = part[0]  # type: ignore[index]
            place = self.places[self.values] if self.values < len(self.places) else self.quoting
            if place is not self.quoting:
                assert place is not None
                self._between_quotes(value, place)
            elif type(value) is str:
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
        """The text that was written."""
        self._close()
        pieces = merged(self._out)
        if sum(len(piece) for piece in pieces if type(piece) is str) > LIMIT:
            raise RefusalError(f"the result has more than {LIMIT:,} characters")
        if not pieces:
            return ""
        only = pieces[0]
        return only if len(pieces) == 1 and isinstance(only, str) else Text(pieces)

    def _between_quotes(self, value: object, place: Quoting) -> None:
        """Append a value between quotes of the user; the items of a list are joined by spaces."""
        self._close()
        if isinstance(value, Raw):
            self._many(value.value, raw=True)
            return
        inner = value.value if isinstance(value, Argument) else value
        items = inner if isinstance(inner, list | tuple | Iterator) else (inner,)
        pieces: list[Piece] = []
        for number, item in enumerate(items):
            found = merged([" ", *_pieces(item)] if number else list(_pieces(item)))
            if isinstance(value, Argument):
                # `sh -c "... {{ x | quote }}"`: an argument for the shell that reads the text.
                pieces += [" "] if number else []
                pieces.append(Quoted(Text(merged(list(_pieces(item)))), self.quoting or self.shell))
            else:
                pieces += found
        text = Text(tuple(pieces))
        if all(isinstance(piece, str | Quoted) and not _defers(piece) for piece in pieces):
            plain_text = text.resolve(_no_url)
            before = self._out[-1] if self._out else ""
            if place is Quoting.IN_WINDOWS and not plain_text and str(before).endswith("\\"):
                raise UnquotableError("an empty value cannot follow a backslash in quotes", UNQUOTE)
            self._out.append(quote(plain_text, place))
            return
        for piece in pieces:
            if isinstance(piece, Secret):
                quote(piece.reveal(), place)  # Report an unquotable value now.
        self._out.append(Quoted(text, place))

    def _literal(self, text: str) -> None:
        self._close()
        self._out.append(text)

    def _many(self, value: object, *, raw: bool = False) -> None:
        """Append a value, or the items of a list separated by spaces."""
        items = value if isinstance(value, list | tuple | Iterator) else (value,)
        for number, item in enumerate(items):
            if number:
                self._literal(" ")
            (self._out if raw else self._argument).extend(_pieces(item))

    def _close(self) -> None:
        """End the argument in progress."""
        if not self._argument:
            return
        quoting = self.quoting or self.shell
        pieces, self._argument = self._argument, []
        if quoting is not Quoting.POSIX and self._out and isinstance(self._out[-1], str):
            # A backslash before a quote escapes it: the user's own `dir\` joins the argument.
            before = self._out[-1].rstrip("\\")
            pieces = [self._out[-1][len(before) :], *pieces]
            self._out[-1] = before
        found = merged(pieces)
        only = found[0] if found else ""
        if len(found) < 2 and isinstance(only, str):
            self._out.append(quote(only, quoting))
        else:
            for piece in found:
                if isinstance(piece, Secret):
                    quote(piece.reveal(), quoting)  # Report an unquotable value now.
            self._out.append(Quoted(Text(found), quoting))


def _pieces(value: object) -> tuple[Piece, ...]:
    if not isinstance(value, Opaque):
        return (plain(value),)
    deferred = value.value
    return deferred.pieces if isinstance(deferred, Text) else (deferred,)


def merged(pieces: list[Piece]) -> tuple[Piece, ...]:
    """The pieces with adjacent strings joined and empty ones removed."""
    if len(pieces) == 1:
        return tuple(pieces) if pieces[0] != "" else ()
    joined: list[Piece] = []
    for deferred, run in groupby(pieces, _is_deferred):
        if deferred:
            joined.extend(run)
        elif text := "".join(run):  # type: ignore[arg-type]
            joined.append(text)
    return tuple(joined)


def _defers(piece: Piece) -> bool:
    """Whether a piece is resolved at submission."""
    if isinstance(piece, Quoted):
        return any(map(_defers, piece.inner.pieces))
    return not isinstance(piece, str)


def _no_url(url: object) -> str:
    raise AssertionError(url)


def _is_deferred(piece: Piece) -> bool:
    return type(piece) is not str


def _fail(template: Template, error: RefusalError | UnquotableError, number: int) -> NoReturn:
    """Report the failed expression and the reason. Its values may be secret and are omitted."""
    expressions = [match.group() for match in EXPRESSION.finditer(template.source)]
    which = expressions[number] if number < len(expressions) else template.source
    problem = Diagnostic(
        "template-value",
        f"`{which}` cannot be evaluated: {error}",
        where=position_of(template, number),
        fix=error.fix,
    )
    raise SpecError(problem) from None


def position_of(template: Template, number: int) -> Place:
    """The position of an expression by its number (from 0)."""
    for count, match in enumerate(EXPRESSION.finditer(template.source)):
        if count == number:
            return position(template, match.start(), match.end() - match.start())
    return template.where


def position(template: Template, offset: int, length: int = 1) -> Place:
    """The position of a part of a template in the file.

    The text of a scalar can differ from the text in the file (escapes, folded lines). The part is
    then searched for in the line; if it is not found, the position of the template is used.
    """
    where, source = template.where, template.source
    lines = source[:offset].split("\n")
    row, column = len(lines) - 1, len(lines[-1])
    whole = source.split("\n")
    length = max(1, min(length, len(whole[row]) - column))
    indent = where.column - 1
    # Without copies of the line, which may be as long as the file.
    rest = len(where.text) - indent
    if where.text.startswith(whole[0], indent) and (row == 0 or rest == len(whole[0])):
        text = where.text if row == 0 else " " * indent + whole[row]
        return Place(where.file, where.line + row, where.column + column, text, length)
    part = source[offset : offset + length]
    found = where.text.find(part, indent)
    if part and found >= 0 and where.text.find(part, found + 1) < 0:
        return Place(where.file, where.line, found + 1, where.text, length)
    return where
