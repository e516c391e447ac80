"""Recorded runs, written by hand: streams of stamped events."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from batchspec.apply import events as e
from batchspec.apply.events import Event, Outcome, Stamped
from batchspec.diagnostics import Diagnostic, Severity

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

LOCAL = ("local", "http://127.0.0.1:43210", "http://127.0.0.1:10000/batchspec")
AZURE = (
    "azure",
    "https://mybatch.westeurope.batch.azure.com",
    "https://mydata.blob.core.windows.net",
)


@dataclass
class Tape:
    """Events with their seconds since the start."""

    stamped: list[Stamped] = field(default_factory=list)

    def at(self, seconds: float, *events: Event) -> None:
        for event in events:
            number, now = len(self.stamped) + 1, START + timedelta(seconds=seconds)
            self.stamped.append(Stamped(number, now, _timed(event, now)))


def _timed(event: Event, now: datetime) -> Event:
    """Nodes with their size, kind and time, which most recordings leave out."""
    if not isinstance(event, e.NodesSeen) or event.service_time is not None:
        return event
    nodes = sum(event.states.values())
    return replace(event, vm_size="standard_d2s_v5", dedicated=nodes, service_time=now)


def step(
    tape: Tape, begin: float, end: float, name: str, verb: str, subject: str, **done: object
) -> None:
    """Add a step without progress."""
    items = int(str(done.pop("items", 1)))
    tape.at(begin, e.StepStarted(name, verb, subject, items))
    tape.at(end, e.StepDone(name, verb, subject, items, end - begin, **done))  # type: ignore[arg-type]


def _good() -> Tape:
    """The tutorial, on the embedded service."""
    tape = Tape()
    tape.at(0, e.PricesSeen("standard_d2s_v5", "USD", 0.1, unknown="no row", source="given"))
    tape.at(0, e.RunStarted("topn", *LOCAL, 14))
    step(tape, 0.0, 0.1, "container:application", "create", "container application")
    step(tape, 0.0, 0.1, "container:input", "create", "container input")
    step(tape, 0.0, 0.1, "container:output", "create", "container output", note="it existed")
    tape.at(0.1, e.StepStarted("upload:input", "upload", "files to input", 3, 12_345))
    step(tape, 0.1, 0.2, "upload:application", "upload", "files to application", size=9_000)
    tape.at(0.2, e.StepProgress("upload:input", 2, 3, 8_000, 12_345))
    tape.at(0.3, e.StepDone("upload:input", "upload", "files to input", 3, 0.2, 12_345))
    step(tape, 0.2, 0.4, "pool:topn", "create", "pool topn", items=3)
    tape.at(0.4, e.StepStarted("pool:topn:ready", "wait", "nodes of topn", 3))
    tape.at(0.4, e.NodesSeen("topn", {"starting": 3}, 3))
    step(tape, 0.4, 0.5, "job:topn", "create", "job topn")
    step(tape, 0.5, 0.6, "tasks:count", "submit", "tasks of count", items=3)
    step(tape, 0.6, 0.7, "job:topn:close", "update", "job topn")
    tape.at(1.5, e.NodesSeen("topn", {"idle": 2, "waitingForStartTask": 1}, 3))
    tape.at(1.5, e.StepDone("pool:topn:ready", "wait", "nodes of topn", 2, 1.1))
    tape.at(1.5, e.StepStarted("job:topn:done", "wait", "tasks of topn", 3))
    tape.at(1.6, e.TasksSeen("topn", 3, 1, 2, 0, 0, 1799.0))
    tape.at(1.7, e.NodesSeen("topn", {"running": 2, "idle": 1}, 3))
    tape.at(2.8, e.TasksSeen("topn", 3, 0, 1, 2, 0, 1797.8))
    tape.at(3.2, e.TasksSeen("topn", 3, 0, 0, 3, 0, 1797.4))
    tape.at(3.2, e.NodesSeen("topn", {"idle": 3}, 3))
    tape.at(3.2, e.StepDone("job:topn:done", "wait", "tasks of topn", 3, 1.7))
    step(tape, 3.2, 3.4, "results", "download", "results from output", items=3, size=420)
    tape.at(3.4, e.StepStarted("cleanup:pool", "delete", "pool topn"))
    tape.at(4.1, e.StepDone("cleanup:pool", "delete", "pool topn", 1, 0.7))
    tape.at(4.1, e.StepSkipped("cleanup:job", "delete", "job topn", "declined"))
    tape.at(4.2, e.RunEnded(Outcome.DONE, 4.2, 0, ("job topn",)))
    return tape


def _upload() -> Tape:
    """A long upload to Azure while the pool allocates, cut off by Ctrl-C."""
    tape = Tape()
    size = 20 * 1024**3
    tape.at(0, e.RunStarted("render", *AZURE, 9))
    step(tape, 0.0, 1.2, "container:input", "create", "container input")
    step(tape, 1.2, 2.0, "pool:render", "create", "pool render", items=40)
    tape.at(2.0, e.StepStarted("upload:input", "upload", "files to input", 1000, size))
    tape.at(2.0, e.StepStarted("pool:render:ready", "wait", "nodes of render", 40))
    for second in range(1, 241):
        moved = size * second // 600
        tape.at(2 + second, e.StepProgress("upload:input", moved * 1000 // size, 1000, moved, size))
        if second % 20 == 0:
            nodes = min(second // 6, 40)
            states = {"creating": nodes // 2, "idle": nodes - nodes // 2}
            tape.at(2 + second, e.NodesSeen("render", states, 40))
    tape.at(242.5, e.StepSkipped("upload:input", "upload", "files to input", "interrupted"))
    tape.at(242.5, e.StepSkipped("pool:render:ready", "wait", "nodes of render", "interrupted"))
    tape.at(242.5, e.StepSkipped("tasks:frame", "submit", "tasks of frame", "interrupted"))
    left = ("pool render", "container input")
    tape.at(242.6, e.RunEnded(Outcome.INTERRUPTED, 242.6, 130, left, "batchspec apply render.yaml"))
    return tape


def _failed_task() -> Tape:
    """One task of three fails; nothing is downloaded or cleaned up."""
    tape = Tape()
    tape.at(0, e.RunStarted("topn", *LOCAL, 5))
    step(tape, 0, 0.3, "tasks:count", "submit", "tasks of count", items=3)
    tape.at(0.3, e.StepStarted("job:topn:done", "wait", "tasks of topn", 3))
    tape.at(0.4, e.NodesSeen("topn", {"running": 3}, 3))
    tape.at(0.4, e.TasksSeen("topn", 3, 0, 3, 0, 0, 1800.0))
    tape.at(1.9, e.TasksSeen("topn", 3, 0, 1, 1, 1, 1798.5))
    tape.at(
        1.9,
        e.TaskFailed(
            "topn",
            "count-b-2f1c09aa",
            1,
            "FailureExitCode",
            "The task exited with an exit code representing a failure",
            "Traceback (most recent call last):\n"
            '  File "/mnt/batch/tasks/shared/topn.py", line 12, in <module>\n'
            "    main()\n"
            "UnicodeDecodeError: 'utf-8' codec can't decode byte 0xff in position 0\n",
            "tvm-2",
        ),
    )
    tape.at(2.4, e.TasksSeen("topn", 3, 0, 0, 2, 1, 1798.0))
    tape.at(2.4, e.StepDone("job:topn:done", "wait", "tasks of topn", 3, 2.1, note="1 failed"))
    tape.at(2.4, e.StepSkipped("results", "download", "results from output", "tasks_failed"))
    tape.at(2.4, e.StepSkipped("cleanup:pool", "delete", "pool topn", "tasks_failed"))
    tape.at(2.4, e.StepSkipped("cleanup:job", "delete", "job topn", "tasks_failed"))
    tape.at(2.5, e.RunEnded(Outcome.TASKS_FAILED, 2.5, 3, ("pool topn", "job topn")))
    return tape


def _start_task() -> Tape:
    """The start task fails on every node: the run ends."""
    tape = Tape()
    tape.at(0, e.RunStarted("topn", *LOCAL, 5))
    step(tape, 0, 0.4, "pool:topn", "create", "pool topn", items=2)
    tape.at(0.4, e.StepStarted("pool:topn:ready", "wait", "nodes of topn", 2))
    tape.at(0.4, e.NodesSeen("topn", {"waitingforstarttask": 2}, 2))
    tape.at(2.0, e.NodesSeen("topn", {"starttaskfailed": 2}, 2))
    message = "The task exited with an exit code; AdditionalErrorCode: FailureExitCode"
    stderr = "cp: cannot stat 'topn.py': No such file or directory\n"
    for node in (f"tvmps_{'0f' * 32}_d", f"tvmps_{'1e' * 32}_d"):
        tape.at(2.0, e.NodeFailed("topn", node, "starttaskfailed", 1, message, stderr))
    problem = Diagnostic(
        "start-task-failed",
        "start task failed on 2 of 2 nodes of the pool 'topn' (exit code 1)",
        fix="Fix `pool.start_task` and apply again; `batchspec logs --start-task NODE` shows its "
        "output.",
    )
    tape.at(2.0, e.StepFailed("pool:topn:ready", "wait", "nodes of topn", 1.6, problem))
    tape.at(2.0, e.StepSkipped("job:done", "wait", "tasks of topn", "pool:topn:ready"))
    tape.at(2.0, e.StepSkipped("results", "download", "results from output", "job:done"))
    tape.at(2.0, e.StepSkipped("cleanup:pool", "delete", "pool topn", "failed"))
    tape.at(2.1, e.RunEnded(Outcome.FAILED, 2.1, 4, ("pool topn",)))
    return tape


def _nothing() -> Tape:
    """A finished run, applied again."""
    tape = Tape()
    tape.at(0, e.RunStarted("topn", *LOCAL, 0))
    tape.at(0, e.RunEnded(Outcome.NOTHING_TO_DO, 0.0, 0))
    return tape


def _scheduled() -> Tape:
    """A job schedule is created: the run ends, and the schedule creates jobs."""
    tape = Tape()
    tape.at(0, e.RunStarted("nightly", *AZURE, 2))
    step(tape, 0, 0.4, "container:output", "create", "container output")
    tape.at(0.4, e.StepStarted("schedule:nightly", "create", "schedule nightly"))
    due = datetime(2026, 1, 3, 2, 0, tzinfo=UTC)
    tape.at(1.1, e.ScheduleSeen("nightly", "active", due, "nightly:job-1"))
    tape.at(1.1, e.StepDone("schedule:nightly", "create", "schedule nightly", 1, 0.7))
    tape.at(1.1, e.RunEnded(Outcome.SCHEDULED, 1.1, 0))
    return tape


def _time_limit() -> Tape:
    """The time limit of the job is reached before all tasks are done."""
    tape = Tape()
    tape.at(0, e.RunStarted("sweep", *AZURE, 3))
    step(tape, 0, 3, "tasks:run", "submit", "tasks of run", items=500)
    tape.at(3, e.StepStarted("job:done", "wait", "tasks of sweep", 500))
    for second in range(10, 1800, 60):
        done = second // 10
        tape.at(second, e.TasksSeen("sweep", 500, 496 - done, 4, done, 0, 1800.0 - second))
        tape.at(second, e.NodesSeen("sweep", {"running": 4}, 4))
    tape.at(1800, e.TasksSeen("sweep", 500, 316, 4, 180, 0, 0.0))
    problem = Diagnostic(
        "time-limit",
        "the job 'sweep' was ended: its time limit has passed",
        detail="320 tasks did not run to their end.",
        fix="Give `job.max_wall_clock_time` more, and apply again: what is done is kept.",
        severity=Severity.WARNING,
    )
    tape.at(1800, e.Noticed(problem))
    swept = {"total": 499, "active": 315, "running": 4, "succeeded": 180, "failed": 0}
    merged = {"total": 1, "active": 1, "running": 0, "succeeded": 0, "failed": 0}
    tape.at(1800, e.StagesSeen("sweep", {"run": swept, "merge": merged}))
    tape.at(1800, e.StepDone("job:done", "wait", "tasks of sweep", 180, 1797.0))
    tape.at(1800, e.StepSkipped("results", "download", "results from out", "time_limit"))
    tape.at(1801, e.RunEnded(Outcome.TIME_LIMIT, 1801.0, 7, ("pool sweep", "job sweep")))
    return tape


def _waiting() -> Tape:
    """The quota allows one node of three, the service is busy, and a task can never start."""
    tape = Tape()
    tape.at(0, e.RunStarted("merge", *AZURE, 2))
    tape.at(0, e.StepStarted("job:done", "wait", "tasks of merge", 3))
    tape.at(1, e.NodesSeen("merge", {"running": 1}, 3))
    tape.at(1, e.TasksSeen("merge", 3, 2, 1, 0, 0, 600.0))
    few = e.Waiting(
        "fewer-nodes",
        "pool merge",
        "1 of 3 nodes: AccountCoreQuotaReached",
        START + timedelta(seconds=1),
        "Delete unused pools (`batchspec list`), or have the quota raised.",
        "The specified account has reached core quota",
    )
    host = "service mybatch.westeurope.batch.azure.com"
    tape.at(1, few)
    tape.at(20, e.Waiting("service-busy", host, "the service is busy (429)", None, "Wait."))
    tape.at(50, e.Waiting("service-busy", host, resolved=True))
    tape.at(60, e.TasksSeen("merge", 3, 1, 0, 2, 0, 540.0))
    never = e.Waiting(
        "dependency-missing",
        "job merge",
        "the task 'report' waits for task 'summ', which does not exist",
        START + timedelta(seconds=62),
        "Correct the id in `depends_on`, or add the task, and apply again.",
        ends=True,
    )
    tape.at(62, never)
    problem = Diagnostic(never.code, never.summary, fix=never.action)
    tape.at(62, e.StepFailed("job:done", "wait", "tasks of merge", 62.0, problem))
    tape.at(62, e.StepSkipped("cleanup:pool", "delete", "pool merge", "failed"))
    tape.at(63, e.RunEnded(Outcome.FAILED, 63.0, 4, ("pool merge", "job merge")))
    return tape


def _large() -> Tape:
    """1,000 nodes and 1,000,000 tasks; a few of both fail."""
    tape = Tape()
    total = 1_000_000
    tape.at(0, e.RunStarted("million", *AZURE, 22))
    for number in range(14):
        step(tape, 0, 1 + number, f"container:{number}", "create", f"container part-{number:02}")
    tape.at(15, e.StepStarted("tasks:work", "submit", "tasks of work", total))
    tape.at(15, e.StepStarted("job:done", "wait", "tasks of million", total))
    for minute in range(1, 101):
        at = 15 + minute * 60.0
        sent, done = min(minute * 20_000, total), minute * 10_000
        tape.at(at, e.StepProgress("tasks:work", sent, total))
        if sent == total and minute == 50:
            tape.at(at, e.StepDone("tasks:work", "submit", "tasks of work", total, at - 15))
        failed = minute // 10
        states = {"running": 940, "idle": 12, "starting": 40, "unusable": 2, "leavingpool": 3}
        tape.at(at, e.NodesSeen("million", states, 1000))
        tape.at(
            at,
            e.TasksSeen(
                "million",
                total,
                sent - done if sent - done < 940 else sent - done - 940,
                0 if sent - done < 940 else 940,
                done - failed,
                failed,
                86_400.0 - at,
            ),
        )
        if minute % 10 == 0:
            code = ("FileUploadMiscError", "one or more output files could not be uploaded")
            tape.at(at, e.TaskFailed("million", f"work-{minute:06}", 0, *code, "", "tvm-7"))
    tape.at(6015, e.StepDone("job:done", "wait", "tasks of million", total, 6000.0))
    tape.at(6016, e.RunEnded(Outcome.TASKS_FAILED, 6016.0, 3, ("pool million",)))
    return tape


def _stages() -> Tape:
    """100,000 tasks in two stages; some fail for different causes, and the last ones take long."""
    tape = Tape()
    total = 99_999
    tape.at(0, e.RunStarted("sweep", *AZURE, 12))
    step(tape, 0, 2, "pool:sweep", "create", "pool sweep", items=64)
    step(tape, 2, 60, "tasks:map", "submit", "tasks of map", items=total)
    tape.at(2, e.StepStarted("job:done", "wait", "tasks of sweep", total + 1))
    for second in range(10, 1001, 10):
        done, failed = min(second * 100, total), second // 10
        running = min(256, total - done)
        active = total - done - running
        tape.at(second, e.NodesSeen("sweep", {"running": 62, "starttaskfailed": 2}, 64))
        tape.at(
            second, e.TasksSeen("sweep", total + 1, active + 1, running, done - failed, failed, 7e3)
        )
        counts = {"total": total, "active": active, "running": running}
        counts |= {"succeeded": done - failed, "failed": failed}
        last = {"total": 1, "active": 1, "running": 0, "succeeded": 0, "failed": 0}
        tape.at(second, e.StagesSeen("sweep", {"map": counts, "merge": last}, final=False))
        exits = e.FailedTasks("exit-137", failed - failed // 5, "map-000011-9c2f")
        late = [e.FailedTasks("timeout", failed // 5, "map-000404-77aa")] if failed >= 5 else []
        tape.at(second, e.FailuresSeen("sweep", (exits, *late)))
    stderr = "Killed\n"
    tape.at(
        10,
        e.TaskFailed("sweep", "map-000011-9c2f", 137, "FailureExitCode", "", stderr, "tvm-9"),
        e.LongestSeen(
            "sweep",
            (
                e.RunningTask("map-000012-1f00", "tvm-3", 9.5),
                e.RunningTask("map-000020-8b4e", "tvm-21", 8.0),
                e.RunningTask("map-000031-c0de", "tvm-7", 7.9),
            ),
        ),
    )
    # Only stragglers remain.
    for second in range(1010, 1111, 20):
        tape.at(second, e.TasksSeen("sweep", total + 1, 1, 3, total - 103, 100, 6e3))
        counts = {"total": total, "active": 0, "running": 3}
        counts |= {"succeeded": total - 103, "failed": 100}
        tape.at(second, e.StagesSeen("sweep", {"map": counts, "merge": last}, final=False))
    tape.at(1120, e.StepSkipped("job:done", "wait", "tasks of sweep", "interrupted"))
    left = ("pool sweep", "job sweep")
    again = "batchspec apply sweep.yaml"
    tape.at(1120, e.RunEnded(Outcome.INTERRUPTED, 1120.0, 130, left, again))
    return tape


RECORDINGS: dict[str, list[Stamped]] = {
    "good": _good().stamped,
    "interrupted": _upload().stamped,
    "failed-task": _failed_task().stamped,
    "start-task-failed": _start_task().stamped,
    "nothing-to-do": _nothing().stamped,
    "time-limit": _time_limit().stamped,
    "large": _large().stamped,
    "scheduled": _scheduled().stamped,
    "waiting": _waiting().stamped,
    "stages": _stages().stamped,
}
"""Every recording by name; in each, time only goes forward."""

for _stream in RECORDINGS.values():
    _stream.sort(key=lambda stamped: stamped.at)
    _stream[:] = [Stamped(n, s.at, s.event) for n, s in enumerate(_stream, 1)]


def kinds(streams: Iterable[list[Stamped]]) -> Iterator[type]:
    """The classes of all events in them."""
    for stream in streams:
        for stamped in stream:
            yield type(stamped.event)
