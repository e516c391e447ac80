"""The bodies of a stage's tasks as one JSON text with a few strings for each task.

Most tasks of a stage differ only in some strings. One template creates their texts in a fifth of
the time that separate objects need. :class:`~batchspec.plan.tasks.TaskFactory` creates tasks that
may differ in more: with a URL or a secret in the command, with separate files, or with an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TypeAlias

from batchspec.diagnostics import Place
from batchspec.frozen import frozen
from batchspec.plan.identity import Identity, task_id, words_of
from batchspec.plan.items import Item
from batchspec.plan.metadata import destination_of
from batchspec.plan.observed import Marks
from batchspec.spec import (
    BoundCommand,
    BoundTemplate,
    FilledRecord,
    JsonTemplate,
    Quoting,
    Record,
    Stage,
    Template,
    Text,
    Value,
    bind_template,
    command_line,
    evaluate,
    json_string,
    literal_name,
)

Scope: TypeAlias = Mapping[str, object]
ID, COMMAND, NAME, WORK = (
    Template(name, Place("", 0, 0)) for name in ("id", "command", "name", "work")
)
"""The placeholders of the id, command line, display name and work digest of a task."""
_GIVEN = (ID, COMMAND, NAME, WORK)
_SIGNED = 470
"""The largest number of characters of a signature (user delegation SAS)."""
ITSELF = "\ue000task.id\ue000"
"""The placeholder of ``task.id`` until the id is known; from the private use area of Unicode."""


@frozen
class Draft:
    """The values in which a task differs from others, without those that follow from its id.

    ``own`` is the id that the spec sets. ``command`` is the command line as JSON. ``strings`` are
    the values of the templates of the body, as JSON unless they are resolved at submission.
    ``shown`` is the display name if the spec sets one.
    """

    own: str | None
    command: str
    strings: tuple[str | Text, ...]
    shown: str | None
    work: str


class TaskTemplate:
    """The body of a stage's tasks."""

    def __init__(
        self,
        stage: Stage,
        body: Record,
        identity: Identity,
        scope: Scope,
        *,
        command: BoundCommand | None,
        covered: Record | None,
        windows: bool,
        has_identity: bool,
        names_task: bool,
        names_index: bool,
    ) -> None:
        """Encode the shared parts of the tasks.

        ``body`` is that of Create Task with the templates of the stage, and with :data:`ID`,
        :data:`COMMAND`, :data:`NAME` and :data:`WORK`. ``covered`` is the part of the stage's body
        that the digest of the work covers, if tasks differ in it. ``has_identity``: nodes access
        the account with an identity. ``names_task`` and ``names_index``: templates may use the
        variables ``task`` and ``index``.
        """
        self._stage = stage
        self._identity = identity
        self._command = command
        self._scope = scope
        self._windows = windows
        self._names_task = names_task
        self._names_more = names_task or names_index
        quoting = Quoting.WINDOWS if windows else Quoting.POSIX
        own = [each for each in dict.fromkeys(_templates(body)) if each not in _GIVEN]
        patterns = {file.get("filePattern") for file in body.records("outputFiles")}

        def string(each: Template) -> _String:
            bound = bind_template(each, scope)
            return _String(
                each, bound, quoting, is_pattern=each in patterns, has_identity=has_identity
            )

        self._own = tuple(map(string, own))
        name = stage.body.get("displayName")
        self._name = string(name) if isinstance(name, Template) else None
        self._shown = stage.body.string("displayName")
        numbers = {each: number for number, each in enumerate((*_GIVEN, *own))}
        self._body = JsonTemplate.of(body, numbers)
        self._covered = None
        if covered is not None:
            of_own = {each: number for number, each in enumerate(own)}
            text = JsonTemplate.of(covered, of_own, canonical=True)
            self._covered = text.bind(Text.identity), text.arguments

    @property
    def renames(self) -> bool:
        """Whether strings other than the id follow from the digest of the work."""
        return self._names_task and self._stage.id is None

    def draft(self, index: int, item: Item, own: str | None) -> Draft | None:
        """The draft of the task of an item; ``own`` is the id that the spec sets.

        ``None`` if this template cannot create the task.

        Raises:
            SpecError: a template fails for the item.
        """
        found = self._filled(index, item, own or ITSELF)
        if found is None:
            return None
        command, strings, shown = found
        covered = None
        if self._covered is not None:
            text, arguments = self._covered
            given = [
                each if isinstance(each, str) else json_string(each.identity()) for each in strings
            ]
            covered = text(arguments(given)).encode()
        work = self._identity.work(command, covered, item.sources)
        return Draft(own, json_string(command), strings, shown, work)

    def size(self, draft: Draft) -> int:
        """An upper bound of the bytes of the command and the strings of a task in its body."""
        return len(draft.command) + self._body.repeats * sum(map(_size, draft.strings))

    def filled(
        self, index: int, item: Item, own: str | None, make: Callable[[], Record]
    ) -> tuple[str, Marks, FilledRecord] | None:
        """The id, marks and body of the task of an item, see :meth:`draft`."""
        draft = self.draft(index, item, own)
        if draft is None:
            return None
        name = own or task_id(self._stage.name, item, draft.work)
        command, strings, shown = draft.command, draft.strings, draft.shown
        if self.renames:
            found = self._filled(index, item, name)
            if found is None:
                return None
            line, strings, shown = found
            command = json_string(line)
        marks = self._identity.marks_of(draft.work, item, index)
        if shown is None:
            shown = words_of(self._stage.name, item)
        named = json_string(marks.named(shown))
        given = json_string(name), command, named, json_string(draft.work)
        arguments = self._body.arguments((*given, *strings))
        return name, marks, FilledRecord(name, self._body, arguments, make)

    def _filled(
        self, index: int, item: Item, name: str
    ) -> tuple[str, tuple[str | Text, ...], str | None] | None:
        """The command, the strings and the display name of the task with this id."""
        variables = item.variables
        if self._names_more:
            variables = {"task": {"id": name}, "index": index, **variables}
        command = self._command.identity(variables) if self._command is not None else None
        if command is None:
            scope = {**self._scope, **variables}
            line = command_line(self._stage.command, scope, windows=self._windows)
            if not isinstance(line, str):
                return None
            command = line
        strings: list[str | Text] = []
        for each in self._own:
            text = each.filled(variables, self._scope)
            if isinstance(text, str):
                strings.append(json_string(text))
            elif text is None:
                return None
            else:
                strings.append(text)
        shown = self._shown
        if self._name is not None:
            text = self._name.filled(variables, self._scope)
            shown = text if isinstance(text, str) else None
        return command, tuple(strings), shown


@frozen
class _String:
    """A template of the body that is filled in for each task."""

    template: Template
    bound: BoundTemplate | None
    shell: Quoting
    is_pattern: bool
    has_identity: bool

    def filled(self, variables: Scope, scope: Scope) -> str | Text | None:
        """The text; ``None`` if other properties may depend on it."""
        text: str | Text | None = self.bound.filled(variables) if self.bound is not None else None
        if text is None:
            text = evaluate(self.template, {**scope, **variables}, shell=self.shell)
        if self.is_pattern and (not isinstance(text, str) or _decides(text)):
            return None
        # With an identity, URLs are not signed, and objects with URLs name the identity.
        return None if self.has_identity and not isinstance(text, str) else text


def _size(string: str | Text) -> int:
    """An upper bound of the bytes of a string as JSON."""
    if isinstance(string, str):
        return len(string)
    return len(json_string(string.shown)) + sum(_SIGNED for _ in string.urls())


def _decides(pattern: str) -> bool:
    """Whether other properties may depend on this pattern: it may be a log, or have wildcards."""
    return pattern.startswith("..") or "[" in pattern


def has_template(stage: Stage, command: BoundCommand | None) -> bool:
    """Whether the bodies of a stage's tasks probably differ only in strings."""
    if command is not None and command.deferred:
        return False
    if "id" in stage.body or "commandLine" in stage.body:
        return False
    if any(template.kind is not None for template in _templates(stage.body)):
        return False
    return not any(map(_is_renamed, stage.body.records("outputFiles"))) and not any(
        isinstance(each.get("registryServer"), Template) for each in _records(stage.body)
    )


def _is_renamed(file: Record) -> bool:
    """Whether the path or the headers of an output file may differ from those in the stage."""
    target = destination_of(file)
    headers = target.records("uploadHeaders") if target is not None else ()
    return literal_name(file.string("filePattern") or "") is not None or any(
        isinstance(header.get("name"), Template) for header in headers
    )


def _templates(value: Value) -> Iterator[Template]:
    """All templates in a value."""
    match value:
        case Template():
            yield value
        case tuple():
            for item in value:
                yield from _templates(item)
        case Record():
            for item in value.values():
                yield from _templates(item)


def _records(value: Value) -> Iterator[Record]:
    """All objects in a value, and the value itself."""
    match value:
        case tuple():
            for item in value:
                yield from _records(item)
        case Record():
            yield value
            for item in value.values():
                yield from _records(item)
