"""Rules of names: ids of the service, containers in the account, and nothing secret in the file."""

from __future__ import annotations

import re
from collections.abc import Iterator

from batchspec.problems import Place, Problem, redact
from batchspec.spec.node import Node

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_CONTAINER = re.compile(r"(?=.{3,63}$)[a-z0-9]+(?:-[a-z0-9]+)*")
_SPECIAL = frozenset({"$root", "$web", "$logs"})
"""Containers that the storage service itself names so; they are used as they are."""

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


def name_rules(root: Node) -> Iterator[Problem]:
    """Ids of the service and names of containers are such as they take."""
    for path in _IDS + _MORE_IDS:
        node = root.get(*path)
        if node is not None and node.text is not None and node.template is None:
            yield from _id(node, path[-1])
    yield from _containers(root)
    yield from _stages(root)


def _id(node: Node, key: str) -> Iterator[Problem]:
    given = node.text or ""
    if _ID.fullmatch(given):
        return
    if len(given) > 64:
        yield Problem(
            "long-id", f"`{key}` has {len(given)} characters, and may have 64", where=node.where
        )
        return
    bad = "".join(dict.fromkeys(re.sub(r"[A-Za-z0-9_-]", "", given)))
    yield Problem(
        "bad-id",
        f"`{key}` cannot have {' '.join(f'`{c}`' for c in bad)}" if bad else f"`{key}` is empty",
        where=node.where,
        hint="Ids have letters, digits, `-` and `_`.",
    )


def _containers(root: Node) -> Iterator[Problem]:
    containers = root.get("containers")
    seen: dict[str, str] = {}
    for key, node in (containers.members if containers else {}).items():
        yield from _metadata(node.get("metadata"))
        id_ = node.get("id")
        if id_ is not None and (id_.text is None or id_.template is not None):
            continue
        given = id_.text or "" if id_ is not None else key
        where = id_.where if id_ is not None else node.name
        if given in seen:
            yield Problem(
                "same-container",
                f"`{key}` is the container `{given}`, and so is `{seen[given]}`",
                where=where,
                hint="Use one of them for both.",
            )
        seen[given] = key
        if not _CONTAINER.fullmatch(given) and given not in _SPECIAL:
            yield _bad_container(given, where, has_id=id_ is not None)


def _metadata(node: Node | None) -> Iterator[Problem]:
    """Storage takes metadata as headers: "names must adhere to the naming rules for C#
    identifiers", and of other values than ASCII it says that the signature is wrong."""
    for name, value in (node.members if node is not None else {}).items():
        if not _METADATA.fullmatch(name):
            yield Problem(
                "bad-container-metadata",
                f"no metadata of a container can be called `{name}`",
                where=value.name,
                hint="Such names have letters, digits and `_`, and begin with no digit.",
            )
        if value.template is None and not _HEADER.fullmatch((value.text or "").strip()):
            yield Problem(
                "bad-container-metadata",
                f"the metadata `{name}` of a container is not one line of ASCII",
                where=value.where,
                hint="Storage takes it as a header: English letters, digits and signs.",
            )


def _bad_container(given: str, where: Place, *, has_id: bool) -> Problem:
    better = re.sub(r"[^a-z0-9]+", "-", given.lower()).strip("-")[:63].strip("-")
    if len(given) < 3:
        said = f"the container name `{given}` has fewer than 3 characters"
    elif len(given) > 63:
        said = f"the container name has {len(given)} characters, and may have 63"
    else:
        said = f"`{given}` cannot be the name of a container"
    write = f"`{better}`" if has_id else f"`id: {better}` below it"
    return Problem(
        "bad-container-name",
        said,
        where=where,
        hint=f"Names have 3-63 lower-case letters, digits and single hyphens. Try {write}."
        if len(better) >= 3
        else "Names have 3-63 lower-case letters, digits and single hyphens.",
    )


def _stages(root: Node) -> Iterator[Problem]:
    tasks = root.get("tasks")
    seen: dict[str, str] = {}
    for name, node in (tasks.members if tasks else {}).items():
        if (first := seen.get(name.lower())) is not None:
            yield Problem(
                "same-id",
                f"the stages `{first}` and `{name}` differ only in case",
                where=node.name,
                hint="To the service, ids that differ only in case are the same.",
            )
        seen[name.lower()] = name


def secret_rules(root: Node) -> Iterator[Problem]:
    """No signature and no key is in the file. The message does not repeat it."""
    for node in root.walk():
        if isinstance(node.value, str) and redact(node.value) != node.value:
            place = node.where
            shown = redact(place.text)
            yield Problem(
                "secret-in-clear",
                "a signature or a key is written here",
                detail="A spec is made to be committed; what it holds is no secret any more.",
                where=Place(place.file, place.line, place.column, shown),
                hint="Name a container of the spec, as in `{{ containers.NAME.read_url }}`, or "
                "declare a parameter with `secret: true`.",
            )
