"""Reads a spec: text → :class:`~batchspec.spec.model.Spec`. All problems are raised together.

The steps: compose a tree from YAML, validate it against the schema, read the parameters, fill in
templates, check the rules, expand short forms, build the dataclasses.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from batchspec.diagnostics import Diagnostic, Diagnostics, Place, Severity, SpecError
from batchspec.spec import build
from batchspec.spec.dump import document
from batchspec.spec.expanded_parts import expanded_parts
from batchspec.spec.model import Container, Spec
from batchspec.spec.parameters import read_parameters
from batchspec.spec.rules_formula import formula_rules
from batchspec.spec.rules_names import name_rules
from batchspec.spec.rules_pool import job_rules, pool_rules
from batchspec.spec.rules_properties import property_rules
from batchspec.spec.rules_stage import stage_rules
from batchspec.spec.rules_tasks import task_rules
from batchspec.spec.short_forms import ends_job, expanded
from batchspec.spec.source import read_source
from batchspec.spec.substitute import Rendered, rendered
from batchspec.spec.validator import validated
from batchspec.spec.yaml_tree import ambiguous_numbers, parse, positions

_RULES = (name_rules, pool_rules, formula_rules, job_rules, stage_rules)
"""Rules between parts of a spec. Each takes the tree, in which invalid parts are marked, and yields
problems; it must accept a tree that lacks any part."""


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
        SpecError: the spec has errors; carries all of them in the order of their positions.
    """
    found, warnings, places = _read(path, variables or {}, variable_files, needs_secrets)
    return _built(path, found, warnings, places)


def read_flawed_spec(
    path: Path,
    *,
    variables: Mapping[str, str] | None = None,
    variable_files: Sequence[Path] = (),
) -> Spec | None:
    """A spec that has errors, if they are only in values of properties; otherwise ``None``.

    It serves to report what else is wrong together with these errors.
    """
    problems = Diagnostics()
    try:
        found = _checked(path, variables or {}, variable_files, problems, needs_secrets=False)
    except SpecError:
        return None
    if problems.stops:
        return None
    complete = expanded(found)
    return _built(path, complete, (), {**positions(found.root), **positions(complete.root)})


def _built(
    path: Path, found: Rendered, warnings: tuple[Diagnostic, ...], places: Mapping[str, Place]
) -> Spec:
    """The spec of an expanded tree."""
    root, folder, name = found.root, path.parent, found.name
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
        places=places,
    )


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


def read_uploads(
    path: Path,
    *,
    variables: Mapping[str, str] | None = None,
    variable_files: Sequence[Path] = (),
) -> tuple[Container, ...]:
    """The containers of a spec that may have errors elsewhere; empty if it cannot be parsed.

    They serve to report missing files together with the errors of the spec.
    """
    try:
        root = _checked(path, variables or {}, variable_files, Diagnostics()).root
    except SpecError:
        return ()
    containers = root.get("containers")
    if containers is None:
        return ()
    found = (build.container(key, node, path.parent) for key, node in containers.members.items())
    # A pattern with a template that has no value yet does not name files.
    return tuple(
        replace(each, upload=tuple(glob for glob in each.upload if "{{" not in glob.pattern))
        for each in found
    )


def _read(
    path: Path, variables: Mapping[str, str], files: Sequence[Path], needs_secrets: bool
) -> tuple[Rendered, tuple[Diagnostic, ...], Mapping[str, Place]]:
    """The expanded spec, its warnings, and the positions of its keys, as written and expanded."""
    problems = Diagnostics()
    found = _checked(path, variables, files, problems, needs_secrets=needs_secrets)
    _check_values(found, problems)
    reported = _unique(problems)
    if any(problem.severity is Severity.ERROR for problem in reported):
        raise SpecError(*reported)
    complete = expanded(found)
    return complete, reported, {**positions(found.root), **positions(complete.root)}


def _checked(
    path: Path,
    variables: Mapping[str, str],
    files: Sequence[Path],
    problems: Diagnostics,
    *,
    needs_secrets: bool = False,
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


def _check_values(found: Rendered, problems: Diagnostics) -> None:
    """Add the errors in values of properties, which do not change the structure of the spec."""
    parts = tuple(expanded_parts(found))
    problems.extend(property_rules(parts))
    problems.extend(task_rules(parts))


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
