"""Node ids are shortened to unique ids in texts for people."""

from __future__ import annotations

import io
from datetime import UTC, datetime

import pytest

from batchspec.apply.events import NodeFailed, Stamped, TaskFailed, Waiting
from batchspec.diagnostics import Diagnostic
from batchspec.render import Kind, NodeIds, diagnostics_text, open_view

FIRST, SECOND, THIRD = (f"tvmps_{digits:0<64}_d" for digits in ("0f3a9c21", "0f3a9c215", "77"))
START = datetime(2026, 12, 1, tzinfo=UTC)


def test_a_short_id_is_the_beginning_of_one_id() -> None:
    short = NodeIds()(f"{FIRST}, {SECOND} and {THIRD}")
    assert short == "tvmps_0f3a9c210, tvmps_0f3a9c215 and tvmps_77000000"
    for name in short.replace(" and ", ", ").split(", "):
        assert sum(node.startswith(name) for node in (FIRST, SECOND, THIRD)) == 1


def test_ids_of_an_earlier_text_count() -> None:
    ids = NodeIds()
    ids.add([FIRST])
    assert ids(SECOND) == "tvmps_0f3a9c215"


@pytest.mark.parametrize(
    "text",
    [
        f"_nodes/topn/{FIRST}/startup/stderr.txt",
        f"https://a.batch.azure.com/pools/p/nodes/{FIRST}?api-version=1",
        f"{FIRST}.start-task.stderr.txt",
        "tvmps_of_no_node",
        "tvm-1",
    ],
)
def test_paths_and_other_names_are_unchanged(text: str) -> None:
    assert NodeIds()(text) == text


def test_the_nodes_of_a_diagnostic() -> None:
    listed = Diagnostic("no-such-node", "no node", f"{FIRST} (idle)\n{THIRD} (idle)")
    assert "  tvmps_0f3a9c21 (idle)\n  tvmps_77000000 (idle)" in diagnostics_text([listed])


EVENTS = (
    TaskFailed("j", "t", 1, "", f"on {FIRST}", "", FIRST),
    NodeFailed("p", THIRD, "starttaskfailed", 1, "", ""),
    Waiting("start-task-failed", "pool p", "failed", action=f"`logs a.yaml --start-task {THIRD}`"),
)


@pytest.mark.parametrize("kind", [Kind.PLAIN, Kind.LIVE, Kind.QUIET])
def test_views_for_people(kind: Kind) -> None:
    assert "tvmps_77000000" in shown(kind)
    assert FIRST not in shown(kind)
    assert THIRD not in shown(kind)


@pytest.mark.parametrize("kind", [Kind.PLAIN, Kind.QUIET])
def test_full_ids_on_request(kind: Kind) -> None:
    assert THIRD in shown(kind, full_ids=True)


def test_json_has_full_ids() -> None:
    assert shown(Kind.JSON).count(THIRD) == 2


def shown(kind: Kind, *, full_ids: bool = False) -> str:
    out = io.StringIO()
    view = open_view(kind, out, now=lambda: START, environ={}, full_ids=full_ids, width=120)
    for number, event in enumerate(EVENTS, start=1):
        view(Stamped(number, START, event))
    view.close()
    return out.getvalue()
