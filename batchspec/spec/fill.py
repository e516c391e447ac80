"""Templates filled in while the spec is read: all but those that differ from task to task."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from batchspec.problems import Problem, Problems, SpecError
from batchspec.spec.command import check_command, command_line
from batchspec.spec.model import Command, Shell
from batchspec.spec.node import Node, made
from batchspec.spec.shape_words import differs
from batchspec.spec.source import Source
from batchspec.spec.template import Names, check, evaluate
from batchspec.spec.values import Quoting, Record, Template, Text, thaw

_COMMANDS = {
    "command": Shell.DEFAULT,
    "command_line": Shell.NONE,
    "coordination_command_line": Shell.NONE,
}
_LATER = frozenset({"command", "command_line", "id"})
"""Members of a stage that are evaluated task by task."""

_SAME_FOR_ALL = frozenset({"for_each", "needs", "shell", *_COMMANDS})
"""Members of a stage that are the same for all its tasks; a command is one below ``instances``."""

_IN_TEXT = frozenset({"container", "logs"})
"""Members that are so where they are no mapping."""

_LONE = re.compile(r"\s*\{\{\s*([A-Za-z_][A-Za-z0-9_]*)\s*\}\}\s*")


@dataclass(frozen=True, slots=True)
class Filler:
    """Fills in what ``scope`` knows. Without a scope (a value is missing) it only checks."""

    source: Source
    names: Names
    scope: Mapping[str, object] | None
    windows: bool
    problems: Problems

    def fill(self, node: Node, key: str = "") -> Node:
        """The tree with every template evaluated; those that cannot be stay, and are problems.

        A command becomes the whole line that the service starts.
        """
        if key in _COMMANDS and not isinstance(node.value, Mapping):
            return self._command(node, _COMMANDS[key])
        if node.template is not None:
            return self._text(node)
        if isinstance(node.value, Mapping):
            members = {name: self.fill(child, name) for name, child in node.value.items()}
            return replace(node, value=members)
        if isinstance(node.value, tuple):
            return replace(node, value=tuple(self.fill(item) for item in node.value))
        return node

    def stage(self, stage: Node, names: Names) -> Node:
        """The same for a stage: what needs ``names`` of a task is checked, and stays."""
        members = {
            key: child if key in _LATER else self._of_task(child, key, names)
            for key, child in stage.members.items()
        }
        return replace(stage, value=members)

    def in_place(self, problems: tuple[Problem, ...]) -> None:
        """Keep problems of a template, each with the line of the file that it is in."""
        for found in problems:
            where = found.where
            text = self.source.line(where.line) if where else ""
            self.problems.add(replace(found, where=replace(where, text=text)) if where else found)

    def _of_task(self, node: Node, key: str, names: Names) -> Node:
        if key in _SAME_FOR_ALL or (key in _IN_TEXT and not node.members):
            return self._of_stage(node, key, names)
        if node.template is not None:
            template = template_of(node)
            if not check(template, self.names):
                return self._text(node)
            found = check(template, names)
            self.in_place(found)
            return _wrong(node) if found else node
        if isinstance(node.value, Mapping):
            members = {
                name: self._of_task(child, name, names) for name, child in node.members.items()
            }
            return replace(node, value=members)
        if isinstance(node.value, tuple):
            return replace(node, value=tuple(self._of_task(item, "", names) for item in node.items))
        return node

    def _of_stage(self, node: Node, key: str, names: Names) -> Node:
        """What all tasks share, filled in; what differs from task to task is told to be so."""
        texts = [template_of(part) for part in node.walk() if part.template is not None]
        if any(check(text, self.names) and not check(text, names) for text in texts):
            self.problems.add(differs(node, key))
            return _wrong(node)
        return self.fill(node, key)

    def _text(self, node: Node) -> Node:
        template = template_of(node)
        if found := check(template, self.names):
            self.in_place(found)
            return _wrong(node)
        if self.scope is None:
            return _wrong(node)
        if (whole := self._whole(node)) is not None:
            return whole
        shell = Quoting.WINDOWS if self.windows else Quoting.POSIX
        try:
            return filled(node, evaluate(template, self.scope, shell=shell))
        except SpecError as error:
            self.in_place(error.problems)
            return _wrong(node)

    def _command(self, node: Node, shell: Shell) -> Node:
        command = command_of(node, shell)
        if command is None:
            return node
        if (shell is Shell.NONE and node.template is None) or node.text == "" or node.raw.isspace():
            return node
        if found := check_command(command, self.names, windows=self.windows):
            self.in_place(found)
            return _wrong(node)
        if self.scope is None:
            return _wrong(node)
        try:
            return filled(node, command_line(command, self.scope, windows=self.windows))
        except SpecError as error:
            self.in_place(error.problems)
            return _wrong(node)

    def _whole(self, node: Node) -> Node | None:
        """A parameter that is a list or an object, where a template is nothing but its name."""
        assert self.scope is not None
        lone = _LONE.fullmatch(node.template or "")
        value = self.scope.get(lone[1]) if lone else None
        if not isinstance(value, tuple | Record):
            return None
        return made(thaw(value, lambda text: text.shown), node)


def _wrong(node: Node) -> Node:
    """What is left of a text that cannot be filled in; the reason is told elsewhere."""
    return replace(node, value=None, wrong=True)


def is_lone(node: Node) -> bool:
    """Whether a text is nothing but ``{{ name }}``, which may stand for a list or a mapping."""
    return node.template is not None and _LONE.fullmatch(node.template) is not None


def filled(node: Node, value: str | Text) -> Node:
    """A node whose templates have become this text."""
    return replace(node, value=value, raw="" if isinstance(value, Text) else value, filled=True)


def template_of(node: Node) -> Template:
    """A text as a template."""
    assert isinstance(node.value, str)
    return Template(node.value, node.inner or node.where)


def command_of(node: Node, shell: Shell) -> Command | None:
    """A command as it is written; ``None`` if it is neither a text nor a list of texts."""
    if node.items and all(item.text is not None for item in node.items):
        return Command(shell, arguments=tuple(template_of(item) for item in node.items))
    return Command(shell, template=template_of(node)) if node.text is not None else None
