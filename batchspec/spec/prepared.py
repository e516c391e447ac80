"""A tree with its parameters set: every template filled in that is the same for all tasks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from batchspec.problems import Place, Problems
from batchspec.spec import build
from batchspec.spec.command import check_command
from batchspec.spec.fill import Filler, command_of, template_of
from batchspec.spec.for_each import for_each
from batchspec.spec.model import Command, Container, Shell, Stage
from batchspec.spec.node import Node
from batchspec.spec.scope import base_names, base_scope, stage_names
from batchspec.spec.source import Source
from batchspec.spec.template import Names, check
from batchspec.spec.values import Template, Value

LOGS_KEY = "logs"
"""The container that keeps logs where a stage says no other."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A spec before its short forms are spelled out.

    ``implied`` is the key of a container that nobody declared, and that logs are kept in.
    """

    root: Node
    name: str
    parameters: Mapping[str, Value]
    windows: bool
    implied: str | None


def prepared(
    root: Node,
    source: Source,
    parameters: Mapping[str, Value],
    declared: Mapping[str, Node],
    folder: Path,
    *,
    problems: Problems,
) -> Prepared:
    """Fill in what is known. ``declared`` are all parameters, those without a value included."""
    stand_in: dict[str, Value] = {name: parameters.get(name, "") for name in declared}
    complete = parameters.keys() >= declared.keys()
    first = Filler(source, Names(), None, False, problems)
    early = base_names(stand_in, ())
    only = {
        key: names for key, names in early.known.items() if key not in ("job", "pool", "containers")
    }
    first = replace(
        first,
        names=Names({key: names for key, names in only.items() if key in stand_in}),
        scope=dict(parameters) if complete else None,
    )
    name = _text(_at(root, first, "name"))
    second = replace(
        first, names=Names(only), scope={"name": name, **parameters} if complete else None
    )
    containers = _containers(root, second, folder)
    implied = LOGS_KEY if _wants_logs(root) and LOGS_KEY not in containers else None
    if implied is not None:
        containers[implied] = Container(
            implied, logs_container(name), Place(source.file, 1, 1), implied=True
        )
    scope = base_scope(
        name=name,
        job=_text(_at(root, second, "job", "id")) or name,
        pool=_text(_at(root, second, "pool", "id") or _at(root, second, "pool", "existing"))
        or name,
        parameters=parameters,
        containers=containers,
    )
    full = replace(
        second,
        names=base_names(stand_in, containers),
        scope=scope if complete else None,
    )
    windows = _is_windows(root, full)
    full = replace(full, windows=windows)
    members = {
        key: node
        if key == "parameters"
        else _tasks(node, full, folder)
        if key == "tasks"
        else full.fill(node, key)
        for key, node in root.members.items()
    }
    return Prepared(replace(root, value=members), name, parameters, windows, implied)


def logs_container(name: str) -> str:
    """The name of a run's container for logs."""
    base = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:58].strip("-")
    return f"{base}-logs" if base else "logs"


def _at(root: Node, filler: Filler, *path: str) -> Node | None:
    node = root.get(*path)
    return filler.fill(node, path[-1]) if node is not None else None


def _text(node: Node | None) -> str:
    return node.value if node is not None and isinstance(node.value, str) else ""


def _containers(root: Node, filler: Filler, folder: Path) -> dict[str, Container]:
    node = root.get("containers")
    found: dict[str, Container] = {}
    for key, child in (node.members if node else {}).items():
        id_ = child.get("id")
        known = child.with_(id=filler.fill(id_, "id")) if id_ is not None else child
        found[key] = build.container(key, known, folder)
    return found


def _wants_logs(root: Node) -> bool:
    """Whether a stage keeps its logs, and does not say where."""
    tasks = root.get("tasks")
    for stage in (tasks.members if tasks else {}).values():
        logs = stage.get("logs")
        if logs is None or logs.value is True:
            return True
    return False


def _is_windows(root: Node, filler: Filler) -> bool:
    """Whether the nodes run Windows, as far as the spec tells."""
    pool = root.get("pool")
    if pool is None:
        return False
    told = (
        ("image",),
        ("virtual_machine_configuration", "node_agent_sku_id"),
        ("virtual_machine_configuration", "image_reference", "publisher"),
        ("virtual_machine_configuration", "image_reference", "offer"),
    )
    quiet = replace(filler, problems=Problems())
    return any("windows" in _text(_at(pool, quiet, *path)).lower() for path in told)


def _tasks(tasks: Node, filler: Filler, folder: Path) -> Node:
    stages = {name: _stage(name, node, filler, folder) for name, node in tasks.members.items()}
    return replace(tasks, value=stages)


def _stage(name: str, node: Node, filler: Filler, folder: Path) -> Node:
    each = node.get("for_each")
    quiet = replace(filler, problems=Problems())
    source = for_each(quiet.fill(each, "for_each") if each else None, folder)
    draft = Stage(name, node.name, Command(Shell.NONE, Template("", node.name)), source)
    names = stage_names(filler.names, draft)
    _check_command(node, names, filler)
    if (id_ := node.get("id")) is not None and id_.text is not None:
        without_own = stage_names(filler.names, draft, task=False)
        filler.in_place(check(template_of(id_), without_own))
    return filler.stage(node, names)


def _check_command(stage: Node, names: Names, filler: Filler) -> None:
    for key, shell in (("command", Shell.DEFAULT), ("command_line", Shell.NONE)):
        written = stage.get(key)
        if written is None:
            continue
        told = stage.get("shell")
        if key == "command" and told is not None and told.value == "none":
            shell = Shell.NONE  # noqa: PLW2901 - `shell: none` belongs to `command` alone
        command = command_of(written, shell)
        if command is not None:
            filler.in_place(check_command(command, names, windows=filler.windows))
