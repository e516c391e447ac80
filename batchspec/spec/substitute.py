"""Fills in the templates of a tree that have the same value for every task.

Templates are evaluated in one pass, in the order in which they depend on each other: ``name``, then
ids, then everything else. Templates that differ from task to task are checked here and evaluated by
``plan``.

The parameters, ``name``, ``job.id``, ``pool.id`` and ``containers`` are in scope everywhere; in a
stage also ``index``, ``task.id`` and the item. Inner names hide outer ones: a column ``name`` of a
file of rows hides the spec's ``name`` in its stage.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from batchspec.diagnostics import Diagnostic, Diagnostics, SpecError
from batchspec.frozen import frozen
from batchspec.spec.convert import check_command, command_line, command_of, for_each, template_of
from batchspec.spec.model import (
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
    Spec,
)
from batchspec.spec.rows import columns
from batchspec.spec.template import ANYTHING, VALUE, Names, check, evaluate
from batchspec.spec.validator import coerced, lone_name
from batchspec.spec.validator_messages import varies
from batchspec.spec.values import BlobUrl, Named, Quoting, Record, Text, Value, thaw
from batchspec.spec.yaml_parser import Source
from batchspec.spec.yaml_tree import Node, made

READ = "rl"
"""SAS permissions to read and list the blobs of a container."""
WRITE = "cw"
"""SAS permissions to create blobs in a container and to overwrite them in a retry."""


def base_scope(
    *,
    name: str,
    job: str,
    pool: str,
    parameters: Mapping[str, Value],
    containers: Mapping[str, str],
) -> dict[str, object]:
    """The names that are in scope everywhere. ``containers`` are names in the account by key."""
    return {
        "name": name,
        "job": {"id": job},
        "pool": {"id": pool},
        "containers": {key: _container(id_) for key, id_ in containers.items()},
        **parameters,
    }


def spec_scope(spec: Spec) -> dict[str, object]:
    """:func:`base_scope` of a whole spec."""
    return base_scope(
        name=spec.name,
        job=spec.job.id,
        pool=spec.pool.id,
        parameters=spec.parameters,
        containers={key: container.id for key, container in spec.containers.items()},
    )


def _container(container: str) -> dict[str, object]:
    return {
        "name": container,
        "url": BlobUrl(container),
        "read_url": BlobUrl(container, None, READ),
        "write_url": BlobUrl(container, None, WRITE),
    }


def file_item(container: str, blob: str, size: int, *, keep_path: bool) -> Named:
    """A file as an item; its text form is its path in the task's working directory."""
    folder, _, name = blob.rpartition("/")
    dot = name.rfind(".")
    # As in pathlib, a dot at the start or end of a name does not start a suffix.
    dot = dot if 0 < dot < len(name) - 1 else len(name)
    return Named(
        blob if keep_path else name,
        {
            "path": blob,
            "folder": folder,
            "name": name,
            "stem": name[:dot],
            "suffix": name[dot:],
            "size": size,
            "url": BlobUrl(container, blob, "r"),
        },
    )


def names_of(value: object) -> Names:
    """The names of a value: the members of an object, and any name for a list."""
    if isinstance(value, Mapping):
        return Names({str(key): names_of(item) for key, item in value.items()})
    return ANYTHING if isinstance(value, tuple) else VALUE


_FILE = names_of(file_item("", "", 0, keep_path=True))
_ID = Names({"id": VALUE})


def stage_names(base: Names, items: ForEach, *, task: bool = True) -> Names:
    """The names in a stage. ``task`` is not defined in the template of the task's own id.

    The columns of a file of rows are read from the file. If that fails, any name is accepted,
    because the error of the file is reported separately.
    """
    known = {**base.known, "index": VALUE}
    if task:
        known["task"] = _ID
    is_open = base.open
    match items:
        case EachFile(group=None) | EachBlob(group=None):
            known["file"] = _FILE
        case EachFile() | EachBlob():
            known["files"] = ANYTHING
        case Matrix(axes=axes, include=include):
            known.update({axis: _axis(values) for axis, values in axes})
            known.update({key: ANYTHING for entry in include for key in entry})
        case Rows(path=path):
            found = columns(path)
            is_open = is_open or found is None
            known.update(dict.fromkeys(found or (), VALUE))
            known["row"] = ANYTHING if found is None else Names(dict.fromkeys(found, VALUE))
        case EachNumber():
            known["value"] = VALUE
        case EachValue(values=values):
            known["value"] = ANYTHING
            for value in values:
                if isinstance(value, Record):
                    known.update(names_of(value).known)
        case Once():
            pass
    return Names(known, is_open)


def _axis(values: tuple[Value, ...] | NumberRange) -> Names:
    if isinstance(values, NumberRange):
        return VALUE
    return ANYTHING if any(isinstance(value, Record | tuple) for value in values) else VALUE


LOGS_KEY = "logs"
"""The key of the container for the logs of stages without a container for logs."""

_COMMANDS = {
    "command": Shell.DEFAULT,
    "command_line": Shell.NONE,
    "coordination_command_line": Shell.NONE,
}
_PER_TASK = frozenset({"command", "command_line", "id"})
"""Members of a stage that are evaluated for every task."""

_PER_STAGE = frozenset({"for_each", "needs", "shell", *_COMMANDS})
"""Members of a stage that all its tasks share, such as a command below ``instances``."""

_PER_STAGE_TEXTS = frozenset({"container", "logs", "resources[]"})
"""Members that all tasks share unless they are mappings."""

_DATA = frozenset({"env", "for_each", "headers", "metadata", "protected_settings", "settings"})
"""Mappings with names of the user's choice: a member ``command`` of them is not a command."""

_WINDOWS_MARKS = (
    ("image",),
    ("virtual_machine_configuration", "node_agent_sku_id"),
    ("virtual_machine_configuration", "image_reference", "publisher"),
    ("virtual_machine_configuration", "image_reference", "offer"),
)


@frozen
class Rendered:
    """A tree with its templates filled in, before short forms are expanded.

    ``implied`` is the key of the container for logs when the spec does not declare it.
    """

    root: Node
    name: str
    parameters: Mapping[str, Value]
    windows: bool
    implied: str | None


def rendered(
    root: Node,
    source: Source,
    parameters: Mapping[str, Value],
    declared: Iterable[str],
    folder: Path,
    *,
    problems: Diagnostics,
) -> Rendered:
    """Fill in all templates that do not depend on a task.

    ``declared`` are the names of all parameters. If a parameter has no value, templates are only
    checked.
    """
    # In checks, a parameter without a value can have any value.
    values: dict[str, Value] = {name: parameters.get(name, "") for name in declared}
    complete = parameters.keys() >= values.keys()
    filler = _Substitution(source, names_of(values), values if complete else None, False, problems)
    root = filler.fill_at(root, "name")
    name = _text(root, "name")

    filler = filler.within({"name": name, **values})
    containers = root.get("containers")
    keys = tuple(containers.members) if containers is not None else ()
    for path in (("job", "id"), ("pool", "id"), ("pool", "existing")):
        root = filler.fill_at(root, *path)
    for key in keys:
        root = filler.fill_at(root, "containers", key, "id")
    ids = {key: _text(root, "containers", key, "id") or key for key in keys}
    implied = LOGS_KEY if _needs_logs_container(root, filler) and LOGS_KEY not in ids else None
    if implied is not None:
        ids[implied] = logs_container(name)
    filler = filler.within(
        base_scope(
            name=name,
            job=_text(root, "job", "id") or name,
            pool=_text(root, "pool", "id") or _text(root, "pool", "existing") or name,
            parameters=values,
            containers=ids,
        )
    )
    filler = replace(filler, windows=_is_windows(root, filler))
    members = {
        key: node
        if key == "parameters"
        else _stages(node, filler, folder)
        if key == "tasks"
        else filler.on_this_machine().fill(node, key)
        if key == "notify"
        else filler.fill(node, key)
        for key, node in root.members.items()
    }
    return Rendered(replace(root, value=members), name, parameters, filler.windows, implied)


def logs_container(name: str) -> str:
    """The name of the container for the logs of a run."""
    base = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:58].strip("-")
    return f"{base}-logs" if base else "logs"


def _text(root: Node, *path: str) -> str:
    node = root.get(*path)
    return node.value if node is not None and isinstance(node.value, str) else ""


def _needs_logs_container(root: Node, filler: _Substitution) -> bool:
    """Whether a stage keeps its logs and names no container for them."""
    quiet = replace(filler, problems=Diagnostics())
    for stage in root.mapping("tasks").values():
        logs = stage.get("logs")
        if logs is None or not (logs.members or quiet.fill(logs).value is False):
            return True
    return False


def _is_windows(root: Node, filler: _Substitution) -> bool:
    """Whether the nodes run Windows, as far as the spec shows."""
    quiet = replace(filler, problems=Diagnostics())
    pool = root.get("pool")
    marks = (pool.get(*path) if pool is not None else None for path in _WINDOWS_MARKS)
    return any("windows" in str(quiet.fill(mark).value).lower() for mark in marks if mark)


def _stages(tasks: Node, filler: _Substitution, folder: Path) -> Node:
    stages = {name: _stage(node, filler, folder) for name, node in tasks.members.items()}
    return replace(tasks, value=stages)


def _stage(node: Node, filler: _Substitution, folder: Path) -> Node:
    """A stage whose shared templates are filled in; the other templates are checked."""
    each = node.get("for_each")
    quiet = replace(filler, problems=Diagnostics())
    items = for_each(quiet.fill(each, "for_each") if each else None, folder)
    names, without_task = (stage_names(filler.names, items, task=task) for task in (True, False))
    if each is not None and isinstance(items, Once) and _is_wrong(each):
        # The names of the items are unknown, so an undefined name is not a further error.
        names, without_task = replace(names, open=True), replace(without_task, open=True)
    for key, shell in (("command", Shell.DEFAULT), ("command_line", Shell.NONE)):
        written, chosen = node.get(key), node.get("shell")
        if key == "command" and chosen is not None and chosen.value == "none":
            shell = Shell.NONE  # noqa: PLW2901 - `shell: none` applies to `command` alone
        command = command_of(written, shell) if written is not None else None
        if command is not None:
            filler.report(check_command(command, names, windows=filler.windows))
    if (id_ := node.get("id")) is not None and id_.text is not None:
        filler.report(check(template_of(id_), without_task))
    members = {
        key: child if key in _PER_TASK else filler.fill(child, key, names)
        for key, child in node.members.items()
    }
    return replace(node, value=members)


def _is_shared(node: Node, key: str) -> bool:
    """Whether all tasks of a stage share a member: names of containers, but not ResourceFiles."""
    return key in _PER_STAGE or (key in _PER_STAGE_TEXTS and not node.members)


def _is_wrong(node: Node) -> bool:
    """Whether an error was reported for a node or a part of it."""
    return node.wrong or any(map(_is_wrong, (*node.members.values(), *node.items)))


@frozen
class _Substitution:
    """Fills in templates from ``scope``. Without a scope it only checks them."""

    source: Source
    names: Names
    scope: Mapping[str, object] | None
    windows: bool
    problems: Diagnostics

    def within(self, scope: Mapping[str, object]) -> _Substitution:
        """A copy with other names in scope."""
        evaluates = self.scope is not None
        return replace(self, names=names_of(scope), scope=scope if evaluates else None)

    def on_this_machine(self) -> _Substitution:
        """A copy for commands that run on this machine instead of the nodes."""
        return replace(self, windows=os.name == "nt")

    def fill(
        self, node: Node, key: str = "", names: Names | None = None, *, data: bool = False
    ) -> Node:
        """The tree with every template evaluated; those with an error are marked as invalid.

        A command becomes the complete command line, except in ``data``. In a member of a stage, a
        template that needs the ``names`` of a task is checked and kept.
        """
        if not data and names is None and key in _COMMANDS and not isinstance(node.value, Mapping):
            return self._command(node, _COMMANDS[key])
        if not data and names is not None and _is_shared(node, key):
            return self._of_stage(node, key, names)
        data = data or key in _DATA
        if node.template is not None:
            return self._template(node, key) if names is None else self._of_task(node, key, names)
        if isinstance(node.value, Mapping):
            filled = {k: self.fill(child, k, names, data=data) for k, child in node.value.items()}
            return replace(node, value=filled)
        if isinstance(node.value, tuple):
            item_key = "resources[]" if key == "resources" else ""
            items = (self.fill(item, item_key, names, data=data) for item in node.value)
            return replace(node, value=tuple(items))
        return node

    def fill_at(self, root: Node, *path: str) -> Node:
        """The tree with the member at a path filled in; unchanged if there is none."""
        key, *below = path
        if (member := root.get(key)) is None:
            return root
        filled = self.fill_at(member, *below) if below else self.fill(member, key)
        return replace(root, value={**root.members, key: filled})

    def report(self, problems: tuple[Diagnostic, ...]) -> None:
        """Report problems of a template with the source line of their positions."""
        for found in problems:
            where = found.where
            text = self.source.line(where.line) if where else ""
            self.problems.add(replace(found, where=replace(where, text=text)) if where else found)

    def _of_stage(self, node: Node, key: str, names: Names) -> Node:
        """Fill in a member that all tasks share; refuse a template that varies."""
        strings = [template_of(part) for part in node.walk() if part.template is not None]
        if any(check(text, self.names) and not check(text, names) for text in strings):
            self.problems.add(varies(node, key.removesuffix("[]")))
            return node.invalid()
        return self.fill(node, key)

    def _of_task(self, node: Node, key: str, names: Names) -> Node:
        """Evaluate a template if all tasks share its value; otherwise check it."""
        template = template_of(node)
        if not check(template, self.names):
            # The short form of `file_pattern`.
            return self._template(node, "file_pattern" if key == "files" else key)
        found = check(template, names)
        self.report(found)
        if not found and node.kind is not None and node.kind.form == "collection":
            self.problems.add(varies(node, node.kind.name))
            return node.invalid()
        return node.invalid() if found else node

    def _template(self, node: Node, key: str) -> Node:
        found = check(template_of(node), self.names)
        shell = Quoting.WINDOWS if self.windows else Quoting.POSIX
        template = template_of(node, key)
        result = None if found else self._collection(node)
        if result is None:
            result = self._evaluated(
                node, found, lambda scope: evaluate(template, scope, shell=shell)
            )
        kind = node.kind
        is_text = kind is not None and kind.form == "text" and not kind.schema.get("x-secret")
        if result.wrong or kind is None or (is_text and not result.is_collection):
            return result
        return coerced(result, kind, self.problems)

    def _command(self, node: Node, shell: Shell) -> Node:
        command = command_of(node, shell)
        if command is None or node.filled:
            return node
        if (shell is Shell.NONE and node.template is None) or node.text == "" or node.raw.isspace():
            return node
        windows = self.windows
        found = check_command(command, self.names, windows=windows)
        return self._evaluated(
            node, found, lambda scope: command_line(command, scope, windows=windows)
        )

    def _evaluated(
        self,
        node: Node,
        found: tuple[Diagnostic, ...],
        text: Callable[[Mapping[str, object]], str | Text],
    ) -> Node:
        """The node with its text; invalid if there are problems or a parameter has no value."""
        try:
            if self.scope is not None and not found:
                value = text(self.scope)
                raw = "" if isinstance(value, Text) else value
                return replace(node, value=value, raw=raw, filled=True)
        except SpecError as error:
            found = error.problems
        self.report(found)
        return node.invalid()

    def _collection(self, node: Node) -> Node | None:
        """The list or object of a parameter, for a template that is only its name."""
        name = lone_name(node.template or "")
        value = self.scope.get(name) if name and self.scope is not None else None
        if not isinstance(value, tuple | Record):
            return None
        return made(thaw(value, lambda text: text.shown), node)
