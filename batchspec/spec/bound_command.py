"""Commands and other templates in which only plain values differ from task to task.

There may be a million tasks. What all of them share is filled in once, and what is left is to
insert texts. Everything else that a command contains is left to
:func:`~batchspec.spec.convert.command_line`, and everything else that a template contains to
:func:`~batchspec.spec.template.evaluate`.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import groupby
from typing import TypeAlias

from batchspec.diagnostics import SpecError
from batchspec.frozen import frozen
from batchspec.spec.model import Command, Shell
from batchspec.spec.template import evaluate, looked_up, parts, places
from batchspec.spec.values import LIMIT, Quoted, Quoting, Template, Text

_Path: TypeAlias = tuple[str, ...]
_SHELL = "/bin/sh -c "
_BEFORE, _AFTER = Text((Quoted(Text(("?",)), Quoting.POSIX),)).identity().split("?")
"""The identity of an argument that is quoted later."""
_OBJECTS = (dict, Mapping)
_LARGEST = 1 << 63
"""Larger numbers are left to ``command_line``, which may refuse them."""


@frozen
class _BoundText:
    """A template with the values that all tasks share.

    ``tokens`` are texts, and paths of adjacent values that form one argument. ``deferred``: a part
    of it is known at submission only, so that it becomes a :class:`~batchspec.spec.values.Text`.
    """

    tokens: tuple[str | tuple[_Path, ...], ...]
    deferred: bool
    quoted: bool

    def identity(self, variables: Mapping[str, object]) -> str | None:
        """The identity of the text; ``None`` if a value is not a plain one."""
        found: list[str] = []
        for token in self.tokens:
            if type(token) is str:
                found.append(token)
                continue
            argument = ""
            for path in token:
                value: object = variables
                for name in path:
                    if not isinstance(value, _OBJECTS) or name not in value:
                        return None
                    value = value[name]
                if type(value) is int and -_LARGEST < value < _LARGEST:
                    value = str(value)
                if type(value) is not str or "\0" in value:
                    return None
                argument += value
            found.append(shlex.quote(argument) if self.quoted else argument)
        return "".join(found)


@frozen
class BoundCommand:
    """A command with the values that all tasks share; ``shared`` are their names."""

    texts: tuple[_BoundText, ...]
    shell: Shell
    is_list: bool
    shared: frozenset[str]

    @property
    def deferred(self) -> bool:
        """Whether the command line is a text that is resolved at submission."""
        return any(each.deferred for each in self.texts)

    def identity(self, variables: Mapping[str, object]) -> str | None:
        """The identity of the command line with these values: unless deferred, the line itself.

        ``None`` if ``command_line`` has to create it: a value is not a plain one, is missing or has
        the name of a shared one, or an error has to be reported.
        """
        if not self.shared.isdisjoint(variables):
            return None
        found: list[str] = []
        for each in self.texts:
            text = each.identity(variables)
            if text is None or len(text) > LIMIT:
                return None
            found.append(_argument(text, deferred=each.deferred) if self.is_list else text)
        if self.is_list:
            return " ".join(found)
        (script,) = found
        if self.shell is Shell.NONE:
            return script
        return _SHELL + _argument(script, deferred=self.texts[0].deferred)


@frozen
class BoundTemplate:
    """A template with the values that all tasks share; ``shared`` are their names."""

    text: _BoundText
    shared: frozenset[str]

    def filled(self, variables: Mapping[str, object]) -> str | None:
        """The text with these values.

        ``None`` if ``evaluate`` has to create it: a value is not a plain one, is missing or has the
        name of a shared one, or an error has to be reported.
        """
        if not self.shared.isdisjoint(variables):
            return None
        text = self.text.identity(variables)
        return None if text is None or len(text) > LIMIT else text


def bind_template(template: Template, scope: Mapping[str, object]) -> BoundTemplate | None:
    """A template with the values of a scope that all tasks share.

    ``None`` for a template that only ``evaluate`` can fill in: with expressions other than names,
    with secrets or URLs, or with values that are escaped.
    """
    text = _bind(template, scope, None)
    if text is None or text.deferred:
        return None
    return BoundTemplate(text, _shared_names((template,), scope))


def _shared_names(templates: Iterable[Template], scope: Mapping[str, object]) -> frozenset[str]:
    """The names of a scope that templates with nothing but paths use."""
    found = (parts(template.source) or () for template in templates)
    names = {part[0] for each in found for part in each if isinstance(part, tuple)}
    return frozenset(names & scope.keys())


def bind_command(
    command: Command, scope: Mapping[str, object], *, windows: bool
) -> BoundCommand | None:
    """A command with the values of a scope that all tasks share.

    ``None`` for a command that only ``command_line`` can create: for Windows, with expressions
    other than names, or with values between quotes.
    """
    templates = command.arguments if command.template is None else (command.template,)
    quoting = None if command.template is None else Quoting.POSIX
    texts: list[_BoundText] = []
    for template in templates:
        text = None if windows else _bind(template, scope, quoting)
        if text is None:
            return None
        if quoting is not None and command.shell is not Shell.NONE:
            text = _without_final_newline(text)
        texts.append(text)
    if quoting is not None and not templates[0].source.strip():
        return None  # An empty command stays empty.
    return BoundCommand(
        tuple(texts), command.shell, command.template is None, _shared_names(templates, scope)
    )


def _bind(
    template: Template, scope: Mapping[str, object], quoting: Quoting | None
) -> _BoundText | None:
    source = template.source
    simple = parts(source)
    if not simple or template.target is not None or template.kind is not None:
        return None
    if quoting is None and isinstance(simple[0], str) and simple[0].lstrip()[:1] in ("{", "["):
        return None  # May be a JSON text, in which values are escaped.
    if quoting is not None and any(place is not quoting for place in places(source, quoting)):
        return None
    tokens: list[str | tuple[_Path, ...]] = []
    deferred = False
    for is_path, group in groupby(simple, lambda part: isinstance(part, tuple)):
        if not is_path:
            tokens += [part for part in group if isinstance(part, str)]
            continue
        paths = tuple(part for part in group if isinstance(part, tuple))
        own = [path[0] not in scope for path in paths]
        if all(own):
            tokens.append(paths)
            continue
        shared = None if any(own) else _shared(paths, scope, template, quoting)
        if shared is None:
            return None
        deferred = deferred or isinstance(shared, Text)
        tokens.append(shared if isinstance(shared, str) else shared.identity())
    return _BoundText(tuple(tokens), deferred, quoting is not None)


def _shared(
    paths: tuple[_Path, ...],
    scope: Mapping[str, object],
    template: Template,
    quoting: Quoting | None,
) -> str | Text | None:
    """Adjacent values of the scope as one argument; ``None`` if they cannot be inserted."""
    if looked_up(paths, scope) is None:
        return None
    members = ("".join(f"['{name}']" for name in path[1:]) for path in paths)
    source = "".join(
        f"{{{{ {path[0]}{rest} }}}}" for path, rest in zip(paths, members, strict=True)
    )
    try:
        return evaluate(replace(template, source=source), scope, quoting=quoting)
    except SpecError:
        return None  # `command_line` reports the error.


def _without_final_newline(text: _BoundText) -> _BoundText:
    """The text of a script without the line break at the end of a block scalar."""
    *before, last = text.tokens or ("",)
    if not isinstance(last, str):
        return text
    return replace(text, tokens=(*before, last.rstrip("\r\n")))


def _argument(text: str, *, deferred: bool) -> str:
    """The identity of an argument; one with a deferred part is quoted when that is known."""
    return f"{_BEFORE}{text}{_AFTER}" if deferred else shlex.quote(text)
