"""Reads a spec: text → :class:`~batchspec.spec.model.Spec`. All problems are raised together.

The steps: compose a tree from YAML, validate it against the schema, read the parameters, fill in
templates, expand short forms, check the rules, build the dataclasses.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from batchspec.diagnostics import Diagnostic, Diagnostics, Place, SpecError
from batchspec.spec import build
from batchspec.spec.dump import document
from batchspec.spec.expand import expanded, parts_of
from batchspec.spec.model import Container, Spec
from batchspec.spec.parameters import read_parameters
from batchspec.spec.rules_formula import formula_rules
from batchspec.spec.rules_names import name_rules
from batchspec.spec.rules_pool import job_rules, pool_rules
from batchspec.spec.rules_properties import property_rules
from batchspec.spec.rules_stage import stage_rules
from batchspec.spec.rules_tasks import task_rules
from batchspec.spec.short_forms import ends_job
from batchspec.spec.source import read_source
from batchspec.spec.substitute import Rendered, rendered
from batchspec.spec.validator import validated
from batchspec.spec.yaml_tree import ambiguous_numbers, parse, positions

_RULES = (name_rules, pool_rules, formula_rules, job_rules, stage_rules)
"""Rules between parts of a spec. Each takes the tree, in which invalid parts are marked, and yields
problems; it must accept a tree that lacks any part."""


class FlawedSpecError(SpecError):
    """A spec has errors. What is known of it serves to report other errors together with them.

    ``containers`` are its containers, without the patterns of uploads that depend on a value that
    is missing. ``spec`` is ``None`` unless all errors are in values of properties.
    """

    def __init__(
        self, *problems: Diagnostic, containers: tuple[Container, ...], spec: Spec | None = None
    ) -> None:
        super().__init__(*problems)
        self.containers = containers
        self.spec = spec


def read_spec(
    path: Path,
    *,
    variables: Mapping[str, str] | None = None,
    variable_files: Sequence[Path] = (),
    needs_secrets: bool = True,
) -> Spec:
    """Read a spec with its parameters.

    A value of ``variables`` takes precedence over ``variable_files``, a later file over an earlier
    one, and each of them over the default. Unless ``needs_secrets``, secret parameters do not need
    a value.

    Raises:
        FlawedSpecError: the spec has errors; carries all of them in the order of their positions.
        SpecError: the file cannot be read, or is not YAML.
    """
    complete, warnings, places = _read(path, variables or {}, variable_files, needs_secrets)
    return _built(path, complete, warnings, places)


def _built(
    path: Path, found: Rendered, warnings: tuple[Diagnostic, ...], places: Mapping[str, Place]
) -> Spec:
    """The spec of an expanded tree."""
    root, folder, name = found.root, path.parent, found.name
    containers = _containers(found, folder)
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
        places=places,
    )


def _containers(found: Rendered, folder: Path) -> dict[str, Container]:
    return {
        key: build.container(key, node, folder, implied=key == found.implied)
        for key, node in found.root.members["containers"].members.items()
    }


def _with_values(container: Container) -> Container:
    """A container without the patterns that a template without a value is part of."""
    upload = tuple(glob for glob in container.upload if "{{" not in glob.pattern)
    return replace(container, upload=upload)


def expanded_document(
    path: Path,
    *,
    variables: Mapping[str, str] | None = None,
    variable_files: Sequence[Path] = (),
) -> dict[str, object]:
    """The spec as plain data: parameters set, short forms expanded, secrets as templates.

    The result is a valid spec of the same run. Secret parameters do not need a value.

    Raises:
        SpecError: as :func:`read_spec`.
    """
    found, _, _ = _read(path, variables or {}, variable_files, False)
    return document(found)


def _read(
    path: Path, variables: Mapping[str, str], files: Sequence[Path], needs_secrets: bool
) -> tuple[Rendered, tuple[Diagnostic, ...], Mapping[str, Place]]:
    """The expanded spec, its warnings, and the positions of its keys, as written and expanded."""
    problems = Diagnostics()
    found = _checked(path, variables, files, problems, needs_secrets=needs_secrets)
    has_structure = not problems.stops
    complete = expanded(found)
    places = {**positions(found.root), **positions(complete.root)}
    parts = tuple(parts_of(complete))
    problems.extend(property_rules(parts))
    problems.extend(task_rules(parts))
    reported = _unique(problems)
    if problems.stops:
        raise FlawedSpecError(
            *reported,
            containers=tuple(map(_with_values, _containers(complete, path.parent).values())),
            spec=_built(path, complete, (), places) if has_structure else None,
        )
    return complete, reported, places


def _checked(
    path: Path,
    variables: Mapping[str, str],
    files: Sequence[Path],
    problems: Diagnostics,
    *,
    needs_secrets: bool,
) -> Rendered:
    """The tree with its templates filled in; errors in its structure are added to ``problems``."""
    source = read_source(path)
    written = parse(source)
    if not isinstance(written.value, Mapping):
        raise SpecError(
            Diagnostic(
                "not-a-mapping",
                "the spec is not a mapping",
                where=written.where,
                fix="Start it with `version: 1`.",
            )
        )
    root = validated(written, problems)
    parameters = root.get("parameters")
    declared = parameters.members if parameters is not None else {}
    values = read_parameters(declared, variables, files, problems, needs_secrets=needs_secrets)
    found = rendered(root, source, values, tuple(declared), path.parent, problems=problems)
    for rule in _RULES:
        problems.extend(rule(found.root))
    reported = {problem.where for problem in problems.found}
    problems.extend(p for p in ambiguous_numbers(written) if p.where not in reported)
    return found


def _unique(problems: Diagnostics) -> tuple[Diagnostic, ...]:
    """Each problem once (an alias repeats them), without the lines that contain a secret."""
    found = tuple({(p.code, p.where, p.summary): p for p in reversed(problems.found)}.values())
    secret_lines = {
        (p.where.file, p.where.line)
        for p in found
        if p.where is not None and p.code == "secret-in-clear" and not p.where.text
    }
    return tuple(
        replace(p, where=replace(p.where, text=""))
        if p.where is not None and (p.where.file, p.where.line) in secret_lines
        else p
        for p in reversed(found)
    )


def _digest(found: Rendered) -> str:
    """The SHA-256 of the expanded spec without the values of secrets."""
    text = json.dumps(document(found), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
