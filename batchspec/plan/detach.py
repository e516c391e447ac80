"""The part of a plan that ends with the submission: the job goes on, and ends, by itself."""

from __future__ import annotations

from dataclasses import replace

from batchspec.diagnostics import Diagnostic
from batchspec.plan.actions import DeletePool, DownloadResults, WaitForPool, WaitForTasks
from batchspec.plan.findings.catalogue import finding
from batchspec.plan.plan import Gate, Plan, Step


def detached(plan: Plan) -> Plan:
    """The plan without what waits, fetches or cleans up at the end."""
    steps = tuple(step for step in plan.steps if not _comes_after(step))
    there = {step.id for step in steps}
    steps = tuple(
        replace(step, after=tuple(name for name in step.after if name in there)) for step in steps
    )
    pools = [step.action.pool for step in plan.steps if isinstance(step.action, DeletePool)]
    findings = (*plan.findings, *map(_stays, pools)) if steps else plan.findings
    return replace(plan, steps=steps, findings=findings, detached=True)


def _comes_after(step: Step) -> bool:
    waits = isinstance(step.action, WaitForPool | WaitForTasks | DownloadResults)
    return waits or step.gate is not Gate.FLOW


def _stays(pool: str) -> Diagnostic:
    return finding(
        "pool-stays",
        f"nobody deletes the pool {pool!r} when the job has ended: clean-up is left to another run",
        fix="`batchspec attach` waits, fetches the results and cleans up; `batchspec destroy`"
        " deletes.",
    )
