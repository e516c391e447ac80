"""Expands the short forms of a spec to the properties of the SDK: pool, job, tasks and stages.

A short form with an error is omitted; other modules report the error. The rest is expanded, so that
rules find errors of properties in every notation.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from batchspec.spec.convert import duration, iso, wrapped
from batchspec.spec.formulas import IDLE, INTERVAL, Scale, Scenario
from batchspec.spec.substitute import LOGS_KEY, WRITE, Rendered, logs_container
from batchspec.spec.template import EXPRESSION
from batchspec.spec.validator import definition, rest_value
from batchspec.spec.values import BlobUrl, Text, Value
from batchspec.spec.yaml_tree import Node, made

EXIT_CODE = re.compile(r"(-?[0-9]+)(?:-(-?[0-9]+))?")
"""A key of ``exit_codes`` that is a code or a range of codes."""

LOGS = "../std*.txt"
"""stdout.txt and stderr.txt, in the parent of a task's working directory."""

LOGS_PATH = "logs/{{ task.id }}/"

_USERS = {
    True: {"auto_user": {"scope": "pool", "elevation_level": "admin"}},
    False: {"auto_user": {"scope": "task", "elevation_level": "nonadmin"}},
}
"""The users for ``elevated``. ``False`` is the default of the service."""

_WHEN = {"success": "tasksuccess", "failure": "taskfailure", "always": "taskcompletion"}
_LIMITS = {
    "max_wall_clock_time": "max_wall_clock_time",
    "max_retries": "max_task_retry_count",
    "retries": "max_task_retry_count",
    "retention": "retention_time",
}
_RENAMED = {"slots": "required_slots"}
_WILDCARD = re.compile(r"[*?\[]")


def expanded_task(task: Node) -> Node:
    """A start, preparation or release task; ``resources`` that name containers are kept.

    The command is already the complete command line.
    """
    command = task.get("command") or task.get("command_line")
    return _common(task.with_(command=None, command_line=command))


def _common(task: Node) -> Node:
    """Expand ``env``, ``elevated`` and the ResourceFiles among ``resources``."""
    members: dict[str, Node | None] = {"env": None}
    if (env := task.get("env")) is not None:
        members["environment_settings"] = environment(env)
    elevated = task.get("elevated")
    if elevated is not None and elevated.kind is None:
        members["elevated"] = None
        if elevated.value is True:
            members["user_identity"] = made(_USERS[True], elevated)
    if (resources := task.get("resources")) is not None:
        files = [item for item in resources.items if item.is_collection]
        names = [item for item in resources.items if not item.is_collection]
        if files:
            given = task.sequence("resource_files")
            members["resource_files"] = made([*given, *files], resources)
        members["resources"] = made(names, resources)
    return task.with_(**members)


def environment(env: Node) -> Node:
    """A mapping of environment variables as the list of the REST API."""
    return made(
        [{"name": name, "value": _variable(value)} for name, value in env.members.items()], env
    )


def _variable(node: Node) -> Node:
    """The value of a variable as a string; a number as it is written."""
    if isinstance(node.value, bool):
        return made("true" if node.value else "false", node)
    if isinstance(node.value, int | float):
        return made(node.raw or str(node.value), node)
    return node


def constrained(node: Node, keys: tuple[str, ...]) -> Node:
    """Move limits of a job or task to its ``constraints``."""
    given = {_LIMITS[key]: node.get(key) for key in keys if node.get(key) is not None}
    if not given:
        return node
    constraints = node.get("constraints") or made({}, node)
    removed: dict[str, Node | None] = dict.fromkeys(keys)
    return node.with_(**removed, constraints=constraints.with_(**given))


def renamed(node: Node, names: Mapping[str, str]) -> Node:
    """Rename members; their order is kept."""
    return made({names.get(key, key): child for key, child in node.members.items()}, node)


def expanded_stage(
    stage: Node, containers: dict[str, str], *, windows: bool, ends_job: bool
) -> Node:
    """A stage. ``containers`` are names in the account by key.

    ``ends_job``: a failed task terminates the job unless its exit conditions differ. Members that
    have no long form are kept: ``command``, ``for_each``, ``needs``, ``resources`` that name
    containers, ``logs``, and choices that vary from task to task.
    """
    stage = constrained(_common(stage), ("max_wall_clock_time", "retries", "retention"))
    stage = renamed(stage, _RENAMED)
    members: dict[str, Node | None] = dict.fromkeys(("container_image", "instances", "outputs"))
    if (image := stage.get("container_image")) is not None:
        members["container_settings"] = made({"image_name": image}, image)
    codes = stage.get("exit_codes")
    if codes is not None and not any(node.kind for node in codes.members.values()):
        members |= {"exit_codes": None, "exit_conditions": _exit_conditions(codes, ends_job)}
    if (instances := stage.get("instances")) is not None:
        members["multi_instance_settings"] = _instances(instances, windows=windows)
    if (outputs := stage.get("outputs")) is not None:
        if any(_has_no_long_form(item) for item in outputs.items):
            members["outputs"] = outputs  # all of them, to keep their order
        else:
            files = [_output(item, containers) for item in outputs.items]
            members["output_files"] = made([*stage.sequence("output_files"), *files], outputs)
    return stage.with_(**members)


def expand_deferred(stage: Node, containers: dict[str, str], *, ends_job: bool) -> Node:
    """An expanded stage in which choices that vary from task to task are expanded, too."""
    members: dict[str, Node | None] = dict.fromkeys(("elevated", "exit_codes", "outputs"))
    if (elevated := stage.get("elevated")) is not None:
        users = ((choice, made(user, elevated)) for choice, user in _USERS.items())
        expansions = {choice: _body(user, "UserIdentity") for choice, user in users}
        members["user_identity"] = _choice(elevated, expansions)
    if (codes := stage.get("exit_codes")) is not None:
        codes = codes.with_(
            **{key: _exit_choice(node, ends_job) for key, node in codes.members.items()}
        )
        members["exit_conditions"] = _exit_conditions(codes, ends_job)
    if (outputs := stage.get("outputs")) is not None:
        files = [_output(_with_condition(item), containers) for item in outputs.items]
        members["output_files"] = made([*stage.sequence("output_files"), *files], outputs)
    return stage.with_(**members)


def _is_deferred(node: Node | None) -> bool:
    """Whether a choice varies from task to task."""
    return node is not None and node.kind is not None


def _has_no_long_form(output: Node) -> bool:
    """Whether an output has a property that an OutputFile lacks."""
    required = output.get("required")
    return _is_deferred(output.get("when")) or (required is not None and required.value is True)


def _with_condition(output: Node) -> Node:
    """The output with its ``when`` expanded if it varies from task to task."""
    when = output.get("when")
    if when is None or not _is_deferred(when):
        return output
    return output.with_(when=_choice(when, _WHEN))


def _choice(node: Node, expansions: Mapping[Any, Value]) -> Node:
    """A template whose result is replaced by its expansion, in the form of the REST API."""
    assert node.kind is not None
    return replace(node, kind=replace(node.kind, becomes=expansions))


def _body(node: Node, model: str) -> Value:
    return rest_value(node, definition(model))


def _exit_choice(node: Node, ends_job: bool) -> Node:
    if node.kind is None:
        return node
    # The service accepts a job action only if failed tasks act on the job.
    choices = node.kind.schema["enum"] if ends_job else ["satisfy", "block"]
    expansions = {
        choice: _body(_exit_options(made(choice, node), ends_job), "ExitOptions")
        for choice in choices
    }
    kind = replace(node.kind, schema={"enum": choices})
    return _choice(replace(node, kind=kind), expansions)


def _exit_conditions(codes: Node, ends_job: bool) -> Node:
    """``exit_codes`` as ``exit_conditions``."""
    single, ranges = [], []
    others: dict[str, object] = {}
    for key, node in codes.members.items():
        options = _exit_options(node, ends_job)
        match = EXIT_CODE.fullmatch(key)
        if match is None:
            others[key] = options
        elif match[2] is None:
            single.append(made({"code": int(match[1]), "exit_options": options}, node))
        else:
            at_key = replace(node, where=node.name)
            bounds = {"start": made(int(match[1]), at_key), "end": made(int(match[2]), at_key)}
            ranges.append(made({**bounds, "exit_options": options}, node))
    listed = {"exit_codes": single, "exit_code_ranges": ranges}
    return made({**{key: value for key, value in listed.items() if value}, **others}, codes)


def _exit_options(node: Node, ends_job: bool) -> Node:
    """The action for an exit code; a template that varies from task to task is kept."""
    if node.members or node.kind is not None or node.wrong:
        return node
    if node.value not in ("satisfy", "block"):
        return made({"job_action": node.value}, node)
    # With a dependency action the job is meant to continue. Without a `job_action` the service
    # terminates the job for any exit code but 0 where failed tasks act on the job.
    continues = {"job_action": "none"} if ends_job else {}
    return made({**continues, "dependency_action": node.value}, node)


def _instances(node: Node, *, windows: bool) -> Node:
    if not node.members:
        # The service requires a coordination command; `exit 0` suits programs that need none.
        nothing = wrapped("exit 0", windows=windows)
        return made({"number_of_instances": node, "coordination_command_line": nothing}, node)
    settings: dict[str, object] = {
        "number_of_instances": node.members["count"],
        "coordination_command_line": node.members["command"],
    }
    if (resources := node.get("resources")) is not None:
        settings["common_resource_files"] = resources
    return made(settings, node)


def _output(node: Node, containers: dict[str, str]) -> Node:
    """An output as an OutputFile; a ``when`` that varies from task to task is kept."""
    files = node.members["files"]
    when = node.get("when")
    condition: object = _WHEN["success"]
    if when is not None:
        condition = when if _is_deferred(when) else _WHEN[str(when.value)]
    return made(
        {
            "file_pattern": files,
            "destination": {"container": destination(node, containers, files.text or "*")},
            "upload_options": {"upload_condition": condition},
        },
        node,
    )


def destination(node: Node, containers: dict[str, str], pattern: str) -> dict[str, object]:
    """The container that files are uploaded to: a signed URL, or with an identity a plain one."""
    named = node.members["container"]
    identity = node.get("identity_reference")
    permissions = "" if identity is not None else WRITE
    url = BlobUrl(containers[str(named.value)], None, permissions)
    found: dict[str, object] = {"container_url": made(Text((url,)), named)}
    if (path := node.get("path")) is not None and path.value != "":
        found["path"] = replace(path, value=_path(str(path.value), pattern))
    beside = {"identity_reference": identity, "upload_headers": node.get("upload_headers")}
    return {**found, **{key: given for key, given in beside.items() if given is not None}}


def _path(path: str, pattern: str) -> str:
    """The path of an OutputFile.

    A path that ends in ``/`` is a folder, even for a single file. For a pattern without a wildcard,
    the service uses the path as the name of the blob.
    """
    if not path.endswith("/"):
        return path
    if _WILDCARD.search(EXPRESSION.sub("", pattern)):
        return path.rstrip("/")
    # A `/` in an expression does not separate folders of the pattern.
    hidden = EXPRESSION.sub(lambda match: "x" * len(match.group()), pattern)
    return path + pattern[hidden.rfind("/") + 1 :]


_FAILURE = {"continue": "noaction", "terminate": "performexitoptionsjobaction"}
_SCHEDULE = {
    "every": "recurrence_interval",
    "start": "do_not_run_until",
    "until": "do_not_run_after",
    "window": "start_window",
}


def expanded_job(job: Node, *, depends: bool) -> Node:
    """The job. ``depends``: some of its tasks depend on other tasks."""
    members: dict[str, Node | None] = dict.fromkeys(
        ("env", "prepare", "release", "on_task_failure")
    )
    if (env := job.get("env")) is not None:
        members["common_environment_settings"] = environment(env)
    for key in ("job_preparation_task", "job_release_task"):
        if (task := job.get(key)) is not None:
            members[key] = expanded_task(task)
    if (prepare := job.get("prepare")) is not None:
        task = constrained(prepare, ("max_wall_clock_time", "retries", "retention"))
        members["job_preparation_task"] = expanded_task(task)
    if (release := job.get("release")) is not None:
        task = renamed(release, {"retention": "retention_time"})
        members["job_release_task"] = expanded_task(task)
    if (failure := job.get("on_task_failure")) is not None:
        members["task_failure_mode"] = made(_FAILURE[str(failure.value)], failure)
    if (schedule := job.get("schedule")) is not None:
        members["schedule"] = renamed(schedule, _SCHEDULE)
    if depends and job.get("uses_task_dependencies") is None:
        members["uses_task_dependencies"] = made(True, job)
    return constrained(job.with_(**members), ("max_wall_clock_time", "max_retries"))


def ends_job(job: Node) -> bool:
    """Whether a failed task terminates the job unless its exit conditions differ."""
    mode = job.get("on_task_failure") or job.get("task_failure_mode")
    return mode is not None and mode.value in ("terminate", _FAILURE["terminate"])


def referring(node: Node, packages: Mapping[str, Node]) -> Node:
    """A pool or stage whose ``packages`` are references to their versions."""
    names = node.get("packages")
    if names is None:
        return node
    found = ((item, packages.get(item.text or "")) for item in names.items)
    references = [
        made({"application_id": item, "version": package.members["version"]}, item)
        for item, package in found
        if package is not None and "version" in package.members
    ]
    return node.with_(packages=None, application_package_references=made(references, names))


def expanded_pool(pool: Node) -> Node:
    """The pool; ``image`` is kept, because the account is needed to resolve it."""
    members: dict[str, Node | None] = {"nodes": None, "container_images": None}
    if (nodes := pool.get("nodes")) is not None:
        members |= _nodes(nodes, slots=number(pool, "task_slots_per_node", 1))
    images = pool.get("container_images")
    machine = pool.get("virtual_machine_configuration")
    containers = machine.get("container_configuration") if machine is not None else None
    if (origin := images or containers) is not None:
        containers = containers or made({}, origin)
        machine = machine or made({}, origin)
        kind = containers.get("type") or made("dockerCompatible", origin)
        images = images or containers.get("container_image_names")
        containers = containers.with_(type=kind, container_image_names=images)
        members["virtual_machine_configuration"] = machine.with_(container_configuration=containers)
    if (start := pool.get("start_task")) is not None:
        members["start_task"] = expanded_task(start)
    return pool.with_(**members)


def number(node: Node, key: str, default: int) -> int:
    """An integer of a mapping, or the default if there is none."""
    found = node.get(key)
    return found.value if found is not None and isinstance(found.value, int) else default


def _nodes(nodes: Node, *, slots: int) -> dict[str, Node | None]:
    if isinstance(nodes.value, int):
        return {"target_dedicated_nodes": nodes}
    if (own := nodes.get("autoscale")) is not None:
        return {
            "enable_auto_scale": made(True, own),
            "auto_scale_formula": own.get("formula"),
            "auto_scale_evaluation_interval": own.get("interval"),
        }
    if (scale := nodes.get("scale")) is not None:
        return {
            "enable_auto_scale": made(True, scale),
            "auto_scale_formula": made(_formula(scale, slots), scale),
            "auto_scale_evaluation_interval": made(iso(INTERVAL), scale),
        }
    return {
        "target_dedicated_nodes": nodes.get("dedicated"),
        "target_low_priority_nodes": nodes.get("spot"),
    }


def _formula(scale: Node, slots: int) -> str:
    least = number(scale, "min", 0)
    scenario = scale.get("scenario")
    idle = duration(scale.string("idle"))
    chosen = scenario.value if scenario is not None else None
    defaults = Scale(least, max(least, number(scale, "max", 0)), 0, idle or IDLE, slots)
    return replace(
        defaults,
        most_spot=number(scale, "spot_max", 0),
        prefers_spot=scale.string("prefer") == "spot",
        scenario=Scenario(chosen) if isinstance(chosen, str) else defaults.scenario,
        days=pair(scale, "days", defaults.days),
        hours=pair(scale, "hours", defaults.hours),
    ).formula


def pair(node: Node, key: str, default: tuple[int, int]) -> tuple[int, int]:
    """The two numbers of a list; ``default`` if it is missing or invalid."""
    match [item.value for item in node.sequence(key)]:
        case [int(first), int(second)]:
            return first, second
    return default


def expanded(found: Rendered) -> Rendered:
    """Expand every short form of a spec."""
    root = found.root
    containers = _containers(found)
    ids = {key: _container_id(key, node) for key, node in containers.members.items()}
    pool, job, tasks = root.get("pool"), root.get("job"), root.get("tasks")
    packages = root.mapping("packages")
    ends = job is not None and ends_job(job)
    stages = {
        name: expanded_stage(
            referring(_with_logs(_complete(node, ids)), packages),
            ids,
            windows=found.windows,
            ends_job=ends,
        )
        for name, node in root.mapping("tasks").items()
    }
    members = {**root.members, "containers": containers}
    if pool is not None and pool.members and pool.get("existing") is None:
        members["pool"] = _with_id(expanded_pool(referring(pool, packages)), found.name)
    if job is not None and job.members:
        depends = any(node.get("needs") or node.get("depends_on") for node in stages.values())
        members["job"] = _with_id(expanded_job(_complete(job), depends=depends), found.name)
    if tasks is not None:
        members["tasks"] = replace(tasks, value=stages)
    return replace(found, root=replace(root, value=members))


def _containers(found: Rendered) -> Node:
    given = found.root.get("containers") or made({}, found.root)
    if found.implied is None:
        return given
    implied = made({"id": logs_container(found.name)}, found.root.members["tasks"])
    return given.with_(**{found.implied: implied})


def _container_id(key: str, node: Node) -> str:
    """The name in the account of a container, if it is known."""
    id_ = node.get("id")
    return key if id_ is None or id_.wrong or id_.text == "" else id_.shown


def _with_id(node: Node, name: str) -> Node:
    """A pool or job with an id; the service generates the id of an auto pool."""
    if node.get("id") is not None or node.get("lifetime") is not None:
        return node
    return replace(node, value={"id": made(name, node), **node.members})


def _with_logs(stage: Node) -> Node:
    """The stage with the container of its logs, unless logs are off."""
    logs = stage.get("logs")
    if logs is not None and (logs.members or logs.value is False):
        return stage
    return stage.with_(logs=made({"container": LOGS_KEY}, logs or stage))


def _complete(node: Node, containers: Mapping[str, str] | None = None) -> Node:
    """A job or stage without the short forms that have an error and cannot be expanded."""
    removed: dict[str, Node | None] = {}
    failure, instances = node.get("on_task_failure"), node.get("instances")
    if failure is not None and failure.wrong:
        removed |= {"on_task_failure": None, "task_failure_mode": failure}
    if instances is not None and (
        instances.wrong
        or (instances.members and not {"count", "command"} <= set(instances.members))
    ):
        removed["instances"] = None
    outputs = node.get("outputs")
    if outputs is not None and not all(_is_complete(o, containers or {}) for o in outputs.items):
        removed["outputs"] = None
    return node.with_(**removed) if removed else node


def _is_complete(output: Node, containers: Mapping[str, str]) -> bool:
    container, when = output.get("container"), output.get("when")
    valid = not (output.wrong or output.get("files") is None or (when is not None and when.wrong))
    return valid and container is not None and container.text in containers
