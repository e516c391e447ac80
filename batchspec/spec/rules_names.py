"""Rules of names: ids, containers, packages, references between parts of a spec, and no secrets."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from batchspec.diagnostics import Diagnostic, Place, contains_key, redact
from batchspec.spec.validator_messages import listed, nearest_or_all
from batchspec.spec.values import Text
from batchspec.spec.yaml_tree import Node

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_CONTAINER = re.compile(r"(?=.{3,63}$)[a-z0-9]+(?:-[a-z0-9]+)*")
_SPECIAL = frozenset({"$root", "$web", "$logs"})
"""Container names that the storage service reserves."""

_METADATA = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_HEADER = re.compile(r"[ -~]*")

_IDS = (("name",), ("pool", "id"), ("pool", "existing"), ("job", "id"))
_MORE_IDS = (
    ("job", "prepare", "id"),
    ("job", "release", "id"),
    ("job", "job_preparation_task", "id"),
    ("job", "job_release_task", "id"),
    ("job", "job_manager_task", "id"),
)
_TASKS = (
    ("pool", "start_task"),
    ("job", "prepare"),
    ("job", "release"),
    ("job", "job_preparation_task"),
    ("job", "job_release_task"),
)


def name_rules(root: Node) -> Iterator[Diagnostic]:
    """Names that the services refuse, unknown references, and secrets in plain text."""
    for path in _IDS + _MORE_IDS:
        node = root.get(*path)
        if node is not None and node.literal is not None:
            yield from _id(node, path[-1])
    yield from _containers(root)
    yield from _stage_names(root)
    yield from _secrets(root)
    yield from _references(root)
    yield from _packages(root)


def _id(node: Node, key: str) -> Iterator[Diagnostic]:
    given = node.text or ""
    if _ID.fullmatch(given):
        return
    if len(given) > 64:
        yield Diagnostic(
            "long-id", f"`{key}` has {len(given)} characters; the maximum is 64", where=node.where
        )
        return
    bad = "".join(dict.fromkeys(re.sub(r"[A-Za-z0-9_-]", "", given)))
    yield Diagnostic(
        "bad-id",
        f"`{key}` cannot contain {listed(bad)}" if bad else f"`{key}` is empty",
        where=node.where,
        fix="Use letters, digits, `-` and `_`.",
    )


def _containers(root: Node) -> Iterator[Diagnostic]:
    seen: dict[str, str] = {}
    for key, node in root.mapping("containers").items():
        yield from _metadata(node)
        id_ = node.get("id")
        if id_ is not None and id_.literal is None:
            continue
        given = id_.text or "" if id_ is not None else key
        where = id_.where if id_ is not None else node.name
        if given in seen:
            yield Diagnostic(
                "same-container",
                f"`{key}` and `{seen[given]}` both have the container name `{given}`",
                where=where,
                fix="Use one of them for both, or set another `id` for one.",
            )
        seen[given] = key
        if not _CONTAINER.fullmatch(given) and given not in _SPECIAL:
            yield _bad_container(given, where, has_id=id_ is not None)


def _metadata(container: Node) -> Iterator[Diagnostic]:
    """Storage transfers metadata as HTTP headers. "Names must adhere to the naming rules for C#
    identifiers"; for values that are not ASCII it reports a wrong signature."""
    for name, value in container.mapping("metadata").items():
        if not _METADATA.fullmatch(name):
            yield Diagnostic(
                "bad-container-metadata",
                f"`{name}` is not a valid name for metadata of a container",
                where=value.name,
                fix="Use letters, digits and `_`; do not start with a digit.",
            )
        if value.template is None and not _HEADER.fullmatch((value.text or "").strip()):
            yield Diagnostic(
                "bad-container-metadata",
                f"the metadata `{name}` of a container must be a single line of ASCII",
                where=value.where,
                fix="Storage sends it as an HTTP header: use English letters, digits and signs.",
            )


def _bad_container(given: str, where: Place, *, has_id: bool) -> Diagnostic:
    better = re.sub(r"[^a-z0-9]+", "-", given.lower()).strip("-")[:63].strip("-")
    if len(given) < 3:
        problem = f"the container name `{given}` has fewer than 3 characters"
    elif len(given) > 63:
        problem = f"the container name has {len(given)} characters; the maximum is 63"
    else:
        problem = f"`{given}` is not a valid container name"
    write = f"`{better}`" if has_id else f"`id: {better}` below the key"
    return Diagnostic(
        "bad-container-name",
        problem,
        where=where,
        fix=f"Use 3-63 lowercase letters, digits and single hyphens. Write {write}."
        if len(better) >= 3
        else "Use 3-63 lowercase letters, digits and single hyphens.",
    )


def _stage_names(root: Node) -> Iterator[Diagnostic]:
    seen: dict[str, str] = {}
    for name, node in root.mapping("tasks").items():
        if (first := seen.get(name.lower())) is not None:
            yield Diagnostic(
                "same-id",
                f"the names of the stages `{first}` and `{name}` differ only in case",
                where=node.name,
                fix="Rename one of them: ids in Batch are not case-sensitive.",
            )
        seen[name.lower()] = name


def _secrets(root: Node) -> Iterator[Diagnostic]:
    """Signatures and keys in the file. The message does not contain them."""
    for node in root.walk():
        if isinstance(node.value, str) and contains_key(node.value):
            place = node.where
            shown = redact(place.text)
            yield Diagnostic(
                "secret-in-clear",
                "a signature or a key is written in plain text",
                detail="Specs are committed to repositories, where others can read the secret.",
                where=Place(place.file, place.line, place.column, shown),
                fix="Use a container of the spec, as in `{{ containers.NAME.read_url }}`, or "
                "declare a parameter with `secret: true`.",
            )


_OF_PATHS = "*?[/\\"
"""Characters of paths and patterns."""


def _references(root: Node) -> Iterator[Diagnostic]:
    """References to containers and stages that are not in the spec."""
    containers = root.mapping("containers")
    for node in _named_containers(root):
        if isinstance(node.value, Text):
            yield Diagnostic(
                "unknown-container",
                "a container is named by its key in `containers`, not by a URL",
                where=node.where,
                fix=f"Write {listed(tuple(containers))}."
                if containers
                else "Declare it in `containers`.",
            )
        elif node.literal is None or node.literal in containers:
            continue
        elif any(character in _OF_PATHS for character in node.literal):
            yield Diagnostic(
                "unknown-container",
                f"`{node.text}` is not a container: a container is named by its key in "
                "`containers`",
                where=node.where,
                fix="Declare a container whose `upload` lists the files, and write its key: "
                f"`containers: {{input: {{upload: ['{node.text}']}}}}`.",
            )
        else:
            yield Diagnostic(
                "unknown-container",
                f"the container `{node.text}` is not in the spec",
                where=node.where,
                fix=nearest_or_all(node.literal, containers)
                or f"Declare it in `containers`: `{node.text}: {{}}`.",
            )
    yield from _uploads(root, containers)
    yield from _needs(root)


def _named_containers(root: Node) -> Iterator[Node]:
    """Every reference to a container of the spec."""
    for path in _TASKS:
        yield from _resources(root, *path)
    for stage in root.mapping("tasks").values():
        yield from _resources(stage)
        for output in stage.sequence("outputs"):
            yield from _present(output.get("container"))
        yield from _present(stage.get("logs", "container"))
        yield from _present(stage.get("for_each", "files"))
        yield from _present(stage.get("for_each", "blobs"))
    for result in root.sequence("results"):
        yield from _present(result.get("container"))


def _resources(node: Node, *path: str) -> Iterator[Node]:
    """The containers among the ``resources`` of the task at a path of keys."""
    return (item for item in node.sequence(*path, "resources") if not item.is_collection)


def _present(node: Node | None) -> Iterator[Node]:
    if node is not None:
        yield node


def _uploads(root: Node, containers: Mapping[str, Node]) -> Iterator[Diagnostic]:
    """``for_each: {files: X}`` requires ``upload`` in X."""
    for stage in root.mapping("tasks").values():
        files = stage.get("for_each", "files")
        container = containers.get(files.text or "") if files is not None else None
        if files is None or container is None:
            continue
        if not container.sequence("upload"):
            yield Diagnostic(
                "no-upload",
                f"`for_each.files` needs uploads, and the spec uploads nothing to `{files.text}`",
                where=files.where,
                fix="Add `upload` to the container, or write `blobs` instead of `files` for its "
                "existing blobs.",
            )


def _needs(root: Node) -> Iterator[Diagnostic]:
    stages = root.mapping("tasks")
    waits: dict[str, list[tuple[str, Node]]] = {}
    for name, stage in stages.items():
        waits[name] = []
        for item in stage.sequence("needs"):
            if item.text in stages:
                waits[name].append((item.text or "", item))
            elif item.literal is not None:
                yield Diagnostic(
                    "unknown-stage",
                    f"the stage `{item.text}` is not in the spec",
                    where=item.where,
                    fix=nearest_or_all(item.literal, stages),
                )
    yield from _cycles(waits)


def _cycles(waits: Mapping[str, list[tuple[str, Node]]]) -> Iterator[Diagnostic]:
    """Each cycle of stages, reported once."""
    done: set[str] = set()
    for first in waits:
        path: list[str] = []
        ahead: list[tuple[str, Node | None, int]] = [(first, None, 0)]
        while ahead:
            name, node, depth = ahead.pop()
            del path[depth:]
            if name in path:
                cycle = [*path[path.index(name) :], name]
                assert node is not None
                yield Diagnostic(
                    "circular",
                    f"`{name}` depends on itself: {' needs '.join(f'`{n}`' for n in cycle)}",
                    where=node.where,
                    fix="Remove one of these `needs`.",
                )
                continue
            if name in done:
                continue
            path.append(name)
            done.add(name)
            ahead += [(other, item, depth + 1) for other, item in reversed(waits[name])]


_VERSION = re.compile(r"[A-Za-z0-9_.-]{1,64}")
"""A version of an application package."""


def _packages(root: Node) -> Iterator[Diagnostic]:
    """Packages without files, unknown packages, and names and versions that the service refuses."""
    known = root.mapping("packages")
    ids: dict[str, str] = {}
    for name, package in known.items():
        other = ids.setdefault(name.lower(), name)
        if other != name:
            yield Diagnostic(
                "bad-package",
                f"the packages `{other}` and `{name}` are the same application",
                "The service does not distinguish upper and lower case in the ids of applications.",
                where=package.name,
                fix="Rename one of them.",
            )
        if not package.wrong:
            yield from _package(name, package)
    for part in (root.mapping("pool"), *(node.members for node in root.mapping("tasks").values())):
        for item in part["packages"].items if "packages" in part else ():
            if item.literal is None or item.literal in known:
                continue
            yield Diagnostic(
                "unknown-package",
                f"`packages` of this spec has no `{item.text}`",
                where=item.where,
                fix=nearest_or_all(item.literal, known)
                or "Declare it in `packages`; a package that is in the account already is an entry"
                " of `application_package_references`.",
            )


def _package(name: str, package: Node) -> Iterator[Diagnostic]:
    files, archive, version = (package.get(key) for key in ("files", "zip", "version"))
    if (files is None) == (archive is None):
        yield Diagnostic(
            "bad-package",
            f"the package `{name}` needs `files` or `zip`"
            + ("" if files is None else ", not both"),
            where=package.name,
            fix="Use `files: [PATTERN]` to build the archive, or `zip: FILE` for one that exists.",
        )
    if version is None or version.literal is None:
        return
    if not _VERSION.fullmatch(version.literal):
        yield Diagnostic(
            "bad-package",
            f"`{version.text}` is not a valid version of an application package",
            where=version.where,
            fix="Use 1-64 letters, digits, `.`, `-` and `_`.",
        )
