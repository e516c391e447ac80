"""The planner: a spec and observed facts → :class:`Plan`.

In: a spec and :class:`~batchspec.plan.observed.Observed`. Out: a frozen plan of steps with reasons,
findings, and the snapshot that it is based on. Functions: ``build_plan`` (``plan``, ``apply``,
``retry``), ``build_attach``, ``build_download``, ``build_destroy``, ``detached``, and
``plan_file_text`` and ``read_plan_file`` for saved plans.

Public are the names below and these modules: ``observed`` (facts), ``capacity`` (quotas and
VM sizes), ``actions`` (what a step does), ``metadata`` and ``receipt`` (what a run records in the
account and on disk), and ``failures`` (causes of failures, what to do about them, and the selection
of ``retry``).

Not here: reading or changing the account or the disk (``observe``, ``apply``), requests
(``cloud``), formatted output (``render``). Everything is pure; time is an argument.

Names are imported on first use, because imports count in the start time of a command.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchspec.lazy_imports import lazy_names

if TYPE_CHECKING:
    from batchspec.plan.assemble import NO_SUCH_STEP, PARTIAL_PLAN, detached
    from batchspec.plan.attach import build_attach, build_download, find_missing_outputs, no_run
    from batchspec.plan.build import build_plan, has_retries
    from batchspec.plan.cleanup import build_destroy, containers_subject
    from batchspec.plan.cost import (
        NOT_KNOWN,
        Amounts,
        End,
        Estimate,
        NodeCost,
        node_type,
        node_type_of,
        pool_kinds,
        region_of,
    )
    from batchspec.plan.data import changed_packages, package_step
    from batchspec.plan.failures import Selection
    from batchspec.plan.options import NO_OPTIONS, Part, PlanOptions
    from batchspec.plan.outputs import (
        ExpectedOutput,
        LostTasks,
        MissingOutput,
        OutputIndex,
        Outputs,
        collect_missing,
    )
    from batchspec.plan.plan import Gate, NodeRelease, Plan, Step, Verb
    from batchspec.plan.plan_file import (
        SavedPlan,
        check_fresh,
        plan_file_text,
        read_plan_file,
        saved_plan,
    )
    from batchspec.plan.rules.account import package_references
    from batchspec.plan.rules.checks import check_offline
    from batchspec.plan.rules.data import OUTPUT_MISSING, output_missing
    from batchspec.plan.rules.other_runs import (
        created_meanwhile,
        pool_in_use,
        replaced_pool_in_use,
    )
    from batchspec.plan.rules.registry import GROUPS, RULES
    from batchspec.plan.stage_tasks import StageCounts, count_stages, read_recorded
    from batchspec.plan.task_sets import OPEN, job_base, newest_open
    from batchspec.plan.tasks import Task

__getattr__ = lazy_names(
    __name__,
    {
        "assemble": "NO_SUCH_STEP PARTIAL_PLAN detached",
        "attach": "build_attach build_download find_missing_outputs no_run",
        "build": "build_plan has_retries",
        "cleanup": "build_destroy containers_subject",
        "cost": (
            "NOT_KNOWN Amounts End Estimate NodeCost node_type node_type_of pool_kinds region_of"
        ),
        "data": "changed_packages package_step",
        "failures": "Selection",
        "options": "NO_OPTIONS Part PlanOptions",
        "outputs": "LostTasks MissingOutput OutputIndex Outputs ExpectedOutput collect_missing",
        "plan": "Gate NodeRelease Plan Step Verb",
        "plan_file": "SavedPlan check_fresh plan_file_text read_plan_file saved_plan",
        "rules.account": "package_references",
        "rules.checks": "check_offline",
        "rules.data": "OUTPUT_MISSING output_missing",
        "rules.other_runs": "created_meanwhile pool_in_use replaced_pool_in_use",
        "rules.registry": "GROUPS RULES",
        "stage_tasks": "StageCounts count_stages read_recorded",
        "task_sets": "OPEN job_base newest_open",
        "tasks": "Task",
    },
)
