"""Only what went wrong, and the last line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TextIO, assert_never

from batchspec.apply import events
from batchspec.apply.events import Stamped
from batchspec.render.ink import Ink
from batchspec.render.problems import problem_text
from batchspec.render.progress import lines
from batchspec.render.progress.pace import Few
from batchspec.render.sink import Sink
from batchspec.render.words import phrase


class QuietView:
    """Writes problems, failed tasks and nodes, and how the run ended."""

    def __init__(self, stream: TextIO, *, color: bool = False) -> None:
        self._sink = Sink(stream)
        self._color = color
        self._ink = Ink(color)
        self._few = Few()

    def __call__(self, stamped: Stamped) -> None:
        for line in self._lines(stamped.event):
            self._sink.line(line)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Nothing to do: lines stay where they are."""
        yield

    def close(self) -> None:
        """Nothing to do: every line is written at once."""

    def _lines(self, event: events.Event) -> Iterator[str]:
        match event:
            case events.TaskFailed():
                yield from self._marked(self._few("task", lines.task_failed_lines(event)))
            case events.NodeFailed():
                yield from self._marked(self._few("node", lines.node_failed_lines(event)))
            case events.Noticed(problem):
                yield problem_text(problem, color=self._color)
            case events.StepFailed():
                yield self._ink("error", f"{phrase(event.verb, event.subject)} failed")
                yield problem_text(event.problem, color=self._color)
            case events.RunEnded():
                yield lines.ended_words(event)
            case (
                events.RunStarted()
                | events.StepStarted()
                | events.StepProgress()
                | events.NodesSeen()
                | events.TasksSeen()
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
