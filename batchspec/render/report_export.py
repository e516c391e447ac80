"""The report of a run for other tools: JSON, a table of tasks as CSV, and trace events.

Each function yields parts of the text, so that a large run is written in bounded memory.
"""

from __future__ import annotations

import csv
import heapq
import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields

from batchspec.render.json_lines import NodeRow, TaskRow
from batchspec.render.output import json_text
from batchspec.render.report import StepState, report_json
from batchspec.render.report_page.history import RunHistory, combined_report, seconds_of
from batchspec.render.run_text import phrase

_TASK_FIELDS = tuple(field.name for field in fields(TaskRow))
_NODE_FIELDS = tuple(field.name for field in fields(NodeRow))


def report_as_json(history: RunHistory) -> Iterator[str]:
    """One object: the report of the run and of each attempt, all tasks and all nodes.

    Each task and node is on a separate line. ``superseded``: the task ran again since.
    """
    attempts = [
        {"id": attempt.id, **report_json(attempt.timeline.report)} for attempt in history.attempts
    ]
    head = {"version": 1, "run": report_json(combined_report(history.attempts))}
    yield json_text(head)[:-1] + ',"attempts":' + json_text(attempts) + ',\n"tasks":['
    separator = "\n"
    for row, superseded in history.tasks():
        values = {name: getattr(row, name) for name in _TASK_FIELDS}
        yield separator + json_text({**values, "seconds": _took(row), "superseded": superseded})
        separator = ",\n"
    yield '\n],\n"nodes":['
    separator = "\n"
    for node in history.nodes:
        yield separator + json_text({name: getattr(node, name) for name in _NODE_FIELDS})
        separator = ",\n"
    yield "\n]}\n"


def tasks_as_csv(history: RunHistory) -> Iterator[str]:
    """A line for each execution of a task, with the names of the columns in the first line."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")

    def line(values: Iterable[object]) -> str:
        buffer.seek(0)
        buffer.truncate()
        writer.writerow(["" if value is None else value for value in values])
        return buffer.getvalue()

    yield line((*_TASK_FIELDS, "seconds", "superseded"))
    for row, superseded in history.tasks():
        values = (getattr(row, name) for name in _TASK_FIELDS)
        yield line((*values, _took(row), "true" if superseded else "false"))


def _took(row: TaskRow) -> float | None:
    began, ended = seconds_of(row.started), seconds_of(row.ended)
    return round(ended - began, 3) if began is not None and ended is not None else None


_STEPS = 0
"""The process of the trace that contains the steps; each node is another one."""


def run_as_trace(history: RunHistory) -> Iterator[str]:
    """Trace events in the JSON format of Chrome and Perfetto.

    A process for each node with a thread for each task that runs at the same time, and one for the
    steps. Times are microseconds since 1970.

    Source: Trace Event Format, "Complete Events" and "Metadata Events".
    """
    yield '{"displayTimeUnit":"ms","traceEvents":['
    separator = "\n"
    for event in _trace_events(history):
        yield separator + json_text(event)
        separator = ",\n"
    yield "\n]}\n"


def _trace_events(history: RunHistory) -> Iterator[dict[str, object]]:
    yield from _named(_STEPS, "batchspec")
    yield from _step_events(history)
    spans = sorted(_task_spans(history), key=lambda span: span[:2])
    processes: dict[str, int] = {}
    lanes: dict[str, _Lanes] = {}
    for began, ended, row, superseded in spans:
        if row.node not in processes:
            processes[row.node] = len(processes) + 1
            lanes[row.node] = _Lanes()
            yield from _named(processes[row.node], row.node or "unknown node")
        arguments = {
            "job": row.job,
            "inputs": row.name,
            "state": row.state,
            "exit_code": row.exit_code,
            "cause": row.cause,
            "retries": row.retries,
            "superseded": superseded,
        }
        lane = lanes[row.node].take(began, ended)
        yield _complete(
            processes[row.node],
            lane,
            (began, ended),
            arguments,
            name=row.id,
            category=row.stage,
        )


def _step_events(history: RunHistory) -> Iterator[dict[str, object]]:
    lanes = _Lanes()
    for attempt in history.attempts:
        report = attempt.timeline.report
        steps = {step.step: step for step in report.steps}
        start = report.began.timestamp() if report.began else 0.0
        for span in attempt.timeline.spans:
            step = steps.get(span.step)
            if step is None or step.state is StepState.SKIPPED:
                continue
            times = start + span.begin, start + span.end
            arguments = {
                "attempt": attempt.id,
                "state": step.state.value,
                "items": step.items,
                "bytes": step.size,
            }
            yield _complete(
                _STEPS,
                lanes.take(*times),
                times,
                arguments,
                name=phrase(step.verb, step.subject),
                category=step.verb,
            )


def _task_spans(history: RunHistory) -> Iterator[tuple[float, float, TaskRow, bool]]:
    for row, superseded in history.tasks():
        began, ended = seconds_of(row.started), seconds_of(row.ended)
        if began is not None and ended is not None:
            yield began, ended, row, superseded


class _Lanes:
    """Threads of a process: a thread takes the next span after its last span has ended."""

    def __init__(self) -> None:
        self._busy: list[tuple[float, int]] = []
        self._free: list[int] = []
        self._count = 0

    def take(self, began: float, ended: float) -> int:
        """The lowest free thread; spans must be in the order of their start."""
        while self._busy and self._busy[0][0] <= began:
            heapq.heappush(self._free, heapq.heappop(self._busy)[1])
        if not self._free:
            self._count += 1
            self._free.append(self._count)
        lane = heapq.heappop(self._free)
        heapq.heappush(self._busy, (ended, lane))
        return lane


def _named(process: int, name: str) -> Iterator[dict[str, object]]:
    yield {"ph": "M", "pid": process, "name": "process_name", "args": {"name": name}}
    yield {
        "ph": "M",
        "pid": process,
        "name": "process_sort_index",
        "args": {"sort_index": process},
    }


def _complete(
    process: int,
    thread: int,
    times: tuple[float, float],
    arguments: Mapping[str, object],
    *,
    name: str,
    category: str,
) -> dict[str, object]:
    began, ended = times
    return {
        "ph": "X",
        "pid": process,
        "tid": thread,
        "name": name,
        "cat": category,
        "ts": round(began * 1e6),
        "dur": round((ended - began) * 1e6),
        "args": arguments,
    }
