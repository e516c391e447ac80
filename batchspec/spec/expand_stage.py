"""The short forms of a stage, spelled out with the names of the SDK."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import PurePosixPath

from batchspec.spec.command import wrapped
from batchspec.spec.expand_job import constrained, renamed
from batchspec.spec.expand_task import common
from batchspec.spec.node import Node, made
from batchspec.spec.scope import WRITE
from batchspec.spec.values import BlobUrl, Text

EXIT_CODE = re.compile(r"(-?[0-9]+)(?:-(-?[0-9]+))?")
"""A key of ``exit_codes`` that is a code or a range of codes."""

LOGS = "../std*.txt"
"""stdout.txt and stderr.txt, which are beside a task's working directory."""

LOGS_PATH = "logs/{{ task.id }}/"

WHEN = {"success": "tasksuccess", "failure": "taskfailure", "always": "taskcompletion"}
_RENAMED = {"slots": "required_slots"}
_WILD = re.compile(r"[*?\[]")


def expanded_stage(
    stage: Node, containers: dict[str, str], *, windows: bool, ends_job: bool
) -> Node:
    """The stage with the names of the SDK. ``containers`` are ids by key.

    ``ends_job``: a failed task ends the job, unless its exit conditions say otherwise.

    What has no counterpart before there is a plan stays: ``command``, ``for_each``, ``needs``,
    ``resources`` that name containers, ``logs``, and what :mod:`~batchspec.spec.late` spells out.
    """
    stage = constrained(common(stage), ("max_wall_clock_time", "retries", "retention"))
    stage = renamed(stage, _RENAMED)
    members: dict[str, Node | None] = dict.fromkeys(("container_image", "instances", "outputs"))
    if (image := stage.get("container_image")) is not None:
        members["container_settings"] = made({"image_name": image}, image)
    codes = stage.get("exit_codes")
    if codes is not None and not any(node.kind for node in codes.members.values()):
        members |= {"exit_codes": None, "exit_conditions": conditions(codes, ends_job=ends_job)}
    if (instances := stage.get("instances")) is not None:
        members["multi_instance_settings"] = _instances(instances, windows=windows)
    if (outputs := stage.get("outputs")) is not None:
        given = stage.get("output_files")
        if any(_is_late(item) for item in outputs.items):
            members["outputs"] = outputs  # All of them, so that their order stays.
        else:
            files = [output(item, containers) for item in outputs.items]
            members["output_files"] = made([*(given.items if given else ()), *files], outputs)
    return stage.with_(**members)


def _is_late(output: Node) -> bool:
    """Whether an output says more than an output file can."""
    when, required = output.get("when"), output.get("required")
    return (when is not None and when.kind is not None) or (
        required is not None and required.value is True
    )


def conditions(codes: Node, *, ends_job: bool) -> Node:
    """``exit_codes`` as ``exit_conditions``. ``ends_job`` is as in :func:`expanded_stage`."""
    single, ranges = [], []
    others: dict[str, object] = {}
    for key, node in codes.members.items():
        options = exit_options(node, ends_job=ends_job)
        match = EXIT_CODE.fullmatch(key)
        if match is None:
            others[key] = options
        elif match[2] is None:
            single.append({"code": int(match[1]), "exit_options": options})
        else:
            ranges.append({"start": int(match[1]), "end": int(match[2]), "exit_options": options})
    listed = {"exit_codes": single, "exit_code_ranges": ranges}
    return made({**{key: value for key, value in listed.items() if value}, **others}, codes)


def exit_options(node: Node, *, ends_job: bool) -> Node:
    """What an exit code means, in short, spelled out; what differs from task to task stays."""
    if node.members or node.kind is not None:
        return node
    if node.value not in ("satisfy", "block"):
        return made({"job_action": node.value}, node)
    # Whoever says what becomes of the tasks that wait wants the job to go on. The service would end
    # it: without a `job_action` that is what any exit code but 0 does, where it may do anything.
    goes_on = {"job_action": "none"} if ends_job else {}
    return made({**goes_on, "dependency_action": node.value}, node)


def _instances(node: Node, *, windows: bool) -> Node:
    if not node.members:
        # The service wants a command here; one that does nothing suits a program that needs none.
        nothing = wrapped("exit 0", windows=windows)
        return made({"number_of_instances": node, "coordination_command_line": nothing}, node)
    command = node.members["command"]
    settings: dict[str, object] = {
        "number_of_instances": node.members["count"],
        "coordination_command_line": command,
    }
    if (resources := node.get("resources")) is not None:
        settings["common_resource_files"] = resources
    return made(settings, node)


def output(node: Node, containers: dict[str, str]) -> Node:
    """An output as an output file; a ``when`` that differs from task to task stays."""
    files = node.members["files"]
    when = node.get("when")
    late = when is not None and when.kind is not None
    condition = when if late else WHEN["success" if when is None else str(when.value)]
    return made(
        {
            "file_pattern": files,
            "destination": {"container": destination(node, containers, files.text or "*")},
            "upload_options": {"upload_condition": condition},
        },
        node,
    )


def destination(node: Node, containers: dict[str, str], pattern: str) -> dict[str, object]:
    """Where files go: the container by a signature, or with an identity by its plain URL."""
    named = node.members["container"]
    identity = node.get("identity_reference")
    letters = "" if identity is not None else WRITE
    url = BlobUrl(containers[str(named.value)], None, letters)
    found: dict[str, object] = {"container_url": made(Text((url,)), named)}
    if (path := node.get("path")) is not None and path.value != "":
        found["path"] = replace(path, value=_path(str(path.value), pattern))
    beside = {"identity_reference": identity, "upload_headers": node.get("upload_headers")}
    return {**found, **{key: given for key, given in beside.items() if given is not None}}


def _path(path: str, pattern: str) -> str:
    """A path that ends in ``/`` is a folder, also for a single file.

    The service takes the path of a pattern without wildcard as the name of the blob itself.
    """
    if not path.endswith("/"):
        return path
    return path.rstrip("/") if _WILD.search(pattern) else path + PurePosixPath(pattern).name
