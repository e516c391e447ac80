"""Rules of references: what is named is there, and no stage waits for itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from batchspec.problems import Problem
from batchspec.spec.node import Node
from batchspec.spec.shape_words import did_you_mean

_TASKS = (
    ("pool", "start_task"),
    ("job", "prepare"),
    ("job", "release"),
    ("job", "job_preparation_task"),
    ("job", "job_release_task"),
)


def reference_rules(root: Node) -> Iterator[Problem]:
    """Every container and every stage that is named is in the spec."""
    containers = _members(root, "containers")
    for node in _named_containers(root):
        if node.text is not None and node.template is None and node.text not in containers:
            yield Problem(
                "unknown-container",
                f"the spec has no container `{node.text}`",
                where=node.where,
                hint=did_you_mean(node.text, containers)
                or "Declare it below `containers`: `NAME: {}`.",
            )
    yield from _uploads(root, containers)
    yield from _needs(root)


def _members(root: Node, key: str) -> Mapping[str, Node]:
    node = root.get(key)
    return node.members if node is not None else {}


def _named_containers(root: Node) -> Iterator[Node]:
    """Every text that stands for a container of the spec."""
    for path in _TASKS:
        yield from _resources(root.get(*path))
    for stage in _members(root, "tasks").values():
        yield from _resources(stage)
        outputs = stage.get("outputs")
        for output in outputs.items if outputs else ():
            yield from _present(output.get("container"))
        yield from _present(stage.get("logs", "container"))
        yield from _present(stage.get("for_each", "files"))
        yield from _present(stage.get("for_each", "blobs"))
    results = root.get("results")
    for result in results.items if results else ():
        yield from _present(result.get("container"))


def _resources(task: Node | None) -> Iterator[Node]:
    resources = task.get("resources") if task else None
    for item in resources.items if resources else ():
        if not item.is_collection:
            yield item


def _present(node: Node | None) -> Iterator[Node]:
    if node is not None:
        yield node


def _uploads(root: Node, containers: Mapping[str, Node]) -> Iterator[Problem]:
    """``for_each: {files: X}`` needs files that X uploads."""
    for stage in _members(root, "tasks").values():
        files = stage.get("for_each", "files")
        container = containers.get(files.text or "") if files is not None else None
        if files is None or container is None:
            continue
        upload = container.get("upload")
        if upload is None or not upload.items:
            yield Problem(
                "no-upload",
                f"this spec uploads nothing to `{files.text}`",
                where=files.where,
                hint="For what is there already, write `blobs` instead of `files`.",
            )


def _needs(root: Node) -> Iterator[Problem]:
    stages = _members(root, "tasks")
    waits: dict[str, list[tuple[str, Node]]] = {}
    for name, stage in stages.items():
        needs = stage.get("needs")
        waits[name] = []
        for item in needs.items if needs else ():
            if item.text in stages:
                waits[name].append((item.text or "", item))
            elif item.text is not None and item.template is None:
                yield Problem(
                    "unknown-stage",
                    f"the spec has no stage `{item.text}`",
                    where=item.where,
                    hint=did_you_mean(item.text, stages),
                )
    yield from _cycles(waits)


def _cycles(waits: Mapping[str, list[tuple[str, Node]]]) -> Iterator[Problem]:
    """Each circle of stages that wait for each other, once."""
    done: set[str] = set()
    for first in waits:
        path: list[str] = []
        ahead: list[tuple[str, Node | None, int]] = [(first, None, 0)]
        while ahead:
            name, node, depth = ahead.pop()
            del path[depth:]
            if name in path:
                circle = [*path[path.index(name) :], name]
                assert node is not None
                yield Problem(
                    "circular",
                    f"`{name}` would wait for itself: {' needs '.join(f'`{n}`' for n in circle)}",
                    where=node.where,
                )
                continue
            if name in done:
                continue
            path.append(name)
            done.add(name)
            ahead += [(other, item, depth + 1) for other, item in reversed(waits[name])]
