"""How much of its default quota the account has used up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from batchspec.diagnostics import Diagnostic
from batchspec.plan.actions import CreateJob, CreatePool, CreateSchedule
from batchspec.plan.plan import Step
from batchspec.plan.rules.catalogue import finding
from batchspec.plan.rules.context import RuleContext

_POOLS = 100
"""The most pools that an account has by default (Batch quotas and limits: 0 to 100)."""
_JOBS = 100
"""The fewest active jobs and schedules that it may have (Batch quotas and limits: 100 to 300)."""
_COUNTED = CreateJob | CreateSchedule
"""One that is replaced takes the place of the one before."""
_NEAR = 0.9
_LIMITED = "azure"
"""The embedded service has no quota."""


def quotas(scene: RuleContext, steps: Sequence[Step]) -> Iterator[Diagnostic]:
    """Whether what is to be made comes near to what an account may have by default.

    The quotas of this very account are told by its control plane, which batchspec does not ask.
    """
    usage = scene.observed.usage
    if usage is None or scene.observed.account.target != _LIMITED:
        return
    actions = [step.action for step in steps]
    pools = usage.pools + sum(isinstance(action, CreatePool) for action in actions)
    if pools > usage.pools and pools >= _NEAR * _POOLS:
        yield finding(
            "pools-near-quota",
            f"with this one the account has {pools} pools; by default it may have up to {_POOLS}",
            where=scene.spec.pool.where,
        )
    jobs = usage.jobs + sum(isinstance(action, _COUNTED) for action in actions)
    if jobs > usage.jobs and jobs >= _NEAR * _JOBS:
        yield finding(
            "jobs-near-quota",
            f"with this one the account has {jobs} active jobs and schedules; by default it may"
            f" have {_JOBS} to 300",
            where=scene.spec.job.where,
        )
