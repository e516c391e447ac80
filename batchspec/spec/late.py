"""Short forms whose choice differs from task to task, under the names of the SDK.

Which choice it is shows when a task is made; what each of them is short for is spelled out here.
``batchspec config`` shows such short forms as they are written: they are short for no one thing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from batchspec.spec.expand_stage import WHEN, conditions, exit_options, output
from batchspec.spec.expand_task import USERS
from batchspec.spec.node import Node, made
from batchspec.spec.schema import definition
from batchspec.spec.values import Value
from batchspec.spec.wire import value


def spelled_out(stage: Node, containers: dict[str, str], *, ends_job: bool) -> Node:
    """The stage without them; the rest of it is expanded already. ``containers`` are ids by key."""
    members: dict[str, Node | None] = dict.fromkeys(("elevated", "exit_codes", "outputs"))
    if (elevated := stage.get("elevated")) is not None:
        users = ((truth, made(user, elevated)) for truth, user in USERS.items())
        meant = {truth: _wire(user, "UserIdentity") for truth, user in users}
        members["user_identity"] = _choice(elevated, meant)
    if (codes := stage.get("exit_codes")) is not None:
        codes = codes.with_(**{key: _exit(node, ends_job) for key, node in codes.members.items()})
        members["exit_conditions"] = conditions(codes, ends_job=ends_job)
    if (outputs := stage.get("outputs")) is not None:
        given = stage.get("output_files")
        files = [_output(item, containers) for item in outputs.items]
        members["output_files"] = made([*(given.items if given else ()), *files], outputs)
    return stage.with_(**members)


def _exit(node: Node, ends_job: bool) -> Node:
    if node.kind is None:
        return node
    # The service takes an action on the job only where the job has it end.
    choices = node.kind.schema["enum"] if ends_job else ["satisfy", "block"]
    meant = {
        choice: _wire(exit_options(made(choice, node), ends_job=ends_job), "ExitOptions")
        for choice in choices
    }
    kind = replace(node.kind, schema={"enum": choices})
    return _choice(replace(node, kind=kind), meant)


def _output(node: Node, containers: dict[str, str]) -> Node:
    when = node.get("when")
    if when is not None and when.kind is not None:
        node = node.with_(when=_choice(when, WHEN))
    return output(node, containers)


def _choice(node: Node, meant: Mapping[Any, Value]) -> Node:
    """A template of which each choice stands for something, in the form of the service."""
    assert node.kind is not None
    return replace(node, kind=replace(node.kind, becomes=meant))


def _wire(node: Node, model: str) -> Value:
    return value(node, definition(model))
