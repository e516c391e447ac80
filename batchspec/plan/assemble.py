"""Steps → :class:`Plan`: links between steps, one step alone, a plan that ends with submission."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from difflib import get_close_matches
from itertools import chain

from batchspec.diagnostics import Diagnostic, Diagnostics, UsageError
from batchspec.plan.actions import DeletePool, DownloadResults, WaitForPool, WaitForTasks
from batchspec.plan.fingerprint import snapshot
from batchspec.plan.identity import digest
from batchspec.plan.observed import Observed
from batchspec.plan.options import PlanOptions
from batchspec.plan.plan import Gate, Plan, Step
from batchspec.plan.rules.pool import pool_stays
from batchspec.plan.rules.run import part_of_plan
from batchspec.spec import Spec


def assemble(
    spec: Spec,
    observed: Observed,
    steps: list[Step],
    kept: list[Step],
    *,
    problems: Diagnostics,
    options: PlanOptions,
    scheduled: bool = False,
    stays: tuple[Step, ...] = (),
) -> Plan:
    """The plan of these steps, or of the step that ``options`` select and the steps it needs.

    Raises:
        UsageError: there is no step with that id.
    """
    if options.step:
        steps, kept, note = only_step(options.step, steps, kept)
        problems.add(note)
        scheduled = scheduled and options.step.startswith("schedule:")
    facts = snapshot(spec, observed, steps)
    return Plan(
        account=observed.account,
        name=spec.name,
        description=spec.description,
        digest=spec.digest,
        steps=_linked(steps),
        kept=tuple(kept),
        findings=problems.found,
        fingerprint=digest(tuple(facts.items())),
        snapshot=facts,
        scheduled=scheduled,
        stays=() if options.step else stays,
        places=spec.places,
    )


def _linked(steps: Sequence[Step]) -> tuple[Step, ...]:
    """The steps with only those ``after`` that are steps of this plan.

    The parts of a plan name each other's steps without knowing whether they exist.
    """
    existing = {step.id for step in steps}
    return tuple(
        replace(step, after=tuple(dict.fromkeys(name for name in step.after if name in existing)))
        for step in steps
    )


PARTIAL_PLAN = "part-of-plan"
"""The code of the note that only a part of a plan is carried out."""
NO_SUCH_STEP = "no-such-step"
"""The code of the error that the plan has no such step."""


def only_step(
    name: str, steps: Sequence[Step], kept: Sequence[Step]
) -> tuple[list[Step], list[Step], Diagnostic]:
    """The step with that id after the steps that it needs, what is kept, and a note on the rest.

    A step that keeps an existing resource needs nothing: it is the only one that is kept.

    Raises:
        UsageError: the plan has no such step.
    """
    by_id = {step.id: step for step in steps}
    if name not in by_id and name not in {step.id for step in kept}:
        raise UsageError(_no_such_step(name, [*by_id, *(step.id for step in kept)]))
    needed: set[str] = set()
    ahead = [name] if name in by_id else []
    while ahead:
        step = by_id[ahead.pop()]
        if step.id not in needed:
            needed.add(step.id)
            ahead += [before for before in step.after if before in by_id]
    chosen = [step for step in steps if step.id in needed]
    kept = [step for step in kept if step.id == name]
    (note,) = part_of_plan(name, len(steps) - len(chosen))
    return chosen, kept, note


def _no_such_step(name: str, names: list[str]) -> Diagnostic:
    near = get_close_matches(name, names, n=1)
    return Diagnostic(
        NO_SUCH_STEP,
        f"the plan has no step {name!r}",
        detail="Steps: " + ", ".join(names),
        fix=f"Did you mean `{near[0]}`?" if near else "",
    )


def detached(plan: Plan) -> Plan:
    """The plan without the steps after the submission: wait, download, clean up."""
    steps = tuple(step for step in plan.steps if not _is_after_submission(step))
    steps = _linked(steps)
    pools = [step.action.pool for step in plan.steps if isinstance(step.action, DeletePool)]
    remaining = chain.from_iterable(map(pool_stays, pools))
    findings = (*plan.findings, *remaining) if steps else plan.findings
    return replace(plan, steps=steps, findings=findings, detached=True)


def _is_after_submission(step: Step) -> bool:
    waits = isinstance(step.action, WaitForPool | WaitForTasks | DownloadResults)
    return waits or step.gate is not Gate.FLOW
