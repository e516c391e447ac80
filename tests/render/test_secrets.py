"""No secret in a text of an event, diagnostic or plan is printed."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any

import pytest

from batchspec.apply.events import Event, Stamped
from batchspec.apply.ports import Deletion
from batchspec.diagnostics import Diagnostic, Place, redact
from batchspec.plan import Step, Verb
from batchspec.plan.observed import AccountNames
from batchspec.render import (
    Kind,
    Status,
    json_text,
    open_view,
    plan_json,
    plan_markdown,
    plan_text,
    status_json,
    status_text,
    summary_text,
)
from batchspec.render.diagnostics import diagnostic_text
from batchspec.render.local import LocalStatus, local_status_json, local_status_text
from batchspec.render.output import UNICODE, clean
from batchspec.render.progress.live import LiveView, console_on
from batchspec.render.questions import delete_question, plan_question, unanswered
from batchspec.render.report import fold, report_json
from tests.render.plans import HERE, PLANS
from tests.render.recordings import START
from tests.render.terminal import Terminal
from tests.render.test_parity import EVENTS, example

MARK = "Th1sMustNotBeSeen"
LEAKS = [
    f"https://x.blob.core.windows.net/c?sv=2025-01-01&sr=c&sig={MARK}%3D&sp=rw",
    f"DefaultEndpointsProtocol=https;AccountName=x;AccountKey={MARK}==;EndpointSuffix=y",
    f"Authorization: SharedKey account:{MARK}=",
    f"Authorization: Bearer {MARK}.{MARK}",
    f'{{"url": "https://x/c?sig={MARK}\\"}}',
]

leaks = pytest.mark.parametrize("leak", LEAKS)


def leaky(event: type[Event], leak: str) -> Event:
    """An event with the secret in each of its texts."""
    made: Any = example(event)
    changes: dict[str, Any] = {}
    for field in fields(event):
        value = getattr(made, field.name)
        match value:
            case str() if field.name != "verb" and not hasattr(value, "value"):
                changes[field.name] = leak
            case Diagnostic():
                changes[field.name] = problem(leak)
            case tuple() if is_dataclass(value[0]):
                texts = [f.name for f in fields(value[0]) if f.type == "str"]
                changes[field.name] = (replace(value[0], **dict.fromkeys(texts, leak)),)
            case tuple():
                changes[field.name] = (leak,)
            case dict():
                changes[field.name] = {leak: next(iter(value.values()))}
    return replace(made, **changes)


def problem(leak: str) -> Diagnostic:
    place = Place(leak, 1, 1, leak, 3)
    return Diagnostic("code", leak, detail=leak, where=place, fix=leak, request_id=leak)


def views(event: Event) -> Iterator[str]:
    for kind in (Kind.PLAIN, Kind.JSON, Kind.QUIET):
        out = io.StringIO()
        open_view(kind, out, now=lambda: START, environ={})(Stamped(1, START, event))
        yield out.getvalue()
    for width in (40, 200):
        terminal = Terminal(width, 40)
        console = console_on(terminal, {}, width=width, height=40)
        view = LiveView(console, lambda: START, UNICODE, refreshing=False)
        view(Stamped(1, START, event))
        view.refresh()
        view.close()
        yield terminal.screen.replace("\n", "")


@leaks
@pytest.mark.parametrize("event", EVENTS, ids=lambda kind: kind.__name__)
def test_events(event: type[Event], leak: str) -> None:
    made = leaky(event, leak)
    for text in views(made):
        assert MARK not in text
    report = fold([Stamped(1, START, made)])
    assert MARK not in summary_text(report, destroy=leak, commands={leak: leak}).replace("\n", "")
    assert MARK not in json_text(report_json(report))


@leaks
def test_problems(leak: str) -> None:
    for width in (60, 100, 1000):
        assert MARK not in diagnostic_text(problem(leak), width=width)
        assert MARK not in diagnostic_text(problem(leak), color=True, width=width)


@leaks
def test_plans(leak: str) -> None:
    step = Step(leak, None, Verb.KEEP, leak, leak, (leak,))
    plan = replace(
        PLANS["fresh"],
        account=AccountNames("azure", leak, leak),
        name=leak,
        description=leak,
        steps=(step, *PLANS["fresh"].steps),
        kept=(step,),
        findings=(problem(leak),),
    )
    texts = [
        plan_text(plan, verbose=True, width=60),
        plan_text(plan, color=True),
        plan_json(plan),
        plan_markdown(plan, here=HERE),
        plan_question(plan),
        unanswered(plan_question(plan, verb="destroy"), plan.questions).detail,
    ]
    for text in texts:
        assert MARK not in text.replace("\n", "")
    json.loads(plan_json(plan))


@leaks
def test_other_texts(leak: str) -> None:
    status = Status(
        AccountNames("azure", leak, leak), leak, leak, leak, None, leak, leak, {leak: 2}
    )
    path = HERE / leak.replace("/", "_")
    local = LocalStatus(leak, path, path, leak, leak, None, 1, leak, former_clients=((leak, leak),))
    texts = [
        status_text(status),
        status_json(status),
        local_status_text(local),
        local_status_json(local),
        delete_question(Deletion(leak, None, failed=True), target="azure"),
        delete_question(Deletion(leak, 3, failed=False), target="local"),
    ]
    for text in texts:
        assert MARK not in text


def test_json_stays_json() -> None:
    """Redaction of a secret that ends in a quote or a backslash leaves valid JSON."""
    for end in ('"', "\\", '\\"', "\n", "'"):
        value = {"a": f"?sig={MARK}{end}", f"?sig={MARK}{end}": [1, None, f"sig={MARK}"]}
        text = json_text(value)
        assert MARK not in text
        json.loads(text)
        json.loads(redact(text))
    plain = {"a": 'say "x" \\ "y\\"', 'k"': "\\"}
    assert json.loads(json_text(plain)) == plain


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[31mred\x1b[0m", "ared"),
        ("\x1b]0;title\x07x", "x"),
        ("\x1b]8;;http://e\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("10%\r20%\r100%\ndone\r\n", "100%\ndone\n"),
        ("bell\x07 null\x00", "bell? null?"),
        ("\u202etxt.exe", "?txt.exe"),
        ("a\tb\nc", "a\tb\nc"),
        ("\x9b31m", "?31m"),
    ],
)
def test_control_sequences_are_removed(text: str, shown: str) -> None:
    assert clean(text) == shown


def test_the_url_of_a_webhook_is_removed_from_a_long_text() -> None:
    # The time is linear in the length of the text; with quadratic time, this takes minutes.
    text = "a-" * 200_000 + "b.webhook.office.com/webhookb2/"
    assert redact(f"https://{text}0a1b@2c/IncomingWebhook/3d") == f"https://{text}***"
