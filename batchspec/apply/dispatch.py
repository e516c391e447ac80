"""The table from the action of a step to the function that carries it out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

from batchspec.apply import resources
from batchspec.apply.context import StepContext, StepResult
from batchspec.apply.events import Noticed, Outcome
from batchspec.apply.missing_outputs import check_outputs
from batchspec.apply.missing_resource import explained
from batchspec.apply.submit import close_job, retry_tasks, submit_tasks
from batchspec.apply.termination import terminate_tasks
from batchspec.apply.transfer import download_results, upload_files
from batchspec.apply.wait import wait_for_pool, wait_for_tasks
from batchspec.diagnostics import Diagnostic, ServiceError, Severity
from batchspec.plan import actions

Handler: TypeAlias = Callable[[Any, StepContext], Awaitable[StepResult]]


async def _download(action: actions.DownloadResults, context: StepContext) -> StepResult:
    checked = await check_outputs(action, StepResult(), context)
    return replace(await download_results(action, context), outcome=checked.outcome)


async def _wait_for_pool(_action: actions.WaitForPool, context: StepContext) -> StepResult:
    return await wait_for_pool(context.monitor)


async def _wait_for_tasks(action: actions.WaitForTasks, context: StepContext) -> StepResult:
    # A plan for a job that was closed earlier has no step that verifies the submitted tasks.
    await context.submitted.verify(action.job, context.world)
    result = await wait_for_tasks(action, context.monitor)
    if action.left and result.outcome is None:
        left = "1 task" if action.left == 1 else f"{action.left:,} tasks"
        are = "is" if action.left == 1 else "are"
        context.emit(
            Noticed(
                Diagnostic(
                    "tasks-left",
                    f"{left} of this run {are} not done and {are} not part of this command",
                    fix="`batchspec apply` runs everything that is left.",
                    severity=Severity.WARNING,
                )
            )
        )
        result = replace(result, note=f"{left} {are} left", outcome=Outcome.TASKS_FAILED)
    return await check_outputs(action, result, context)


HANDLERS: Mapping[type[actions.Action], Handler] = {
    actions.CreateContainer: resources.create_container,
    actions.UseContainer: resources.use_container,
    actions.ReleaseContainer: resources.release_container,
    actions.DeleteContainers: resources.delete_containers,
    actions.DeleteOutputs: resources.delete_outputs,
    actions.UploadFiles: upload_files,
    actions.DownloadResults: _download,
    actions.CreatePool: resources.create_pool,
    actions.UpdatePool: resources.update_pool,
    actions.ResizePool: resources.resize_pool,
    actions.ScalePool: resources.scale_pool,
    actions.RestartNodes: resources.restart_nodes,
    actions.ReplacePool: resources.replace_pool,
    actions.DeletePool: resources.delete_pool,
    actions.CreateJob: resources.create_job,
    actions.UpdateJob: resources.update_job,
    actions.ReplaceJob: resources.replace_job,
    actions.CloseJob: close_job,
    actions.DeleteJob: resources.delete_job,
    actions.CreateSchedule: resources.create_schedule,
    actions.UpdateSchedule: resources.update_schedule,
    actions.ReplaceSchedule: resources.replace_schedule,
    actions.DeleteSchedule: resources.delete_schedule,
    actions.SubmitTasks: submit_tasks,
    actions.RetryTasks: retry_tasks,
    actions.TerminateTasks: terminate_tasks,
    actions.WaitForPool: _wait_for_pool,
    actions.WaitForTasks: _wait_for_tasks,
}
"""One entry for each member of :data:`batchspec.plan.actions.Action`."""


async def perform(context: StepContext) -> StepResult:
    """Carry out the action of a step.

    Raises:
        ServiceError: the account refused a request, or could not be reached.
        SpecError: a file has changed since the plan was made.
    """
    action = context.step.action
    assert action is not None
    try:
        return await HANDLERS[type(action)](action, context)
    except ServiceError as error:
        raise explained(error) from None
