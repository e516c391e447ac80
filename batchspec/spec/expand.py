"""Expands a spec, and its parts that become requests.

A short form with an error, which is reported elsewhere, is omitted: the rest is expanded, so that
rules find the mistakes of a property however it is written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from batchspec.spec.convert import text
from batchspec.spec.short_forms import ends_job, expanded_job, expanded_pool, expanded_stage
from batchspec.spec.substitute import LOGS_KEY, Rendered, logs_container
from batchspec.spec.yaml_tree import Node, made


def expanded(found: Rendered) -> Rendered:
    """Expand every short form of a spec."""
    root = found.root
    containers = _containers(found)
    ids = {key: _container_id(key, node) for key, node in containers.members.items()}
    pool, job, tasks = root.get("pool"), root.get("job"), root.get("tasks")
    ends = job is not None and ends_job(job)
    stages = {
        name: expanded_stage(
            _with_logs(_complete(node, ids)), ids, windows=found.windows, ends_job=ends
        )
        for name, node in (tasks.members if tasks else {}).items()
    }
    members = {**root.members, "containers": containers}
    if pool is not None and pool.members and pool.get("existing") is None:
        members["pool"] = _with_id(expanded_pool(pool), found.name)
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
    """The name in the account of a container, as far as it is known."""
    id_ = node.get("id")
    return key if id_ is None or id_.wrong or id_.text == "" else text(id_)


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


@dataclass(frozen=True, slots=True)
class Part:
    """An expanded part: its place in the spec, and the model of the SDK that it becomes.

    ``agent`` is the system of the nodes (a node agent SKU) where only an alias of an image shows
    it.
    """

    path: tuple[str, ...]
    model: str
    node: Node
    agent: str | None = None


def parts_of(complete: Rendered) -> Iterator[Part]:
    """The pool, the job, its schedule, and the stages of an expanded spec; none that is missing."""
    pool, job, tasks = (complete.root.get(key) for key in ("pool", "job", "tasks"))
    if pool is not None and pool.members and pool.get("existing") is None:
        yield _pool(pool, windows=complete.windows)
    if job is not None and job.members:
        scheduled = job.get("schedule")
        model = "BatchJobCreateOptions" if scheduled is None else "BatchJobSpecification"
        yield Part(("job",), model, job)
        if scheduled is not None and scheduled.members:
            path = ("job", "schedule")
            yield Part(path, "BatchJobScheduleConfiguration", scheduled)
            yield Part(path, "BatchJobScheduleCreateOptions", scheduled)
    for name, stage in (tasks.members if tasks is not None else {}).items():
        yield Part(("tasks", name), "BatchTaskCreateOptions", stage)


def _pool(pool: Node, *, windows: bool) -> Part:
    image = pool.get("image")
    agent = pool.get("virtual_machine_configuration", "node_agent_sku_id")
    known = image is not None and not image.wrong and agent is None
    return Part(
        ("pool",),
        "BatchPoolCreateOptions" if pool.get("lifetime") is None else "BatchPoolSpecification",
        pool,
        ("batch.node.windows" if windows else "batch.node.linux") if known else None,
    )
