"""Every event, action, verb, outcome and gate has its text and its symbol."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import typing
from dataclasses import MISSING, fields
from datetime import timedelta
from pathlib import Path

import pytest

from batchspec.apply import events
from batchspec.apply.events import Event, Outcome, Stamped
from batchspec.diagnostics import Diagnostic, Severity
from batchspec.plan import Gate, Outputs, Step, Verb
from batchspec.plan.actions import Action
from batchspec.plan.stage_tasks import StageTotals
from batchspec.render import Kind, open_view
from batchspec.render.output import ASCII, UNICODE, Style, Symbols
from batchspec.render.plan import VERB_COUNTS, VERB_STYLES, requests
from batchspec.render.progress.live import LiveView, console_on
from batchspec.render.report import Phase, fold, phase_of
from batchspec.render.run_text import (
    PHRASES,
    action_name,
    gate_text,
    outcome_text,
    phrase,
    quantity,
)
from batchspec.spec import Record
from tests.render.plans import FILE, TASK
from tests.render.recordings import RECORDINGS, START, kinds
from tests.render.terminal import Terminal

EVENTS: tuple[type[Event], ...] = typing.get_args(Event)
ACTIONS: tuple[type[Action], ...] = typing.get_args(Action)

VALUES: dict[str, object] = {
    "str": "name",
    "str | None": "name",
    "int": 3,
    "int | None": 3,
    "bool": True,
    "float": 1.5,
    "float | None": 1.5,
    "tuple[str, ...]": ("name",),
    "tuple[RunningTask, ...]": (events.RunningTask("a", "n", 99.0),),
    "tuple[FailedTasks, ...]": (events.FailedTasks("exit-1", 2, "a"),),
    "timedelta": timedelta(hours=2),
    "datetime | None": START,
    "Path": Path("results"),
    "Record": Record(id="name"),
    "Diagnostic": Diagnostic("code", "summary"),
    "Outcome": Outcome.DONE,
    "Mapping[str, int]": {"idle": 3},
    "Mapping[str, Mapping[str, int]]": {"map": {"total": 3, "succeeded": 2}},
    "Mapping[str, str]": {"a": "b"},
    "tuple[int, int]": (1, 2),
    "tuple[StageTotals, ...]": (StageTotals("map", 3), StageTotals("merge", 1)),
    "Outputs | None": Outputs(),
    "Stream[Path]": (Path("run.yaml"),),
    "Stream[str]": ("name",),
    "Stream[str] | None": ("name",),
    "Stream[Task]": (TASK, TASK),
    "Stream[LocalFile]": (FILE, FILE),
}
"""A value for every type of a field."""


def example(kind: type) -> typing.Any:
    """An instance with a value in every field."""
    values = {field.name: VALUES[str(field.type)] for field in fields(kind)}
    if "verb" in values:
        values["verb"] = "create"
    return kind(**values)


@pytest.mark.parametrize("event", EVENTS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("kind", [Kind.PLAIN, Kind.JSON, Kind.QUIET, Kind.LIVE])
def test_every_view_accepts_every_event(event: type[Event], kind: Kind) -> None:
    out = Terminal(80, 24)
    stamped = Stamped(1, START, example(event))
    if kind is Kind.LIVE:
        view = LiveView(console_on(out, {}), lambda: START, UNICODE, refreshing=False)
        view(stamped)
        view.close()
        return
    text = io.StringIO()
    lines = open_view(kind, text, now=lambda: START, environ={})
    lines(stamped)
    if kind is Kind.JSON:
        assert json.loads(text.getvalue().splitlines()[1])["type"]
    if kind is Kind.PLAIN:
        assert text.getvalue()


@pytest.mark.parametrize("event", EVENTS, ids=lambda kind: kind.__name__)
def test_a_report_accepts_every_single_event(event: type[Event]) -> None:
    fold([Stamped(1, START, example(event))])


def test_every_event_is_in_a_recording() -> None:
    assert set(kinds(RECORDINGS.values())) == set(EVENTS)


@pytest.mark.parametrize("action", ACTIONS, ids=lambda kind: kind.__name__)
def test_every_action_has_a_name_requests_and_a_quantity(action: type[Action]) -> None:
    made = example(action)
    assert re.fullmatch(r"[a-z]+(_[a-z]+)+", action_name(action))
    assert action_name(made) == action_name(action)
    sent = list(requests(made))
    assert sent
    for request in sent:
        assert request.method in {"GET", "PUT", "POST", "PATCH", "DELETE"}
        assert request.path.startswith("/")
    quantity(Step("id", made, Verb.CREATE, "thing", "because"))


def test_names_of_actions_are_unique() -> None:
    assert len({action_name(action) for action in ACTIONS}) == len(ACTIONS)


@pytest.mark.parametrize("verb", Verb)
def test_every_verb_has_text_and_symbols(verb: Verb) -> None:
    assert "{}" in PHRASES[verb]
    assert phrase(verb, "thing").endswith("thing")
    assert UNICODE.verbs[verb]
    assert ASCII.verbs[verb].isascii()
    assert verb in VERB_COUNTS or verb is Verb.KEEP
    assert Style(True)(VERB_STYLES[verb], "x") != "x"
    assert phase_of(verb, "thing") in Phase


def test_symbols_of_verbs_are_unique() -> None:
    for symbols in (UNICODE, ASCII):
        used = [sign for verb, sign in symbols.verbs.items()]
        assert len(set(used)) == len(used)


@pytest.mark.parametrize("symbols", [UNICODE, ASCII], ids=["unicode", "ascii"])
def test_symbols_of_a_bar_differ_without_colour(symbols: Symbols) -> None:
    tasks = [symbols.succeeded, symbols.task_failed, symbols.running, symbols.active]
    nodes = [
        symbols.node_running,
        symbols.node_idle,
        symbols.node_starting,
        symbols.node_leaving,
        "!",
        symbols.node_missing,
    ]
    for used in (tasks, nodes, [symbols.done, symbols.failed, symbols.skipped]):
        assert len(set(used)) == len(used)


@pytest.mark.parametrize("outcome", [*Outcome, None])
def test_every_outcome_has_a_text(outcome: Outcome | None) -> None:
    assert outcome_text(outcome, 3.0)


@pytest.mark.parametrize("gate", Gate)
def test_every_gate_has_a_text(gate: Gate) -> None:
    assert bool(gate_text(gate)) == (gate is not Gate.FLOW)


@pytest.mark.parametrize("severity", Severity)
def test_every_severity_has_a_colour(severity: Severity) -> None:
    assert Style(True)(severity.value, "x") != "x"


def test_every_field_of_an_event_has_an_example() -> None:
    for kind in (*EVENTS, *ACTIONS):
        for field in fields(kind):
            assert str(field.type) in VALUES, (kind, field.name, field.default is MISSING)


def test_only_the_live_view_imports_rich() -> None:
    """rich would double the start time of other commands."""
    code = (
        "import sys; import batchspec.render.progress, batchspec.render.plan, "
        "batchspec.render.summary, batchspec.render.status, batchspec.render.local, "
        "batchspec.render.questions; sys.exit(any(m.split('.')[0] == 'rich' for m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_events_module_is_the_whole_union() -> None:
    named = {
        value
        for value in vars(events).values()
        if isinstance(value, type) and value.__module__ == events.__name__
    }
    assert named - {
        Outcome,
        events.Stamped,
        events.Stamp,
        events.RunningTask,
        events.FailedTasks,
    } == set(EVENTS)
