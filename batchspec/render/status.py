"""The state of a run: pool, job, tasks and nodes, as text and as the published JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, field, replace
from datetime import datetime
from typing import TYPE_CHECKING

from batchspec.account import TaskCounts
from batchspec.apply.events import FailedTasks, RunningTask, Waiting
from batchspec.diagnostics import Diagnostic, counted
from batchspec.frozen import frozen
from batchspec.plan.observed import AccountNames, ScheduleFacts
from batchspec.render import units
from batchspec.render.diagnostics import diagnostic_json
from batchspec.render.json_lines import TaskRow, moment
from batchspec.render.output import NodeIds, Style, flat, json_text
from batchspec.render.report import waiting_json
from batchspec.render.run_text import (
    account_line,
    example_text,
    node_counts_text,
    running_task_text,
    stage_lines,
    task_parts,
)

if TYPE_CHECKING:
    from batchspec.pricing import Price, Unknown


@frozen
class Status:
    """The current state of a run. A pool, job or schedule that does not exist is ``None``.

    ``total`` is the number of tasks of the spec, if it exceeds the number in the job. ``rate`` is
    the number of tasks that are completed in a second, ``rates`` the same of each stage. ``limit``
    is the time until the time limit of the job, in seconds. ``longest`` are the tasks that have run
    longest, ``causes`` the failed tasks by cause. ``waits`` are the causes that block the run, as
    far as one poll shows them. ``stages`` are the tasks of each stage by state, over all jobs of
    the run, if the spec has several stages. ``former_pools`` are the numbers of nodes of the pools
    of earlier versions of the spec. ``missing`` are the findings on outputs that a finished run did
    not write. ``per_hour`` is the cost of the nodes of the pool per hour, if the spec has
    `cost`.
    """

    account: AccountNames
    name: str
    job: str | None = None
    job_state: str = ""
    tasks: TaskCounts | None = None
    pool: str | None = None
    pool_state: str = ""
    former_pools: Mapping[str, int] = field(default_factory=dict)
    nodes: Mapping[str, int] | None = None
    schedule: ScheduleFacts | None = None
    total: int = 0
    rate: float | None = None
    limit: float | None = None
    rates: Mapping[str, float] = field(default_factory=dict)
    longest: tuple[RunningTask, ...] = ()
    causes: tuple[FailedTasks, ...] = ()
    waits: tuple[Waiting, ...] = ()
    stages: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    missing: Sequence[Diagnostic] = ()
    per_hour: Price | Unknown | None = None


def seconds_left(counts: Mapping[str, int], rate: float | None) -> float | None:
    """The time for the rest of the tasks at a rate; ``None`` if it is not known.

    When no task is waiting, the rate of earlier tasks does not predict the end of the running
    tasks.
    """
    rest = counts["total"] - counts["succeeded"] - counts["failed"]
    if not rate or not counts["running"] or rest <= counts["running"]:
        return None
    return rest / rate


def _counts(status: Status, tasks: TaskCounts) -> Mapping[str, int]:
    return {**asdict(tasks), "total": max(tasks.total, status.total)}


def status_json(status: Status, *, indent: int | None = 2) -> str:
    """The status as JSON; missing objects and unknown values are null."""
    tasks, schedule = status.tasks, status.schedule
    return json_text(
        {
            "job": status.job and {"id": status.job, "state": status.job_state},
            "tasks": tasks
            and {
                "total": max(tasks.total, status.total),
                "active": tasks.active,
                "running": tasks.running,
                "succeeded": tasks.succeeded,
                "failed": tasks.failed,
            },
            "rate": status.rate,
            "left": tasks and seconds_left(_counts(status, tasks), status.rate),
            "stages": {
                name: {
                    **counts,
                    "rate": status.rates.get(name),
                    "left": seconds_left(counts, status.rates.get(name)),
                }
                for name, counts in status.stages.items()
            },
            "longest": [asdict(task) for task in status.longest],
            "failures": [asdict(cause) for cause in status.causes],
            "schedule": schedule
            and {
                "id": schedule.id,
                "state": schedule.state,
                "next_run": schedule.next_run and moment(schedule.next_run),
            },
            "nodes": dict(status.nodes or {}),
            "pool": status.pool and {"id": status.pool, "state": status.pool_state},
            "former_pools": dict(status.former_pools),
            "waiting": [waiting_json(wait) for wait in status.waits],
            "missing_outputs": [diagnostic_json(problem) for problem in status.missing],
            **_cost_json(status.per_hour),
            "target": status.account.target,
        },
        indent=indent,
    )


def status_text(status: Status, *, color: bool = False) -> str:
    """The status in a few lines."""
    style = Style(color)
    return "\n".join([style("bold", account_line(status.account)), *_lines(status, style)])


def _lines(status: Status, style: Style) -> Iterator[str]:
    if status.pool is None:
        yield f"pool   {style('dim', 'does not exist')}"
    else:
        yield f"pool   {flat(status.pool)}: {flat(status.pool_state)}"
        yield f"nodes  {node_counts_text(status.nodes or {}) or style('dim', 'none')}"
    for name, nodes in status.former_pools.items():
        yield f"pool   {flat(name)}: of an earlier version of the spec, {counted(nodes, 'node')}"
    if status.per_hour is not None:
        yield f"cost   {_cost_text(status.per_hour, status.account.target)}"
    if status.schedule is not None:
        schedule = status.schedule
        due = "no further job" if schedule.next_run is None else units.moment(schedule.next_run)
        yield f"next   {due}: schedule {flat(schedule.id)}, {flat(schedule.state)}"
    if status.job is None:
        yield f"job    {style('dim', 'does not exist')}"
        return
    limit = "" if status.limit is None else f", limit in {units.duration(status.limit)}"
    yield f"job    {flat(status.job)}: {flat(status.job_state)}{limit}"
    if status.tasks is not None:
        yield f"tasks  {_tasks(status, status.tasks)}"
    over = status.job_state == "completed"
    for name, line in zip(status.stages, stage_lines(status.stages, over=over), strict=True):
        pace = "" if over else _pace(status.stages[name], status.rates.get(name))
        yield f"       {line}{pace}"
    ids = NodeIds()
    ids.add(task.node for task in status.longest)
    label = "runs"
    for task in status.longest:
        yield f"{label:<7}{running_task_text(replace(task, node=ids(task.node)))}"
        label = ""
    label = "failed"
    for failed in status.causes:
        count = style("error", f"{failed.count:,} {flat(failed.cause)}")
        yield f"{label:<7}{count} ({example_text(failed)})"
        label = ""
    label = "cause" if over else "waits"
    for wait in map(ids.waiting, status.waits):
        yield f"{label}  {style('warning', flat(wait.summary))}"
        yield from (f"       {flat(text)}" for text in (wait.detail, wait.action) if text)
    for problem in status.missing:
        yield f"lacks  {style('warning', flat(problem.summary))}"
        yield from (f"       {flat(text)}" for text in (problem.detail, problem.fix) if text)


def _cost_text(per_hour: Price | Unknown, target: str) -> str:
    from batchspec.pricing import Unknown  # noqa: PLC0415 - only for specs with `cost`

    if isinstance(per_hour, Unknown):
        return f"not known: {flat(per_hour.reason)}"
    amount, currency = per_hour.per_hour, per_hour.currency
    where = "; on Azure, not on this machine" if target == "local" else ""
    return f"{units.money(amount, currency)} per hour{where}"


def _cost_json(per_hour: Price | Unknown | None) -> dict[str, object]:
    if per_hour is None:
        return {}
    from batchspec.pricing import Unknown  # noqa: PLC0415 - only for specs with `cost`

    if isinstance(per_hour, Unknown):
        return {"cost_per_hour": None, "currency": None}
    return {"cost_per_hour": round(per_hour.per_hour, 6), "currency": per_hour.currency}


def _tasks(status: Status, tasks: TaskCounts) -> str:
    total = max(tasks.total, status.total)
    over = status.job_state == "completed"
    parts = [f"{tasks.completed:,} of {total:,} done", *task_parts(asdict(tasks), over=over)]
    pace = "" if over else _pace(_counts(status, tasks), status.rate)
    return ", ".join(parts) + pace


def _pace(counts: Mapping[str, int], rate: float | None) -> str:
    """The rate and the time left, while tasks run."""
    if not counts["running"]:
        return ""
    speed = f", {units.rate(rate, 'tasks')}" if rate else ""
    return f"{speed}, {units.left(seconds_left(counts, rate))}"


def task_rows_text(rows: Sequence[TaskRow]) -> Iterator[str]:
    """A line for each task: state, id, node, run time, cause of failure."""
    ids = NodeIds()
    ids.add(row.node for row in rows)
    width = max((len(row.id) for row in rows), default=0)
    for row in rows:
        facts = [ids(row.node), _ran(row), row.cause]
        facts += [counted(row.retries, "retry", "retries")] if row.retries else []
        yield f"{row.state:<9}  {flat(row.id):<{width}}  {'  '.join(filter(None, facts))}".rstrip()


def _ran(row: TaskRow) -> str:
    """The run time of a task, or its start if it still runs."""
    if not row.started:
        return ""
    started = datetime.fromisoformat(row.started)
    if not row.ended:
        return f"since {units.moment(started)}"
    return units.duration((datetime.fromisoformat(row.ended) - started).total_seconds())


def task_rows_json(rows: Sequence[TaskRow]) -> str:
    """The tasks as JSON: ``{"version": 1, "tasks": [...]}`` with the fields of a run's record."""
    return json_text({"version": 1, "tasks": [asdict(row) for row in rows]}, indent=2)
