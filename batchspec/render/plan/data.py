"""The plan as one JSON object; its keys are published (docs: exit codes and formats)."""

from __future__ import annotations

from batchspec.plan.plan import Plan, Step
from batchspec.render.problems import problem_json
from batchspec.render.sink import json_text
from batchspec.render.words import action_name


def plan_json(plan: Plan) -> str:
    """The plan as indented JSON, without a secret.

    ``steps`` are in their order, those that are only kept (``verb`` ``keep``, ``action`` null) at
    the end; ``counts`` counts them by verb. ``empty`` says that there is nothing to do.
    """
    account = plan.account
    return json_text(
        {
            "version": 1,
            "target": account.target,
            "account": {"batch": account.batch, "storage": account.storage},
            "spec": {"name": plan.name, "digest": plan.digest},
            "fingerprint": plan.fingerprint,
            "empty": plan.empty,
            "steps": [_step(step) for step in (*plan.steps, *plan.kept)],
            "counts": dict(plan.counts),
            "findings": [problem_json(problem) for problem in plan.findings],
        },
        indent=2,
    )


def _step(step: Step) -> dict[str, object]:
    return {
        "id": step.id,
        "action": None if step.action is None else action_name(step.action),
        "verb": step.verb.value,
        "subject": step.subject,
        "reason": step.reason,
        "after": list(step.after),
        "items": step.items,
        "gate": step.gate.value,
    }
