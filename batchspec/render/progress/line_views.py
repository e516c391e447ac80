"""Progress line by line: `plain` for logs, `quiet` for failures alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TextIO, assert_never

from batchspec.apply import events
from batchspec.apply.events import Stamped
from batchspec.render import event_text, units
from batchspec.render.diagnostics import diagnostic_text
from batchspec.render.output import LineWriter, flat
from batchspec.render.progress.rate import FailureLimit, Rate, Throttle
from batchspec.render.step_text import phrase
from batchspec.render.style import Style


class PlainView:
    """Writes a line for each event; of progress, only now and then."""

    def __init__(self, stream: TextIO) -> None:
        self._writer = LineWriter(stream)
        self._began: datetime | None = None
        self._throttle: Throttle | None = None
        self._names: dict[str, str] = {}
        self._nouns: dict[str, str] = {}
        self._paces: dict[str, Rate] = {}
        self._seen: dict[str, object] = {}
        self._ended: set[str] = set()
        self._waits: dict[tuple[str, str], str] = {}
        self._limit = FailureLimit()

    def __call__(self, stamped: Stamped) -> None:
        if self._began is None:
            self._began = stamped.at
            self._throttle = Throttle(stamped.at)
        time = f"{units.clock((stamped.at - self._began).total_seconds()):>7}  "
        label, texts = self._words(stamped)
        for number, text in enumerate(texts):
            head = f"{time}{label:<7} " if number == 0 else " " * 17
            self._writer.line((head + text).rstrip())

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Nothing to do: lines stay where they are."""
        yield

    def close(self) -> None:
        """Nothing to do: every line is written at once."""

    def _words(  # noqa: PLR0911, PLR0912  (one case an event)
        self, stamped: Stamped
    ) -> tuple[str, Iterable[str]]:
        at, event = stamped.at, stamped.event
        match event:
            case events.RunStarted():
                return "run", [event_text.run_started_text(event)]
            case events.StepStarted():
                return "start", [self._start(event, at)]
            case events.StepProgress():
                return "", self._progress(event, at)
            case events.NodesSeen():
                return "nodes", self._nodes(event, at)
            case events.TasksSeen():
                return "tasks", self._tasks(event, at)
            case events.StagesSeen():
                return "stages", event_text.stage_lines(event.stages)
            case events.TaskFailed():
                return "FAILED", self._limit("task", event_text.task_failed_lines(event))
            case events.NodeFailed():
                return "FAILED", self._limit("node", event_text.node_failed_lines(event))
            case events.ScheduleSeen():
                return "next", [event_text.schedule_seen_text(event)]
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
                why = event_text.skipped_text(event.because, self._names)
                return "skipped", [f"{phrase(event.verb, event.subject)}: {why}"]
            case events.RunEnded():
                return "end", [event_text.run_ended_text(event)]
            case _:
                assert_never(event)

    def _waiting(self, event: events.Waiting) -> tuple[str, list[str]]:
        key = event.code, event.subject
        if event.resolved:
            return "cleared", [self._waits.pop(key, flat(" ".join(key)))]
        self._waits[key] = flat(event.summary)
        words = list(event_text.waiting_lines(event))
        # A cause that ends the run is told in full by the failure that follows.
        return "waits", words[:1] if event.ends else words

    def _start(self, event: events.StepStarted, at: datetime) -> str:
        name = self._names[event.step] = phrase(event.verb, event.subject)
        self._nouns[event.step] = event_text.noun(event.verb, event.subject)
        self._paces[event.step] = Rate()
        self._paces[event.step].see(at, 0)
        much = [] if event.items < 2 else [units.counted(event.items, self._nouns[event.step])]
        much += [] if event.size is None else [units.size(event.size)]
        return f"{name} ({', '.join(much)})" if much else name

    def _progress(self, event: events.StepProgress, at: datetime) -> Iterator[str]:
        done, whole = event_text.share_of(event)
        pace = self._paces.setdefault(event.step, Rate())
        pace.see(at, done)
        if self._again(f"step {event.step}", event, at, done, whole):
            what = self._nouns.get(event.step, "item")
            words = f"{self._names.get(event.step, flat(event.step))}: "
            words += event_text.progress_text(event, what)
            yield words + self._speed(pace, at, whole, None if event.size else f"{what}s")

    def _nodes(self, event: events.NodesSeen, at: datetime) -> Iterator[str]:
        if self._again(f"pool {event.pool}", event, at, 0, 1):
            yield f"pool {flat(event.pool)}: {event_text.nodes_text(event)}"

    def _tasks(self, event: events.TasksSeen, at: datetime) -> Iterator[str]:
        subject = f"job {event.job}"
        done = event.succeeded + event.failed
        pace = self._paces.setdefault(subject, Rate())
        pace.see(at, done)
        same = (event.active, event.running, event.succeeded, event.failed, event.total)
        if self._again(subject, same, at, done, event.total):
            words = f"{flat(subject)}: {event_text.tasks_text(event)}"
            # While nothing runs there is no telling how long it takes.
            if event.running or not event.active:
                words += self._speed(pace, at, event.total, "tasks")
            if event.left is not None and done < event.total:
                words += f", limit in {units.duration(event.left)}"
            yield words

    def _again(self, subject: str, news: object, at: datetime, done: int, whole: int) -> bool:
        """Whether to speak of it: it is news, and it is time or it has come to its end.

        What grows may come to its end time and again: only the first is told at once.
        """
        if self._seen.get(subject) == news or self._throttle is None:
            return False
        due = self._throttle.due(subject, at, done / whole if whole else 1.0)
        ended = done >= whole
        if not due and (not ended or subject in self._ended):
            return False
        self._seen[subject] = news
        (self._ended.add if ended else self._ended.discard)(subject)
        return True

    @staticmethod
    def _speed(pace: Rate, at: datetime, whole: int, noun: str | None) -> str:
        """Rate and time left, of items or (without a noun) of bytes."""
        speed = pace.rate(at)
        if speed is None:
            return ""
        text = f", {units.rate(speed, noun) if noun else units.byte_rate(speed)}"
        left = pace.left(at, whole)
        return f"{text}, {units.duration(left)} left" if left else text


def _done(event: events.StepDone) -> str:
    facts = [units.duration(event.seconds)]
    if event.items > 1:
        facts.append(units.counted(event.items, event_text.noun(event.verb, event.subject)))
    if event.size:
        facts.append(units.size(event.size))
    if event.note:
        facts.append(flat(event.note))
    return f"{phrase(event.verb, event.subject)} ({', '.join(facts)})"


class QuietView:
    """Writes problems, failed tasks and nodes, and how the run ended."""

    def __init__(self, stream: TextIO, *, color: bool = False) -> None:
        self._writer = LineWriter(stream)
        self._color = color
        self._ink = Style(color)
        self._limit = FailureLimit()

    def __call__(self, stamped: Stamped) -> None:
        for line in self._lines(stamped.event):
            self._writer.line(line)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Nothing to do: lines stay where they are."""
        yield

    def close(self) -> None:
        """Nothing to do: every line is written at once."""

    def _lines(self, event: events.Event) -> Iterator[str]:
        match event:
            case events.TaskFailed():
                yield from self._marked(self._limit("task", event_text.task_failed_lines(event)))
            case events.NodeFailed():
                yield from self._marked(self._limit("node", event_text.node_failed_lines(event)))
            case events.Noticed(problem):
                yield diagnostic_text(problem, color=self._color)
            case events.StepFailed():
                yield self._ink("error", f"{phrase(event.verb, event.subject)} failed")
                yield diagnostic_text(event.problem, color=self._color)
            case events.RunEnded():
                yield event_text.run_ended_text(event)
            case (
                events.RunStarted()
                | events.StepStarted()
                | events.StepProgress()
                | events.NodesSeen()
                | events.TasksSeen()
                | events.StagesSeen()
                | events.ScheduleSeen()
                | events.Waiting()
                | events.StepDone()
                | events.StepSkipped()
            ):
                pass
            case _:
                assert_never(event)

    def _marked(self, texts: Iterable[str]) -> Iterator[str]:
        """The first line in the colour of an error."""
        for number, text in enumerate(texts):
            yield self._ink("error", text) if number == 0 else text
