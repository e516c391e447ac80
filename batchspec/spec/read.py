"""Text → :class:`Spec`: the one door of this room. All problems of a spec are raised together.

A spec goes through it once: composed from YAML, its shape checked, parameters set and templates
filled in, rules checked, short forms spelled out, nouns built.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from batchspec.problems import Place, Problem, Problems, Severity, SpecError
from batchspec.spec import build
from batchspec.spec.expand_job import ends_job
from batchspec.spec.expanded import Expanded, expanded
from batchspec.spec.model import Container, Spec
from batchspec.spec.node import Node
from batchspec.spec.parameters import read_parameters
from batchspec.spec.places import places
from batchspec.spec.prepared import Prepared, prepared
from batchspec.spec.rules import broken
from batchspec.spec.schema import json_schema, schema_text
from batchspec.spec.shape import shaped
from batchspec.spec.shown import shown, written
from batchspec.spec.source import read_source
from batchspec.spec.tree import parse

__all__ = ["configured", "json_schema", "read_spec", "schema_text", "uploads", "written"]


def read_spec(
    path: Path,
    *,
    variables: Mapping[str, str] | None = None,
    variable_files: Sequence[Path] = (),
) -> Spec:
    """Read a spec, with its parameters set by ``variables`` and files of them.

    A variable wins over a file, a later file over an earlier one, any of them over the default.

    Raises:
        SpecError: with every problem of the file, in the order of their places.
    """
    found, warnings, at = _read(path, variables or {}, variable_files)
    root, folder = found.root, path.parent
    name = found.name
    containers = {
        key: build.container(key, node, folder, implied=key == found.implied)
        for key, node in root.members["containers"].members.items()
    }
    ids = {key: container.id for key, container in containers.items()}
    ends = ends_job(root.members["job"])
    description, results, tasks = (root.get(key) for key in ("description", "results", "tasks"))
    return Spec(
        path=path,
        name=name,
        digest=_digest(found),
        parameters=found.parameters,
        containers=containers,
        pool=build.pool(root.members["pool"], name, windows=found.windows),
        job=build.job(root.members["job"], name),
        stages=tuple(
            build.stage(key, node, folder, ids, ends_job=ends)
            for key, node in (tasks.members if tasks else {}).items()
        ),
        description=str(description.plain()) if description is not None else "",
        results=tuple(build.result(item, folder) for item in results.items) if results else (),
        cleanup=build.cleanup(root.get("cleanup")),
        warnings=warnings,
        places=at,
    )


def configured(
    path: Path,
    *,
    variables: Mapping[str, str] | None = None,
    variable_files: Sequence[Path] = (),
) -> dict[str, object]:
    """The spec as plain data, in order: parameters set, short forms spelled out, secrets ``***``.

    It is a spec itself, and but for the secrets reads as the same run.

    Raises:
        SpecError: as :func:`read_spec`.
    """
    found, _, _ = _read(path, variables or {}, variable_files)
    return shown(found)


def uploads(
    path: Path,
    *,
    variables: Mapping[str, str] | None = None,
    variable_files: Sequence[Path] = (),
) -> tuple[Container, ...]:
    """The containers of a spec as far as they can be read, however wrong the rest of it is.

    So that missing files can be told together with what else is wrong. What is wrong is not told
    here; a file that is no spec at all has no containers.
    """
    problems = Problems()
    try:
        root = _checked(path, variables or {}, variable_files, problems).root
    except SpecError:
        return ()
    containers = root.get("containers")
    if containers is None:
        return ()
    found = (build.container(key, node, path.parent) for key, node in containers.members.items())
    # A pattern whose parameters have no value yet names no file.
    return tuple(
        replace(each, upload=tuple(glob for glob in each.upload if "{{" not in glob.pattern))
        for each in found
    )


def _read(
    path: Path, variables: Mapping[str, str], files: Sequence[Path]
) -> tuple[Expanded, tuple[Problem, ...], Mapping[str, Place]]:
    """The spec spelled out, its warnings, and where its keys stand."""
    problems = Problems()
    ready = _checked(path, variables, files, problems)
    found = _told(problems)
    if any(problem.severity is Severity.ERROR for problem in found):
        raise SpecError(*found)
    return expanded(ready), found, places(ready.root)


def _checked(
    path: Path, variables: Mapping[str, str], files: Sequence[Path], problems: Problems
) -> Prepared:
    """The tree with its parameters set; what is wrong with it goes to ``problems``."""
    source = read_source(path)
    written = parse(source)
    if not isinstance(written.value, Mapping):
        raise SpecError(
            Problem(
                "not-a-mapping",
                "a spec is a mapping",
                where=written.where,
                hint="It starts with `version: 1`.",
            )
        )
    root = shaped(written, problems)
    declared = root.get("parameters")
    wanted = _declared(declared)
    parameters = read_parameters(wanted, variables, files, problems)
    ready = prepared(root, source, parameters, wanted, path.parent, problems=problems)
    root = shaped(ready.root, problems, again=True)
    problems.extend(broken(root))
    return replace(ready, root=root)


def _declared(parameters: Node | None) -> Mapping[str, Node]:
    return parameters.members if parameters is not None else {}


def _told(problems: Problems) -> tuple[Problem, ...]:
    """Each problem once, whatever hints it came with; no line is shown that has a secret in it."""
    found = tuple({(p.code, p.where, p.summary): p for p in reversed(problems.found)}.values())[
        ::-1
    ]
    hidden = {
        (p.where.file, p.where.line)
        for p in found
        if p.where is not None and p.code == "secret-in-clear" and not p.where.text
    }
    return tuple(
        replace(p, where=_without_text(p.where))
        if p.where is not None and (p.where.file, p.where.line) in hidden
        else p
        for p in found
    )


def _without_text(where: Place) -> Place:
    return replace(where, text="")


def _digest(found: Expanded) -> str:
    """A digest of the run as it is spelled out; secrets are no part of it."""
    text = json.dumps(shown(found), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
