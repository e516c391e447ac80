"""Steps → the plan: wired to each other, with what was found and what it all rests on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from batchspec.diagnostics import Diagnostics
from batchspec.plan.digest import digest
from batchspec.plan.grounds import grounds
from batchspec.plan.observed import Observed
from batchspec.plan.plan import Plan, Step
from batchspec.plan.target import only_step
from batchspec.plan.wishes import Wishes
from batchspec.spec import Spec


def assembled(
    spec: Spec,
    observed: Observed,
    steps: list[Step],
    kept: list[Step],
    *,
    problems: Diagnostics,
    wishes: Wishes,
    scheduled: bool = False,
) -> Plan:
    """The plan of these steps, or of the one that is wished for alone.

    Raises:
        UsageError: there is no step of the name that is wished for.
    """
    if wishes.step:
        steps, kept, note = only_step(wishes.step, steps, kept)
        problems.add(note)
        scheduled = scheduled and wishes.step.startswith("schedule:")
    rests_on = grounds(spec, observed, steps)
    return Plan(
        account=observed.account,
        name=spec.name,
        description=spec.description,
        digest=spec.digest,
        steps=_wired(steps),
        kept=tuple(kept),
        findings=problems.found,
        fingerprint=digest(tuple(rests_on.items())),
        grounds=rests_on,
        scheduled=scheduled,
    )


def _wired(steps: Sequence[Step]) -> tuple[Step, ...]:
    """The steps with only such ``after`` as are steps of this plan; what is kept is not waited for.

    Names of steps that do not exist are how the parts of a plan stay ignorant of each other.
    """
    there = {step.id for step in steps}
    return tuple(
        replace(step, after=tuple(dict.fromkeys(name for name in step.after if name in there)))
        for step in steps
    )
