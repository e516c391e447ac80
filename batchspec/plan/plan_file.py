"""A saved plan: ``plan --out FILE`` writes it, and ``apply FILE`` runs it as shown or not at all.

The file contains the inputs of the plan (spec, variables, options, account), the snapshot that it
is based on, and its steps with their reasons. It contains no request bodies and no secrets:
``apply`` makes the plan again and runs it only if the snapshot is the same.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from batchspec.diagnostics import Diagnostic, Secret, SpecError, StalePlanError, redact
from batchspec.frozen import frozen
from batchspec.plan.assemble import ABSENT
from batchspec.plan.options import Part, PlanOptions
from batchspec.plan.plan import Fact, Plan
from batchspec.spec import Spec

_FORM = "batchspec-plan"
_VERSION = 3


@frozen
class SavedPlan:
    """A plan file: ``spec`` is the path of the spec, ``variables`` are the variables that are not
    secret.

    ``secrets`` are the names of parameters whose values must be given again. ``snapshot`` are the
    facts that the plan is based on; ``steps`` are its steps as text, for readers and to report
    changes. ``max_cost`` is the cost limit that replaces that of the spec.
    """

    spec: Path
    variables: Mapping[str, str]
    variable_files: tuple[Path, ...]
    secrets: tuple[str, ...]
    options: PlanOptions
    target: str
    fingerprint: str
    snapshot: Mapping[str, Fact]
    steps: Mapping[str, str]
    max_cost: str = ""


def saved_plan(
    plan: Plan,
    spec: Spec,
    variables: Mapping[str, str],
    variable_files: tuple[Path, ...],
    options: PlanOptions,
    *,
    max_cost: str = "",
) -> SavedPlan:
    """The contents of the file of a plan."""
    secret = tuple(name for name, value in spec.parameters.items() if isinstance(value, Secret))
    return SavedPlan(
        spec.path.absolute(),
        {name: value for name, value in variables.items() if name not in secret},
        tuple(path.absolute() for path in variable_files),
        secret,
        options,
        plan.account.target,
        plan.fingerprint,
        plan.snapshot,
        _step_texts(plan),
        max_cost,
    )


def plan_file_text(plan: SavedPlan) -> str:
    """The text of a plan file."""
    document = {
        "form": _FORM,
        "version": _VERSION,
        "spec": str(plan.spec),
        "variables": dict(plan.variables),
        "variable_files": [str(path) for path in plan.variable_files],
        "secrets": list(plan.secrets),
        "options": {
            "rerun": plan.options.rerun,
            "replace": sorted(plan.options.replace),
            "step": plan.options.step,
        },
        **({"max_cost": plan.max_cost} if plan.max_cost else {}),
        "target": plan.target,
        "fingerprint": plan.fingerprint,
        "snapshot": {
            name: {"is": fact.value, "parts": dict(fact.parts)}
            for name, fact in plan.snapshot.items()
        },
        "steps": dict(plan.steps),
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def read_plan_file(path: Path) -> SavedPlan | None:
    """The plan of a file; ``None`` if the file is not a plan file.

    Raises:
        SpecError: the file is a plan file of an unknown version or form.
    """
    try:
        if not path.is_file():
            return None
        with path.open(encoding="utf-8") as file:
            if not file.read(1).startswith("{"):
                return None
            file.seek(0)
            document = json.load(file)
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(document, dict) or document.get("form") != _FORM:
        return None
    if document.get("version") != _VERSION:
        raise SpecError(_not_understood(path, f"its version is {document.get('version')!r}"))
    try:
        return SavedPlan(
            Path(document["spec"]),
            _texts(document["variables"]),
            tuple(Path(name) for name in document["variable_files"]),
            tuple(str(name) for name in document["secrets"]),
            _options(document["options"]),
            str(document["target"]),
            str(document["fingerprint"]),
            {str(name): _fact(item) for name, item in document["snapshot"].items()},
            _texts(document["steps"]),
            str(document.get("max_cost", "")),
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise SpecError(_not_understood(path, f"a member is missing or invalid: {error}")) from None


def _options(item: Mapping[str, Any]) -> PlanOptions:
    return PlanOptions(
        rerun=bool(item["rerun"]),
        replace=frozenset(Part(part) for part in item["replace"]),
        step=str(item["step"]),
    )


def _fact(item: Mapping[str, Any]) -> Fact:
    return Fact(str(item["is"]), tuple(_texts(item["parts"]).items()))


def _texts(item: Mapping[str, Any]) -> Mapping[str, str]:
    return {str(name): str(value) for name, value in item.items()}


def check_fresh(saved_plan: SavedPlan, plan: Plan, saved_file: Path = Path("FILE")) -> None:
    """Check that a new plan equals the saved one, which was read from ``saved_file``.

    Raises:
        StalePlanError: the plans differ; with a diagnostic for each changed fact, and one for the
            steps.
    """
    if saved_plan.fingerprint != plan.fingerprint:
        steps = changed_steps(saved_plan.steps, _step_texts(plan), saved_file)
        raise StalePlanError(*changed_facts(saved_plan.snapshot, plan.snapshot), steps)


def _step_texts(plan: Plan) -> Mapping[str, str]:
    return {step.id: redact(f"{step.verb} {step.subject}: {step.reason}") for step in plan.steps}


def _not_understood(path: Path, why: str) -> Diagnostic:
    return Diagnostic(
        "bad-plan-file",
        f"{path} is a plan file that this version of batchspec cannot read: {why}",
        fix="Save the plan again: `batchspec plan SPEC --out FILE`.",
    )


_STEPS = "the steps"
_MOST = 10
"""The number of parts of one fact, and of steps, that are reported."""
_ALL_DONE = "Everything is up to date: no steps are left."


def changed_facts(saved: Mapping[str, Fact], now: Mapping[str, Fact]) -> Iterator[Diagnostic]:
    """A diagnostic for each changed fact; :func:`changed_steps` reports the steps."""
    for name in dict.fromkeys((*saved, *now)):
        before, after = saved.get(name, _ABSENT), now.get(name, _ABSENT)
        if before != after and name != _STEPS:
            yield _stale(f"{name} changed since the plan was saved", _differences(before, after))


def changed_steps(saved: Mapping[str, str], now: Mapping[str, str], saved_file: Path) -> Diagnostic:
    """A diagnostic for the changed steps; both arguments are texts of steps by id."""
    if not now:
        return _stale("its steps are no longer needed", (), _ALL_DONE)
    names = dict.fromkeys((*saved, *now))
    others = [name for name in names if saved.get(name) != now.get(name)]
    lines = (
        f"{name}\n  saved: {saved.get(name, 'not in the plan')}\n"
        f"  now:   {now.get(name, 'not needed')}"
        for name in others
    )
    what = "its steps have changed" if others else "its steps would have different effects"
    again = f"batchspec plan --out {shlex.quote(str(saved_file))}"
    return _stale(what, lines, f"Save the plan again: `{again}`")


_ABSENT = Fact(ABSENT)


def _stale(what: str, details: Iterable[str], fix: str = "") -> Diagnostic:
    lines = list(details)
    if len(lines) > _MOST:
        lines[_MOST:] = [f"... and {len(lines) - _MOST} more"]
    return Diagnostic("plan-stale", f"the plan is stale: {what}", detail="\n".join(lines), fix=fix)


def _differences(saved: Fact, now: Fact) -> Iterator[str]:
    """The changes of the value and of each part."""
    if _without_digest(saved.value) != _without_digest(now.value):
        yield f"{_without_digest(saved.value)} -> {_without_digest(now.value)}"
    if not saved.parts or not now.parts:
        # New, deleted, or too large for a list of members.
        return
    before, after = dict(saved.parts), dict(now.parts)
    for name in dict.fromkeys((*before, *after)):
        was, is_ = before.get(name, ABSENT), after.get(name, ABSENT)
        if was == is_:
            continue
        same = _without_digest(was) == _without_digest(is_)
        yield (
            f"{name}: changed"
            if same
            else f"{name}: {_without_digest(was)} -> {_without_digest(is_)}"
        )


def _without_digest(text: str) -> str:
    """A text without its digest."""
    return text.partition("#")[0].strip() or "set"
