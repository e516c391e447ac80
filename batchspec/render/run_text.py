"""Text for the steps of a plan and the events of a run, shared by plan, views and `status`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import assert_never

from batchspec.apply.events import (
    FailedTasks,
    FailuresSeen,
    NodeFailed,
    NodesSeen,
    Outcome,
    PricesSeen,
    RunEnded,
    RunningTask,
    RunStarted,
    ScheduleSeen,
    StepProgress,
    TaskFailed,
    TasksSeen,
    Waiting,
)
from batchspec.plan import Gate, Step, Verb, actions
from batchspec.plan.actions import Action
from batchspec.plan.observed import START_TASK_RUNNING, AccountNames
from batchspec.render import units
from batchspec.render.output import clean, flat
from batchspec.spec import Record, duration

PHRASES: Mapping[Verb, str] = {
    Verb.CREATE: "create {}",
    Verb.UPDATE: "update {}",
    Verb.REPLACE: "replace {}",
    Verb.DELETE: "delete {}",
    Verb.UPLOAD: "upload {}",
    Verb.SUBMIT: "submit {}",
    Verb.WAIT: "wait for {}",
    Verb.DOWNLOAD: "download {}",
    Verb.KEEP: "keep {}",
    Verb.RESIZE: "resize {}",
    Verb.TERMINATE: "terminate {}",
}
"""The verb of a step with its object."""


def phrase(verb: str, subject: str) -> str:
    """The name of a step: ``wait for pool topn``."""
    # The record of a later version can have other verbs.
    text = PHRASES[Verb(verb)] if verb in set(Verb) else f"{flat(verb)} {{}}"
    return text.format(flat(subject))


def action_name(action: Action | type[Action]) -> str:
    """The snake_case name of an action's class, as in the JSON plan: ``create_container``."""
    return snake((action if isinstance(action, type) else type(action)).__name__)


def snake(name: str) -> str:
    """A class name in snake_case."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def account_line(account: AccountNames) -> str:
    """The target with its Batch and Storage account, on one line."""
    return flat(f"{account.target}: Batch {account.batch}, Storage {account.storage}")


def quantity(step: Step, here: Path | None = None) -> str:
    """The quantity of a step, unless the subject contains it: ``3 files, 12 KiB``.

    ``here`` is the folder that paths are relative to.
    """
    return ", ".join(_parts(step, here))


def _parts(step: Step, here: Path | None) -> Iterator[str]:
    match step.action:
        case actions.UploadFiles(size=size) | actions.UploadPackage(size=size):
            yield _counted(step.items, "file", step.subject)
            yield units.size(size)
        case actions.SubmitTasks() | actions.RetryTasks() | actions.TerminateTasks():
            yield _counted(step.items, "task", step.subject)
        case actions.WaitForTasks(tasks=tasks, limit=limit):
            yield _counted(tasks, "task", step.subject)
            yield f"limit {units.limit(limit.total_seconds())}"
        case (
            actions.CreatePool()
            | actions.ReplacePool()
            | actions.RestartNodes()
            | actions.DeleteOutputs()
        ):
            noun = "blob" if isinstance(step.action, actions.DeleteOutputs) else "node"
            if step.items:
                yield units.counted(step.items, noun)
        case actions.WaitForPool(nodes=nodes):
            if nodes:
                yield _counted(nodes, "node", step.subject)
        case actions.ResizePool(dedicated=dedicated, spot=spot):
            yield f"{dedicated:,} dedicated, {spot:,} spot"
        case actions.CreateSchedule(body=body) | actions.ReplaceSchedule(body=body):
            yield recurrence_text(body)
        case actions.DownloadResults(to=to):
            yield f"to {_path(to, here)}"
        case (
            actions.CreateContainer()
            | actions.UseContainer()
            | actions.ReleaseContainer()
            | actions.UpdatePool()
            | actions.ScalePool()
            | actions.CreateJob()
            | actions.ReplaceJob()
            | actions.UpdateJob()
            | actions.UpdateSchedule()
            | actions.CloseJob()
            | actions.DeletePool()
            | actions.DeleteJob()
            | actions.DeleteSchedule()
            | actions.DeleteContainers()
            | None
        ):
            pass
        case _:
            assert_never(step.action)


def recurrence_text(body: Record) -> str:
    """The frequency of new jobs of a job schedule: ``every 1d``, ``once``."""
    interval = duration(body.string("schedule", "recurrenceInterval") or "")
    return "once" if interval is None else f"every {units.limit(interval.total_seconds())}"


def _counted(count: int, noun: str, subject: str) -> str:
    """A count with its noun, unless the subject contains it: ``tasks of count (3)``."""
    return f"{count:,}" if f"{noun}s" in subject.split() else units.counted(count, noun)


def _path(path: Path, here: Path | None) -> str:
    """A folder, relative if possible."""
    if here is not None and path.is_relative_to(here):
        path = path.relative_to(here)
    return flat(f"{path}/")


def page_written(place: str) -> str:
    """The message after a report page was written."""
    return f"Report: {flat(place)}"


def reason_text(step: Step) -> str:
    """The reason of a step, and its condition: ``if the run succeeds (cleanup: on_success)``."""
    condition = gate_text(step.gate)
    if condition and step.reason:
        return f"{condition} ({step.reason})"
    return condition or step.reason


def gate_text(gate: Gate) -> str:
    """The condition of a step in addition to the end of its predecessors."""
    match gate:
        case Gate.FLOW:
            return ""
        case Gate.SUCCESS:
            return "if the run succeeds"
        case Gate.END:
            return "at the end, even after failures"
        case Gate.ASK:
            return "asks first"


TAIL = 20
"""The number of last lines of stderr that are shown."""

_OUTCOMES: Mapping[Outcome | None, str] = {
    Outcome.DONE: "done in {}",
    Outcome.NOTHING_TO_DO: "nothing to do",
    Outcome.TASKS_FAILED: "ended in {}: tasks failed",
    Outcome.TIME_LIMIT: "ended after {}: the time limit was reached",
    Outcome.FAILED: "failed after {}",
    Outcome.INTERRUPTED: "interrupted after {}",
    Outcome.DETACHED: "detached after {}; the run continues in the account",
    Outcome.SCHEDULED: "scheduled in {}; the job schedule creates jobs automatically",
    None: "stopped unexpectedly after {}",
}


def outcome_text(outcome: Outcome | None, seconds: float) -> str:
    """The outcome and duration of a run; the outcome of a run without an end is ``None``."""
    return _OUTCOMES[outcome].format(units.duration(seconds))


_BECAUSE = {
    "declined": "kept",
    "interrupted": "the run was interrupted",
    "in_use": "kept, because other jobs may use it",
    Outcome.TASKS_FAILED: "tasks failed",
    Outcome.TIME_LIMIT: "the time limit was reached",
    Outcome.FAILED: "a step failed",
}
"""The reasons why a step was skipped although no step that it depends on failed."""

_STATES = {
    "waitingforstarttask": "waiting for start task",
    "starttaskfailed": "start task failed",
    "leavingpool": "leaving pool",
    "upgradingos": "upgrading",
}


def node_state_text(state: str) -> str:
    """The state of a node as text; the services differ only in its upper and lower case."""
    return _STATES.get(state.lower(), flat(state).lower())


def run_started_text(event: RunStarted) -> str:
    """The spec, the account and the number of steps."""
    account = AccountNames(event.target, event.batch, event.storage)
    return f"{flat(event.name)} on {account_line(account)}; {units.counted(event.steps, 'step')}"


def item_noun(verb: str, subject: str) -> str:
    """The noun for the items of a step."""
    match verb:
        case Verb.UPLOAD | Verb.DOWNLOAD:
            return "file"
        case Verb.SUBMIT:
            return "task"
    if subject.startswith(("node", "pool")):
        return "node"
    return "task" if verb == Verb.WAIT else "item"


def progress_text(event: StepProgress, item: str) -> str:
    """The progress of a step: ``61 of 100 files, 12.3/20.0 MiB, 61%``.

    The totals are omitted while they grow: ``61 files, 12.3 MiB``.
    """
    if event.growing:
        return f"{units.counted(event.done, item)}, {units.size(event.moved)}"
    parts = [f"{event.done:,} of {units.counted(event.items, item)}"]
    if event.size is not None or event.moved:
        parts.append(units.amount(event.moved, event.size))
    parts.append(f"{units.percent(*progress_share(event))}%")
    return ", ".join(parts)


def progress_share(event: StepProgress) -> tuple[int, int]:
    """The finished part and the whole: in bytes if the size is known, else in items."""
    return (event.moved, event.size) if event.size else (event.done, event.items)


def nodes_text(event: NodesSeen) -> str:
    """The nodes of a pool by state: ``2 idle, 1 starting (target 3)``."""
    return f"{node_counts_text(event.states) or 'none'} (target {event.target:,})"


def prices_text(event: PricesSeen) -> str:
    """The prices of nodes: ``standard_d2s_v5: 0.10 USD, Spot 0.02 USD per hour (given)``."""
    size = flat(event.vm_size)
    prices = [("", event.dedicated), ("Spot ", event.spot)]
    currency = flat(event.currency)
    known = [f"{name}{units.price(price, currency)}" for name, price in prices if price is not None]
    if not known:
        return f"{size}: price not known: {flat(event.unknown)}"
    return f"{size}: {', '.join(known)} per hour ({flat(event.source)})"


def node_counts_text(states: Mapping[str, int]) -> str:
    """Nodes by state: ``2 idle, 1 starting``."""
    return ", ".join(f"{n:,} {node_state_text(state)}" for state, n in states.items() if n)


def tasks_text(event: TasksSeen) -> str:
    """The tasks of a job: ``61 of 100 done, 2 failed, 8 running, 31 waiting``."""
    parts = [f"{event.succeeded + event.failed:,} of {units.counted(event.total, 'task')} done"]
    counts = ((event.failed, "failed"), (event.running, "running"), (event.active, "waiting"))
    return ", ".join([*parts, *(f"{count:,} {name}" for count, name in counts if count)])


def stage_lines(stages: Mapping[str, Mapping[str, int]], *, over: bool) -> Iterator[str]:
    """The tasks of each stage: ``map: 198 of 200 done, 198 succeeded, 2 waiting``.

    ``over``: the job has ended.
    """
    for name, counts in stages.items():
        yield f"{flat(name)}: {stage_text(counts, over=over)}"


def stage_text(counts: Mapping[str, int], *, over: bool) -> str:
    """The tasks of a stage: ``200 of 200 done, 198 succeeded, 2 failed``."""
    number = Counter(counts)
    done = f"{number['succeeded'] + number['failed']:,} of {number['total']:,} done"
    return ", ".join([done, *task_parts(number, over=over)])


def task_parts(counts: Mapping[str, int], *, over: bool) -> Iterator[str]:
    """The tasks by state, without empty states: ``198 succeeded``, ``2 waiting``.

    ``over``: the job has ended. Tasks that waited at its end did not run, and tasks that ran were
    terminated with it.
    """
    labels = {
        "succeeded": "succeeded",
        "failed": "failed",
        "running": "terminated" if over else "running",
        "active": "did not run" if over else "waiting",
    }
    for state, label in labels.items():
        if counts[state]:
            yield f"{counts[state]:,} {label}"


def running_task_text(task: RunningTask) -> str:
    """A task that runs: ``count-b on node tvm-2 for 3m 20s``."""
    node = f" on node {flat(task.node)}" if task.node else ""
    return f"{flat(task.task)}{node} for {units.duration(task.seconds)}"


def causes_text(event: FailuresSeen) -> str:
    """The failed tasks by cause: ``12 failed: exit-1 (count-b and 11 more)``."""
    return "; ".join(
        f"{each.count:,} failed: {flat(each.cause)} ({example_text(each)})" for each in event.causes
    )


def example_text(failed: FailedTasks) -> str:
    """A task that failed for a cause, and the number of others: ``count-b and 11 more``."""
    return flat(failed.task) + (f" and {failed.count - 1:,} more" if failed.count > 1 else "")


def waiting_lines(event: Waiting) -> Iterator[str]:
    """A cause that blocks a run: summary, reason and fix."""
    yield flat(event.summary)
    for text in (event.detail, event.action):
        if text:
            yield f"  {flat(text)}"


def elapsed_text(began: datetime, now: datetime) -> str:
    """The duration of a cause, in parentheses; empty for less than a second."""
    seconds = (now - began).total_seconds()
    return f" (for {units.duration(seconds)})" if seconds >= 1 else ""


def schedule_seen_text(event: ScheduleSeen) -> str:
    """A job schedule with its state: ``schedule n: active, next job ...``."""
    return f"schedule {flat(event.schedule)}: {schedule_text(event)}"


def schedule_text(event: ScheduleSeen) -> str:
    """The state of a job schedule, its newest job and the time of the next one."""
    parts = [flat(event.state)]
    if event.recent_job is not None:
        parts.append(f"newest job {flat(event.recent_job)}")
    due = "no further job" if event.next_run is None else f"next job {units.moment(event.next_run)}"
    return ", ".join([*parts, due])


def failure_lines(event: TaskFailed | NodeFailed) -> Iterator[str]:
    """A failed task or node: place, cause, and the last lines of its stderr."""
    if isinstance(event, TaskFailed):
        node = f" on node {event.node}" if event.node else ""
        yield flat(f"task {event.task} of job {event.job} failed{node}: {task_cause(event)}")
    else:
        yield flat(f"node {event.node} of pool {event.pool}: {node_cause(event)}")
    yield from tail_lines(event.stderr)


def task_cause(event: TaskFailed) -> str:
    """The cause of a failed task, in brief."""
    # With exit code 0 there is another cause, for example an output that could not be uploaded.
    parts = [f"exit code {event.exit_code}"] if event.exit_code else []
    # FailureExitCode repeats that the exit code is not 0.
    if event.code and not (parts and event.code == "FailureExitCode"):
        parts.append(f"{event.code}: {event.message}" if event.message else event.code)
    elif event.message and not parts:
        parts.append(event.message)
    return ", ".join(parts) or "no cause reported"


def node_cause(event: NodeFailed) -> str:
    """The reason why a node cannot run tasks: ``start task failed (exit code 1)``."""
    if event.state.lower() == START_TASK_RUNNING:
        return flat(event.message)
    state = node_state_text(event.state)
    if event.exit_code:
        # The message of the service repeats that the exit code is not 0.
        return f"{state} (exit code {event.exit_code})"
    return f"{state}: {first_sentence(event.message)}" if event.message else state


def first_sentence(message: str) -> str:
    """The message of a service error without its details, which follow ``; name: value``."""
    return flat(message.partition("; ")[0])


def tail_lines(stderr: str) -> Iterator[str]:
    """The last lines of stderr, each after a bar."""
    lines = clean(stderr).rstrip().splitlines()
    for line in lines[-TAIL:]:
        yield f"  | {line}".rstrip()


def skipped_text(because: str, names: Mapping[str, str]) -> str:
    """The reason why a step was skipped; ``names`` are the phrases of steps by id."""
    reason = _BECAUSE.get(because)
    return reason or f"depends on '{names.get(because) or flat(because)}'"


def run_ended_text(event: RunEnded) -> str:
    """The last line: outcome, duration, resume command, remaining resources, exit code."""
    text = outcome_text(event.outcome, event.seconds)
    if event.resume:
        text += f"; `{flat(event.resume)}` resumes"
    if event.left:
        text += f"; left in the account: {units.listed(flat(name) for name in event.left)}"
    return f"{text} (exit code {event.exit})" if event.exit else text
