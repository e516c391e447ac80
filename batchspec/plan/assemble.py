"""Steps → :class:`Plan`: links between steps, one step alone, a plan that ends with submission."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from difflib import get_close_matches

from batchspec.diagnostics import Diagnostic, Diagnostics, UsageError
from batchspec.plan.actions import DeletePool, DownloadResults, WaitForPool, WaitForTasks
from batchspec.plan.digest import digest
from batchspec.plan.fingerprint import snapshot
from batchspec.plan.observed import Observed
from batchspec.plan.options import PlanOptions
from batchspec.plan.plan import Gate, Plan, Step
from batchspec.plan.rules.catalogue import finding
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
) -> Plan:
    """The plan of these steps, or of the one that is wished for alone.

    Raises:
        UsageError: there is no step of the name that is wished for.
    """
    if options.step:
        steps, kept, note = only_step(options.step, steps, kept)
        problems.add(note)
        scheduled = scheduled and options.step.startswith("schedule:")
    rests_on = snapshot(spec, observed, steps)
    return Plan(
        account=observed.account,
        name=spec.name,
        description=spec.description,
        digest=spec.digest,
        steps=_linked(steps),
        kept=tuple(kept),
        findings=problems.found,
        fingerprint=digest(tuple(rests_on.items())),
        snapshot=rests_on,
        scheduled=scheduled,
    )


def _linked(steps: Sequence[Step]) -> tuple[Step, ...]:
    """The steps with only such ``after`` as are steps of this plan; what is kept is not waited for.

    Names of steps that do not exist are how the parts of a plan stay ignorant of each other.
    """
    there = {step.id for step in steps}
    return tuple(
        replace(step, after=tuple(dict.fromkeys(name for name in step.after if name in there)))
        for step in steps
    )


PARTIAL_PLAN = "part-of-plan"
"""The code of the note that a plan is a part of one."""
NO_SUCH_STEP = "no-such-step"
"""The code of the problem that there is no such step."""


def only_step(
    name: str, steps: Sequence[Step], kept: Sequence[Step]
) -> tuple[list[Step], list[Step], Diagnostic]:
    """The steps that the step of that id needs, itself the last; and a note on what is left out.

    Nothing is to be done if that step keeps what is there: then it is the one that is kept.

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
    return chosen, kept, _partial(name, len(steps) - len(chosen))


def _partial(name: str, number: int) -> Diagnostic:
    steps = "1 other step is" if number == 1 else f"{number} other steps are"
    return finding(
        PARTIAL_PLAN,
        f"only {name} and what it needs is done: {steps} left out",
    )


def _no_such_step(name: str, names: list[str]) -> Diagnostic:
    near = get_close_matches(name, names, n=1)
    return Diagnostic(
        NO_SUCH_STEP,
        f"the plan has no step {name!r}",
        detail="It has: " + ", ".join(names),
        fix=f"Did you mean `{near[0]}`?" if near else "",
    )


def detached(plan: Plan) -> Plan:
    """The plan without what waits, fetches or cleans up at the end."""
    steps = tuple(step for step in plan.steps if not _comes_after(step))
    there = {step.id for step in steps}
    steps = tuple(
        replace(step, after=tuple(name for name in step.after if name in there)) for step in steps
    )
    pools = [step.action.pool for step in plan.steps if isinstance(step.action, DeletePool)]
    findings = (*plan.findings, *map(_pool_stays, pools)) if steps else plan.findings
    return replace(plan, steps=steps, findings=findings, detached=True)


def _comes_after(step: Step) -> bool:
    waits = isinstance(step.action, WaitForPool | WaitForTasks | DownloadResults)
    return waits or step.gate is not Gate.FLOW


def _pool_stays(pool: str) -> Diagnostic:
    return finding(
        "pool-stays",
        f"nobody deletes the pool {pool!r} when the job has ended: clean-up is left to another run",
        fix="`batchspec attach` waits, fetches the results and cleans up; `batchspec destroy`"
        " deletes.",
    )
