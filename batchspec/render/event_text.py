"""Sentences about single events, shared by the views that write line by line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime

from batchspec.apply.events import (
    NodeFailed,
    NodesSeen,
    Outcome,
    RunEnded,
    RunStarted,
    ScheduleSeen,
    StepProgress,
    TaskFailed,
    TasksSeen,
    Waiting,
)
from batchspec.plan.observed import Account
from batchspec.plan.plan import Verb
from batchspec.render import units
from batchspec.render.output import clean, flat
from batchspec.render.step_text import account_line

TAIL = 20
"""How many of the last lines of stderr are shown."""

_OUTCOMES: Mapping[Outcome | None, str] = {
    Outcome.DONE: "done in {}",
    Outcome.NOTHING_TO_DO: "nothing to do",
    Outcome.TASKS_FAILED: "ended in {}, and tasks failed",
    Outcome.TIME_LIMIT: "ended after {}: the time limit passed before all tasks were done",
    Outcome.FAILED: "failed after {}",
    Outcome.INTERRUPTED: "interrupted after {}; the same command goes on from there",
    Outcome.DETACHED: "detached after {}; the run goes on in the account",
    Outcome.SCHEDULED: "scheduled after {}; its jobs come by themselves",
    None: "broke off after {}",
}


def outcome_text(outcome: Outcome | None, seconds: float) -> str:
    """How a run ended (``None``: it did not come to its end), and when."""
    return _OUTCOMES[outcome].format(units.duration(seconds))


_BECAUSE = {
    "declined": "kept",
    "interrupted": "the run was interrupted",
    Outcome.TASKS_FAILED: "tasks failed",
    Outcome.TIME_LIMIT: "the time limit passed",
    Outcome.FAILED: "a step failed",
}
"""Why a step was not run, where no step that comes before it is to blame."""

_STATES = {
    "waitingforstarttask": "waiting for start task",
    "starttaskfailed": "start task failed",
    "leavingpool": "leaving pool",
    "upgradingos": "upgrading",
}


def node_state_text(state: str) -> str:
    """A node's state in words; its spelling on the wire varies in case only."""
    return _STATES.get(state.lower(), flat(state).lower())


def run_started_text(event: RunStarted) -> str:
    """Which spec runs on which account."""
    account = Account(event.target, event.batch, event.storage)
    return f"{flat(event.name)} on {account_line(account)}; {units.counted(event.steps, 'step')}"


def noun(verb: str, subject: str) -> str:
    """What the items of a step are."""
    match verb:
        case Verb.UPLOAD | Verb.DOWNLOAD:
            return "file"
        case Verb.SUBMIT:
            return "task"
    if subject.startswith(("node", "pool")):
        return "node"
    return "task" if verb == Verb.WAIT else "item"


def progress_text(event: StepProgress, what: str) -> str:
    """How far a step is: ``61 of 100 files, 12.3/20.0 MiB, 61 %``."""
    parts = [f"{event.done:,} of {units.counted(event.items, what)}"]
    if event.size is not None or event.moved:
        parts.append(units.amount(event.moved, event.size))
    parts.append(f"{units.percent(*share_of(event))} %")
    return ", ".join(parts)


def share_of(event: StepProgress) -> tuple[int, int]:
    """What is done and what there is, by bytes where they are known, else by items."""
    return (event.moved, event.size) if event.size else (event.done, event.items)


def nodes_text(event: NodesSeen) -> str:
    """The nodes of a pool by state: ``2 idle, 1 starting (3 wanted)``."""
    return f"{node_counts_text(event.states) or 'none yet'} ({event.target:,} wanted)"


def node_counts_text(states: Mapping[str, int]) -> str:
    """Nodes by state: ``2 idle, 1 starting``."""
    return ", ".join(f"{n:,} {node_state_text(state)}" for state, n in states.items() if n)


def tasks_text(event: TasksSeen) -> str:
    """The tasks of a job: ``61 of 100 done, 2 failed, 8 running, 31 waiting``."""
    parts = [f"{event.succeeded + event.failed:,} of {units.counted(event.total, 'task')} done"]
    counts = ((event.failed, "failed"), (event.running, "running"), (event.active, "waiting"))
    return ", ".join([*parts, *(f"{count:,} {name}" for count, name in counts if count)])


def stage_lines(stages: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
    """The tasks of each stage: ``map: 198 of 200 done, 198 succeeded, 2 waiting``."""
    for name, counts in stages.items():
        yield f"{flat(name)}: {stage_text(counts)}"


def stage_text(counts: Mapping[str, int]) -> str:
    """The tasks of a stage: ``200 of 200 done, 198 succeeded, 2 failed``."""
    number = Counter(counts)
    parts = [f"{number['succeeded'] + number['failed']:,} of {number['total']:,} done"]
    words = {"succeeded": "succeeded", "failed": "failed", "running": "running"}
    words["active"] = "waiting"
    return ", ".join(
        [*parts, *(f"{number[state]:,} {word}" for state, word in words.items() if number[state])]
    )


def waiting_lines(event: Waiting) -> Iterator[str]:
    """A cause for which a run waits: what, why, and what to do."""
    yield flat(event.summary)
    for text in (event.detail, event.action):
        if text:
            yield f"  {flat(text)}"


def elapsed_text(began: datetime, now: datetime) -> str:
    """For how long something lasts, in brackets; empty while that is no time."""
    seconds = (now - began).total_seconds()
    return f" (for {units.duration(seconds)})" if seconds >= 1 else ""


def schedule_seen_text(event: ScheduleSeen) -> str:
    """A schedule: its state, and when its next job comes: ``schedule n: active, next job ...``."""
    return f"schedule {flat(event.schedule)}: {schedule_text(event)}"


def schedule_text(event: ScheduleSeen) -> str:
    """How it is with a schedule, and when its next job comes."""
    words = [flat(event.state)]
    if event.recent_job is not None:
        words.append(f"newest job {flat(event.recent_job)}")
    due = "no job to come" if event.next_run is None else f"next job {units.moment(event.next_run)}"
    return ", ".join([*words, due])


def task_failed_lines(event: TaskFailed) -> Iterator[str]:
    """A failed task: where, why, and the last lines of its stderr."""
    node = f" on {event.node}" if event.node else ""
    yield flat(f"task {event.task} of job {event.job} failed{node}: {task_cause(event)}")
    yield from tail_lines(event.stderr)


def task_cause(event: TaskFailed) -> str:
    """Why a task failed, in short."""
    # An exit code of 0 is not why: an output could not be uploaded, say.
    parts = [f"exit code {event.exit_code}"] if event.exit_code else []
    # That a task with an exit code other than 0 has failed is said by the code itself.
    if event.code and not (parts and event.code == "FailureExitCode"):
        parts.append(f"{event.code}: {event.message}" if event.message else event.code)
    elif event.message and not parts:
        parts.append(event.message)
    return ", ".join(parts) or "no reason given"


def node_failed_lines(event: NodeFailed) -> Iterator[str]:
    """A node that cannot take tasks, and the last lines of its start task's stderr."""
    parts = [node_state_text(event.state)]
    if event.exit_code is not None:
        parts.append(f"exit code {event.exit_code}")
    if event.message:
        parts.append(event.message)
    yield flat(f"node {event.node} of pool {event.pool} takes no tasks: {', '.join(parts)}")
    yield from tail_lines(event.stderr)


def tail_lines(stderr: str) -> Iterator[str]:
    """The last lines of a stderr, each marked as such."""
    lines = clean(stderr).rstrip().splitlines()
    for line in lines[-TAIL:]:
        yield f"  | {line}".rstrip()


def skipped_text(because: str, names: Mapping[str, str]) -> str:
    """Why a step was not run; ``names`` are the phrases of steps by id."""
    words = _BECAUSE.get(because)
    return words or f"it needs this first: {names.get(because) or flat(because)}"


def run_ended_text(event: RunEnded) -> str:
    """The last line: how the run ended, how long it took, what is left, the exit code."""
    text = outcome_text(event.outcome, event.seconds)
    if event.left:
        text += f"; left in the account: {units.listed(flat(name) for name in event.left)}"
    return f"{text} (exit code {event.exit})" if event.exit else text
