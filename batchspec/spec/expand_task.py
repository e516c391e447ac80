"""The short forms that every kind of task has: ``command``, ``env``, ``elevated``, ``resources``.

Expansion goes from tree to tree: what comes out has the names of the SDK, could have been written
so, and is what ``batchspec config`` prints.
"""

from __future__ import annotations

from batchspec.spec.node import Node, made

USERS = {
    True: {"auto_user": {"scope": "pool", "elevation_level": "admin"}},
    False: {"auto_user": {"scope": "task", "elevation_level": "nonadmin"}},
}
"""Whom ``elevated`` runs a task as. ``False`` is what the service does where nothing is said."""


def expanded_task(task: Node) -> Node:
    """A start, preparation or release task with the names of the SDK; ``resources`` stay.

    Its command was filled in before, and is the whole line already.
    """
    command = task.get("command") or task.get("command_line")
    return common(task.with_(command=None, command_line=command))


def common(task: Node) -> Node:
    """``env``, ``elevated`` and ResourceFiles among ``resources`` with the names of the SDK."""
    members: dict[str, Node | None] = {"env": None}
    if (env := task.get("env")) is not None:
        members["environment_settings"] = settings(env)
    elevated = task.get("elevated")
    if elevated is not None and elevated.kind is None:
        members["elevated"] = None
        if elevated.value is True:
            members["user_identity"] = made(USERS[True], elevated)
    if (resources := task.get("resources")) is not None:
        spelled = [item for item in resources.items if item.members]
        named = [item for item in resources.items if not item.members]
        given = task.get("resource_files")
        if spelled:
            members["resource_files"] = made([*(given.items if given else ()), *spelled], resources)
        members["resources"] = made(named, resources)
    return task.with_(**members)


def settings(env: Node) -> Node:
    """A mapping of variables as the list that the service takes."""
    return made(
        [{"name": name, "value": setting(value)} for name, value in env.members.items()], env
    )


def setting(node: Node) -> Node:
    """The value of a variable as text; a number as it is written."""
    if isinstance(node.value, bool):
        return made("true" if node.value else "false", node)
    if isinstance(node.value, int | float):
        return made(node.raw or str(node.value), node)
    return node
