"""Progress line by line: ``plain`` for logs, ``quiet`` for failures and the outcome."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TextIO, assert_never

from batchspec.apply import events
from batchspec.apply.events import Stamped
from batchspec.render import run_text, units
from batchspec.render.diagnostics import diagnostic_text
from batchspec.render.output import LineWriter, Style, flat
from batchspec.render.progress.state import FailureGroups, Rate, Throttle
from batchspec.render.run_text import phrase

_LONG = 60
"""Seconds after which a running task is shown."""


class PlainView:
    """Writes a line for each event; progress at intervals."""

    def __init__(self, stream: TextIO) -> None:
        self._writer = LineWriter(stream)
        self._began: datetime | None = None
        self._elapsed = 0.0
        self._throttle: Throttle | None = None
        self._names: dict[str, str] = {}
        self._nouns: dict[str, str] = {}
        self._rates: dict[str, Rate] = {}
        self._seen: dict[str, object] = {}
        self._complete: set[str] = set()
        self._waits: dict[tuple[str, str], str] = {}
        self._failures = FailureGroups()

    def __call__(self, stamped: Stamped) -> None:
        if self._began is None:
            self._began = stamped.at
            self._throttle = Throttle(stamped.at)
        self._elapsed = (stamped.at - self._began).total_seconds()
        self._write_repeats(stamped.event, stamped.at)
        self._write(*self._lines(stamped))

    def _write(self, label: str, lines: Iterable[str]) -> None:
        """Write the lines of an event, the first one with the time since the run began."""
        time = units.clock(self._elapsed)
        for number, line in enumerate(lines):
            head = f"{time:>7}  {label:<7} " if number == 0 else " " * 17
            self._writer.line((head + line).rstrip())

    def _write_repeats(self, event: events.Event, at: datetime) -> None:
        """Write the number of repeated failures: before a step ends, and at intervals."""
        if not self._failures.counted:
            return
        match event:
            case events.TaskFailed() | events.NodeFailed():
                return
            case events.NodesSeen() | events.TasksSeen() | events.StepProgress():
                if self._throttle is None or not self._throttle.due("failures", at, 0):
                    return
        for line in self._failures.take():
            self._write("FAILED", [line])

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Do nothing, because written lines stay."""
        yield

    def close(self) -> None:
        """Write the failures that were only counted so far; all other lines are already written."""
        for line in self._failures.take():
            self._write("FAILED", [line])

    def _lines(  # noqa: C901, PLR0911, PLR0912  (one case an event)
        self, stamped: Stamped
    ) -> tuple[str, Iterable[str]]:
        at, event = stamped.at, stamped.event
        match event:
            case events.RunStarted():
                return "run", [run_text.run_started_text(event)]
            case events.StepStarted():
                return "start", [self._start(event, at)]
            case events.StepProgress():
                return "", self._progress(event, at)
            case events.NodesSeen():
                return "nodes", self._nodes(event, at)
            case events.PricesSeen():
                return "prices", [run_text.prices_text(event)]
            case events.TasksSeen():
                return "tasks", self._tasks(event, at)
            case events.StagesSeen():
                return "stages", self._stages(event, at)
            case events.LongestSeen():
                return "longest", self._longest(event, at)
            case events.FailuresSeen():
                return "failed", self._failed(event, at)
            case events.TaskFailed() | events.NodeFailed():
                return "FAILED", self._failures.add(event)
            case events.ScheduleSeen():
                return "next", [run_text.schedule_seen_text(event)]
            case events.Waiting():
                return self._waiting(event)
            case events.Noticed(problem):
                return "note", diagnostic_text(problem).splitlines()
            case events.StepDone():
                return "done", [_done(event)]
            case events.StepFailed():
                took = units.duration(event.seconds)
                first = f"{phrase(event.verb, event.subject)} (after {took})"
                return "FAILED", [first, *diagnostic_text(event.problem).splitlines()]
            case events.StepSkipped():
                self._names.setdefault(event.step, phrase(event.verb, event.subject))
                reason = run_text.skipped_text(event.because, self._names)
                return "skipped", [f"{phrase(event.verb, event.subject)}: {reason}"]
            case events.RunEnded():
                return "end", [run_text.run_ended_text(event)]
            case _:
                assert_never(event)

    def _waiting(self, event: events.Waiting) -> tuple[str, list[str]]:
        key = event.code, event.subject
        if event.resolved:
            return "cleared", [self._waits.pop(key, flat(" ".join(key)))]
        self._waits[key] = flat(event.summary)
        lines = list(run_text.waiting_lines(event))
        # If the cause ends the run, the failed step that follows has the details.
        return "waits", lines[:1] if event.ends else lines

    def _start(self, event: events.StepStarted, at: datetime) -> str:
        name = self._names[event.step] = phrase(event.verb, event.subject)
        self._nouns[event.step] = run_text.item_noun(event.verb, event.subject)
        self._rates[event.step] = Rate()
        self._rates[event.step].add(at, 0)
        facts = [] if event.items < 2 else [units.counted(event.items, self._nouns[event.step])]
        facts += [] if event.size is None else [units.size(event.size)]
        return f"{name} ({', '.join(facts)})" if facts else name

    def _progress(self, event: events.StepProgress, at: datetime) -> Iterator[str]:
        done, total = run_text.progress_share(event)
        rate = self._rates.setdefault(event.step, Rate())
        rate.add(at, done)
        if self._due(f"step {event.step}", event, at, done, total):
            item = self._nouns.get(event.step, "item")
            name = self._names.get(event.step, flat(event.step))
            unit = None if event.size else f"{item}s"
            progress = run_text.progress_text(event, item)
            whole = None if event.growing else total
            yield f"{name}: {progress}{_rate_text(rate, at, whole, unit)}"

    def _nodes(self, event: events.NodesSeen, at: datetime) -> Iterator[str]:
        # Without nodes and a target, the pool is deleted.
        counts = (event.states, event.target)
        if any(counts) and self._due(f"pool {event.pool}", counts, at, 0, 1):
            yield f"pool {flat(event.pool)}: {run_text.nodes_text(event)}"

    def _tasks(self, event: events.TasksSeen, at: datetime) -> Iterator[str]:
        subject = f"job {event.job}"
        done = event.succeeded + event.failed
        rate = self._rates.setdefault(subject, Rate())
        rate.add(at, done)
        counts = (event.active, event.running, event.succeeded, event.failed, event.total)
        if self._due(subject, counts, at, done, event.total):
            text = f"{flat(subject)}: {run_text.tasks_text(event)}"
            # The rate of earlier tasks predicts nothing while tasks only wait for nodes, or when
            # the last tasks run.
            waiting = event.total - done - event.running
            if event.running or not event.active:
                text += _rate_text(rate, at, event.total if waiting > 0 else None, "tasks")
            if event.left is not None and done < event.total:
                text += f", limit in {units.duration(event.left)}"
            yield text

    def _stages(self, event: events.StagesSeen, at: datetime) -> Iterator[str]:
        if event.final:
            yield from run_text.stage_lines(event.stages, over=True)
        elif self._due(f"stages {event.job}", event.stages, at, 0, 1):
            yield from run_text.stage_lines(event.stages, over=False)

    def _longest(self, event: events.LongestSeen, at: datetime) -> Iterator[str]:
        """The tasks that have run for a minute or longer."""
        tasks = [task for task in event.tasks if task.seconds >= _LONG]
        if tasks and self._due(f"longest {event.job}", event, at, 0, 1):
            yield units.listed(run_text.running_task_text(task) for task in tasks)

    def _failed(self, event: events.FailuresSeen, at: datetime) -> Iterator[str]:
        """The causes, if there is a new one or the number of failed tasks has doubled."""
        count = sum(each.count for each in event.causes)
        value = frozenset(each.cause for each in event.causes), count.bit_length()
        if self._due(f"failed {event.job}", value, at, 0, 1):
            yield f"job {flat(event.job)}: {run_text.causes_text(event)}"

    def _due(self, subject: str, value: object, at: datetime, done: int, total: int) -> bool:
        """Whether to report a subject: its value changed, and it is due or complete.

        A growing total can be reached repeatedly: only the first time is reported immediately.
        """
        if self._seen.get(subject) == value or self._throttle is None:
            return False
        due = self._throttle.due(subject, at, done / total if total else 1.0)
        complete = done >= total
        if not due and (not complete or subject in self._complete):
            return False
        self._seen[subject] = value
        (self._complete.add if complete else self._complete.discard)(subject)
        return True


def _rate_text(rate: Rate, at: datetime, total: int | None, noun: str | None) -> str:
    """Rate and time left until ``total``, of items or (without a noun) of bytes."""
    speed = rate.per_second(at)
    if speed is None:
        return ""
    text = f", {units.rate(speed, noun) if noun else units.byte_rate(speed)}"
    left = None if total is None else rate.seconds_left(at, total)
    return f"{text}, {units.estimate(left)} left" if left else text


def _done(event: events.StepDone) -> str:
    facts = [units.duration(event.seconds)]
    if event.items > 1:
        facts.append(units.counted(event.items, run_text.item_noun(event.verb, event.subject)))
    if event.size:
        facts.append(units.size(event.size))
    if event.note:
        facts.append(flat(event.note))
    return f"{phrase(event.verb, event.subject)} ({', '.join(facts)})"


class QuietView:
    """Writes diagnostics, failed tasks and nodes, and the outcome of the run."""

    def __init__(self, stream: TextIO, *, color: bool = False) -> None:
        self._writer = LineWriter(stream)
        self._color = color
        self._style = Style(color)
        self._failures = FailureGroups()

    def __call__(self, stamped: Stamped) -> None:
        for line in self._lines(stamped.event):
            self._writer.line(line)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Do nothing, because written lines stay."""
        yield

    def close(self) -> None:
        """Write the failures that were only counted so far; all other lines are already written."""
        for line in self._in_red(self._failures.take()):
            self._writer.line(line)

    def _lines(self, event: events.Event) -> Iterator[str]:
        match event:
            case events.TaskFailed() | events.NodeFailed():
                yield from self._in_red(self._failures.add(event))
            case events.Noticed(problem):
                yield diagnostic_text(problem, color=self._color)
            case events.StepFailed():
                yield from self._in_red(self._failures.take())
                yield self._style("error", f"{phrase(event.verb, event.subject)} failed")
                yield diagnostic_text(event.problem, color=self._color)
            case events.RunEnded():
                yield from self._in_red(self._failures.take())
                yield run_text.run_ended_text(event)
            case (
                events.RunStarted()
                | events.StepStarted()
                | events.StepProgress()
                | events.NodesSeen()
                | events.PricesSeen()
                | events.TasksSeen()
                | events.StagesSeen()
                | events.LongestSeen()
                | events.FailuresSeen()
                | events.ScheduleSeen()
                | events.Waiting()
                | events.StepDone()
                | events.StepSkipped()
            ):
                pass
            case _:
                assert_never(event)

    def _in_red(self, lines: Iterable[str]) -> Iterator[str]:
        """Failures in the colour of an error; the lines of stderr without it."""
        for line in lines:
            yield line if line.startswith("  |") else self._style("error", line)
