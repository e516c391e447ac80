"""A plan written to a file, to be carried out later as it was shown, or not at all.

The file says how the plan was made (spec, variables, wishes, account), what it rests on, and its
steps with their reasons. It holds no body and no secret: to apply it, the plan is made anew, and is
carried out only if it rests on the same.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batchspec.diagnostics import Diagnostic, Secret, SpecError, StalePlanError, redact
from batchspec.plan.plan import Ground, Plan
from batchspec.plan.stale import moved, stepped
from batchspec.plan.wishes import Part, Wishes
from batchspec.spec import Spec

_FORM = "batchspec-plan"
_VERSION = 2


@dataclass(frozen=True, slots=True)
class SavedPlan:
    """A plan file: ``spec`` is the path of the spec, ``variables`` those that are no secret.

    ``secrets`` are the names of parameters whose values have to be given again. ``wishes`` are what
    was asked for beyond the spec. ``grounds`` are what the plan rests on; ``steps`` are for
    reading, and to tell what moved.
    """

    spec: Path
    variables: Mapping[str, str]
    variable_files: tuple[Path, ...]
    secrets: tuple[str, ...]
    wishes: Wishes
    target: str
    fingerprint: str
    grounds: Mapping[str, Ground]
    steps: Mapping[str, str]


def saved(
    plan: Plan,
    spec: Spec,
    variables: Mapping[str, str],
    variable_files: tuple[Path, ...],
    wishes: Wishes,
) -> SavedPlan:
    """What of a plan goes to a file."""
    secret = tuple(name for name, value in spec.parameters.items() if isinstance(value, Secret))
    return SavedPlan(
        spec.path.absolute(),
        {name: value for name, value in variables.items() if name not in secret},
        tuple(path.absolute() for path in variable_files),
        secret,
        wishes,
        plan.account.target,
        plan.fingerprint,
        plan.grounds,
        _steps(plan),
    )


def plan_file(plan: SavedPlan) -> str:
    """The text of a plan file."""
    document = {
        "form": _FORM,
        "version": _VERSION,
        "spec": str(plan.spec),
        "variables": dict(plan.variables),
        "variable_files": [str(path) for path in plan.variable_files],
        "secrets": list(plan.secrets),
        "wishes": {
            "rerun": plan.wishes.rerun,
            "replace": sorted(plan.wishes.replace),
            "step": plan.wishes.step,
        },
        "target": plan.target,
        "fingerprint": plan.fingerprint,
        "grounds": {
            name: {"is": ground.value, "parts": dict(ground.parts)}
            for name, ground in plan.grounds.items()
        },
        "steps": dict(plan.steps),
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def read_plan_file(path: Path) -> SavedPlan | None:
    """The plan of a file; ``None`` if the file is none, but a spec perhaps.

    Raises:
        SpecError: it is a plan file that cannot be understood.
    """
    try:
        with path.open(encoding="utf-8") as file:
            if not file.read(1).startswith("{"):
                return None
            file.seek(0)
            document = json.load(file)
    except (OSError, ValueError):
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
            _wishes(document["wishes"]),
            str(document["target"]),
            str(document["fingerprint"]),
            {str(name): _ground(item) for name, item in document["grounds"].items()},
            _texts(document["steps"]),
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise SpecError(_not_understood(path, f"something is missing: {error}")) from None


def _wishes(item: Mapping[str, Any]) -> Wishes:
    return Wishes(
        rerun=bool(item["rerun"]),
        replace=frozenset(Part(part) for part in item["replace"]),
        step=str(item["step"]),
    )


def _ground(item: Mapping[str, Any]) -> Ground:
    return Ground(str(item["is"]), tuple(_texts(item["parts"]).items()))


def _texts(item: Mapping[str, Any]) -> Mapping[str, str]:
    return {str(name): str(value) for name, value in item.items()}


def check_fresh(saved: SavedPlan, plan: Plan) -> None:
    """Make sure that a plan made anew is the saved one.

    Raises:
        StalePlanError: it is not; a problem tells of each thing that moved, the last of the steps.
    """
    if saved.fingerprint != plan.fingerprint:
        steps = stepped(saved.steps, _steps(plan))
        raise StalePlanError(*moved(saved.grounds, plan.grounds), steps)


def _steps(plan: Plan) -> Mapping[str, str]:
    return {step.id: redact(f"{step.verb} {step.subject}: {step.reason}") for step in plan.steps}


def _not_understood(path: Path, why: str) -> Diagnostic:
    return Diagnostic(
        "bad-plan-file",
        f"{path} is a plan that this batchspec does not understand: {why}",
        fix="Save it anew: `batchspec plan SPEC --out FILE`.",
    )
