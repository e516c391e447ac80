"""The parts of a spec that become requests, expanded even where other parts have errors.

Rules look at the result, so that a mistake is found however it is written.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from batchspec.spec.short_forms import ends_job, expanded_job, expanded_pool, expanded_stage
from batchspec.spec.substitute import Rendered
from batchspec.spec.yaml_tree import Node


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


def expanded_parts(found: Rendered) -> Iterator[Part]:
    """The pool, the job, its schedule, and the stages; none that is missing or invalid."""
    root = found.root
    pool, job, tasks = root.get("pool"), root.get("job"), root.get("tasks")
    if pool is not None and pool.members and pool.get("existing") is None:
        yield _pool(pool, windows=found.windows)
    if job is not None and job.members:
        node = expanded_job(_complete(job), depends=False)
        scheduled = node.get("schedule")
        model = "BatchJobCreateOptions" if scheduled is None else "BatchJobSpecification"
        yield Part(("job",), model, node)
        if scheduled is not None and scheduled.members:
            path = ("job", "schedule")
            yield Part(path, "BatchJobScheduleConfiguration", scheduled)
            yield Part(path, "BatchJobScheduleCreateOptions", scheduled)
    ends = job is not None and ends_job(job)
    ids = _container_names(root)
    for name, stage in (tasks.members if tasks is not None else {}).items():
        node = expanded_stage(_complete(stage, ids), ids, windows=found.windows, ends_job=ends)
        yield Part(("tasks", name), "BatchTaskCreateOptions", node)


def _pool(pool: Node, *, windows: bool) -> Part:
    lifetime, machine = pool.get("lifetime"), pool.get("virtual_machine_configuration")
    agent = machine.get("node_agent_sku_id") if machine is not None else None
    image = pool.get("image")
    known = image is not None and not image.wrong and agent is None
    return Part(
        ("pool",),
        "BatchPoolCreateOptions" if lifetime is None else "BatchPoolSpecification",
        expanded_pool(pool),
        ("batch.node.windows" if windows else "batch.node.linux") if known else None,
    )


def _container_names(root: Node) -> dict[str, str]:
    """The name in the account of each container, as far as it is known."""
    containers = root.get("containers")
    return {
        key: (id_.text or key) if (id_ := node.get("id")) is not None else key
        for key, node in (containers.members if containers is not None else {}).items()
    }


def _complete(node: Node, containers: dict[str, str] | None = None) -> Node:
    """A job or stage without the short forms that cannot be expanded because of an error in them.

    The error is reported elsewhere.
    """
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
    return node.with_(**removed)


def _is_complete(output: Node, containers: dict[str, str]) -> bool:
    container, when = output.get("container"), output.get("when")
    valid = not (output.wrong or output.get("files") is None or (when is not None and when.wrong))
    return valid and container is not None and container.text in containers
