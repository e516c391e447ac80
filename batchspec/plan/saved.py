"""A plan written to a file, to be carried out later as it was shown, or not at all.

The file says how the plan was made (spec, variables, account), what it rests on, and its steps with
their reasons. It holds no body, no address and no secret: to apply it, the plan is made anew, and
is carried out only if it rests on the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from batchspec.plan.plan import Plan
from batchspec.problems import Problem, Secret, SpecError, StalePlanError
from batchspec.spec.model import Spec

_FORM = "batchspec-plan"
_VERSION = 1


@dataclass(frozen=True, slots=True)
class SavedPlan:
    """A plan file: ``spec`` is the path of the spec, ``variables`` those that are no secret.

    ``secrets`` are the names of parameters whose values have to be given again. ``grounds`` are
    what the plan rests on; ``steps`` are for reading, and to tell what moved.
    """

    spec: Path
    variables: Mapping[str, str]
    variable_files: tuple[Path, ...]
    secrets: tuple[str, ...]
    target: str
    fingerprint: str
    grounds: Mapping[str, str]
    steps: Mapping[str, str]


def saved(
    plan: Plan, spec: Spec, variables: Mapping[str, str], variable_files: tuple[Path, ...]
) -> SavedPlan:
    """What of a plan goes to a file."""
    secret = tuple(name for name, value in spec.parameters.items() if isinstance(value, Secret))
    return SavedPlan(
        spec.path.absolute(),
        {name: value for name, value in variables.items() if name not in secret},
        tuple(path.absolute() for path in variable_files),
        secret,
        plan.account.target,
        plan.fingerprint,
        plan.grounds,
        {step.id: f"{step.verb} {step.subject}: {step.reason}" for step in plan.steps},
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
        "target": plan.target,
        "fingerprint": plan.fingerprint,
        "grounds": dict(plan.grounds),
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
            {str(name): str(value) for name, value in document["variables"].items()},
            tuple(Path(name) for name in document["variable_files"]),
            tuple(str(name) for name in document["secrets"]),
            str(document["target"]),
            str(document["fingerprint"]),
            {str(name): str(value) for name, value in document["grounds"].items()},
            {str(name): str(value) for name, value in document["steps"].items()},
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise SpecError(_not_understood(path, f"something is missing: {error}")) from None


def check_fresh(saved: SavedPlan, plan: Plan) -> None:
    """Make sure that a plan made anew is the saved one.

    Raises:
        StalePlanError: it is not; what moved is told, a problem each.
    """
    if saved.fingerprint != plan.fingerprint:
        raise StalePlanError(*_moved(saved, plan))


def _moved(saved: SavedPlan, plan: Plan) -> Iterator[Problem]:
    names = dict.fromkeys((*saved.grounds, *plan.grounds))
    moved = [n for n in names if saved.grounds.get(n) != plan.grounds.get(n)]
    for name in moved:
        if name != "the steps":
            yield Problem("plan-stale", f"the plan is stale: {name} is not what it was", hint=_HINT)
    if moved in ([], ["the steps"]):
        yield Problem("plan-stale", "the plan is stale: other steps are to be done", hint=_HINT)
    now = {step.id: f"{step.verb} {step.subject}: {step.reason}" for step in plan.steps}
    for name in dict.fromkeys((*saved.steps, *now)):
        before, after = saved.steps.get(name), now.get(name)
        if before != after:
            yield Problem(
                "plan-stale",
                f"step {name} is another",
                detail=f"saved: {before or 'not in the plan'}\nnow:   {after or 'not needed'}",
            )


_HINT = "Look at `batchspec plan` again, and save it anew."


def _not_understood(path: Path, why: str) -> Problem:
    return Problem(
        "bad-plan-file",
        f"{path} is a plan that this batchspec does not understand: {why}",
        hint="Save it anew: `batchspec plan SPEC --out FILE`.",
    )
