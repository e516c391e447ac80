"""The state of a run: pool, job, tasks and nodes, as text and as the published JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from batchspec.account import TaskCounts
from batchspec.apply.events import Waiting
from batchspec.diagnostics import Diagnostic
from batchspec.plan.observed import AccountNames, ScheduleFacts
from batchspec.render import units
from batchspec.render.diagnostics import diagnostic_json
from batchspec.render.output import NodeIds, flat, json_text
from batchspec.render.progress.json_stream import moment
from batchspec.render.report import waiting_json
from batchspec.render.run_text import account_line, node_counts_text, stage_lines, task_parts
from batchspec.render.style import Style


@dataclass(frozen=True, slots=True)
class Status:
    """A run as it is now; a pool, job or schedule that does not exist is ``None``.

    ``total`` is the number of tasks of the spec, if it exceeds the number in the job.
    ``rate`` is tasks completed in a second; ``left`` and ``limit`` are seconds: until all tasks are
    done at that rate, and until the time limit of the job. ``waits`` are the causes that block the
    run, as far as one poll shows them. ``stages`` are the tasks of each stage by state, over all
    jobs of the run, if the spec has several stages. ``missing`` are the findings on outputs that a
    finished run did not write.
    """

    account: AccountNames
    name: str
    job: str | None = None
    job_state: str = ""
    tasks: TaskCounts | None = None
    pool: str | None = None
    pool_state: str = ""
    nodes: Mapping[str, int] | None = None
    schedule: ScheduleFacts | None = None
    total: int = 0
    rate: float | None = None
    left: float | None = None
    limit: float | None = None
    waits: tuple[Waiting, ...] = ()
    stages: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    missing: Sequence[Diagnostic] = ()


def status_json(status: Status) -> str:
    """The status as indented JSON; what does not exist is null."""
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
            "stages": {name: dict(counts) for name, counts in status.stages.items()},
            "schedule": schedule
            and {
                "id": schedule.id,
                "state": schedule.state,
                "next_run": schedule.next_run and moment(schedule.next_run),
            },
            "nodes": dict(status.nodes or {}),
            "pool": status.pool and {"id": status.pool, "state": status.pool_state},
            "waiting": [waiting_json(wait) for wait in status.waits],
            "missing_outputs": [diagnostic_json(problem) for problem in status.missing],
            "target": status.account.target,
        },
        indent=2,
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
    yield from (f"       {line}" for line in stage_lines(status.stages, over=over))
    label = "cause" if over else "waits"
    ids = NodeIds()
    for wait in map(ids.waiting, status.waits):
        yield f"{label}  {style('warning', flat(wait.summary))}"
        yield from (f"       {flat(text)}" for text in (wait.detail, wait.action) if text)
    for problem in status.missing:
        yield f"lacks  {style('warning', flat(problem.summary))}"
        yield from (f"       {flat(text)}" for text in (problem.detail, problem.fix) if text)


def _tasks(status: Status, tasks: TaskCounts) -> str:
    total = max(tasks.total, status.total)
    over = status.job_state == "completed"
    parts = [f"{tasks.completed:,} of {total:,} done", *task_parts(asdict(tasks), over=over)]
    if status.rate and not over:
        parts.append(units.rate(status.rate, "tasks"))
    if status.left is not None and tasks.completed < total and not over:
        parts.append(f"{units.duration(status.left)} left")
    return ", ".join(parts)
