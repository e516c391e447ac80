"""All rules by code, and the findings of a plan that need its steps or do not stop it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from batchspec.diagnostics import Diagnostic, Severity
from batchspec.plan.actions import DeleteContainers, DeleteJob, DeletePool, DownloadResults
from batchspec.plan.plan import Step
from batchspec.plan.rules.capacity import (
    CAPACITY,
    check_capacity,
    job_quota_reached,
    jobs_near_quota,
    pool_quota_reached,
    pools_near_quota,
)
from batchspec.plan.rules.checks import CHECKED, checks
from batchspec.plan.rules.cost import BOUND
from batchspec.plan.rules.data import result_edited, results_folder_used, results_unwritable
from batchspec.plan.rules.other_runs import OTHER_RUNS
from batchspec.plan.rules.result_inputs import results_as_inputs
from batchspec.plan.rules.rule import Rule, RuleContext, RuleGroup
from batchspec.plan.rules.run import RUN
from batchspec.plan.rules.sas import tasks_signed_earlier
from batchspec.plan.rules.schedule import SCHEDULE
from batchspec.plan.rules.spec_file import SPEC_FILE
from batchspec.plan.rules.spec_language import FORMULA, LANGUAGE, VALUES
from batchspec.plan.rules.stage import many_tasks
from batchspec.plan.rules.tasks import TASKS
from batchspec.plan.rules.vm_size import VM_SIZE, check_vm_size
from batchspec.plan.task_sets import TaskSets

GROUPS: tuple[RuleGroup, ...] = (
    SPEC_FILE,
    LANGUAGE,
    FORMULA,
    VALUES,
    *CHECKED,
    TASKS,
    BOUND,
    CAPACITY,
    VM_SIZE,
    RUN,
    OTHER_RUNS,
    SCHEDULE,
)

RULES: Mapping[str, Rule[Any]] = {rule.code: rule for group in GROUPS for rule in group.rules}

_AFTER_TASKS = DeletePool | DeleteJob | DeleteContainers | DownloadResults


def advice(
    context: RuleContext, steps: Sequence[Step], task_sets: TaskSets | None = None
) -> Iterator[Diagnostic]:
    """The warnings and notes of a plan with these steps, and the errors about the steps.

    ``task_sets`` are the tasks to run in a job. A plan that only downloads and cleans up gets no
    warnings about pool and tasks.
    """
    if not all(isinstance(step.action, _AFTER_TASKS) for step in steps):
        for rule in checks():
            if rule.severity is not Severity.ERROR:
                yield from rule(context)
    if task_sets is not None:
        yield from tasks_signed_earlier(context, task_sets)
        yield from many_tasks(context, task_sets)
    yield from check_capacity(context, steps)
    yield from check_vm_size(context, steps)
    yield from pool_quota_reached(context, steps)
    yield from job_quota_reached(context, steps)
    yield from pools_near_quota(context, steps)
    yield from jobs_near_quota(context, steps)
    yield from results_unwritable(context, steps)
    yield from results_folder_used(context, steps)
    yield from result_edited(context, steps)
    yield from results_as_inputs(context, steps)
