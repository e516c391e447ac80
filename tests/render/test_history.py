"""The tasks of all attempts at a run: counted executions, sums, and the hours of nodes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

from batchspec.render import (
    NodeRow,
    RecordHead,
    RunHistory,
    TaskFile,
    TaskRow,
    merged_nodes,
    row_line,
)
from batchspec.render.json_lines import moment
from batchspec.render.report_page import pack_tasks
from batchspec.render.report_page.history import (
    OUTLIERS,
    NodeUse,
    SizeUse,
    StageTotals,
    TaskTotals,
    use_by_size,
)
from tests.cli.test_report import an_attempt
from tests.render.recordings import START


def at(seconds: float) -> str:
    return moment(START + timedelta(seconds=seconds))


def a_file(job: str, created: float, rows: Sequence[TaskRow], *, read: float = 0.0) -> TaskFile:
    @contextmanager
    def lines() -> Iterator[Iterator[str]]:
        yield (row_line(replace(row, job="")) for row in rows)

    return TaskFile(RecordHead("tasks", job, at(read), "completed", at(created), at(99)), lines)


def a_row(name: str, began: float, *, state: str = "succeeded", item: str = "") -> TaskRow:
    cause = "exit-1" if state == "failed" else ""
    return TaskRow(
        name,
        state,
        stage="count",
        item=item or name,
        cause=cause,
        node="n1",
        created=at(began - 1),
        started=at(began),
        ended=at(began + 2),
    )


def history(*files: TaskFile) -> RunHistory:
    return RunHistory([an_attempt("a", None)], files)


def executions(*files: TaskFile) -> list[tuple[str, str, bool]]:
    return [(row.job, row.id, superseded) for row, superseded in history(*files).tasks()]


def test_the_newest_execution_of_an_item_counts() -> None:
    first = a_file("j", 0, [a_row("a", 1), a_row("b", 1, state="failed")])
    again = a_file("j-r2", 10, [a_row("b-new", 11, item="b")])
    assert executions(first, again) == [
        ("j-r2", "b-new", False),
        ("j", "a", False),
        ("j", "b", True),
    ]


def test_a_reactivated_task_is_two_executions_and_an_unchanged_one_is_one() -> None:
    before = a_file("j", 0, [a_row("a", 1), a_row("b", 1, state="failed")], read=5)
    after = a_file("j", 0, [a_row("a", 1), replace(a_row("b", 6), created=at(0))], read=9)
    assert executions(before, after) == [("j", "a", False), ("j", "b", False), ("j", "b", True)]


def test_totals_count_each_item_once() -> None:
    first = a_file("j", 0, [a_row("a", 1), a_row("b", 1, state="failed")])
    again = a_file("j-r2", 10, [a_row("b2", 11, item="b", state="failed")])
    _, totals = pack_tasks(history(first, again))
    stage = totals.stages["count"]
    assert (stage.total, stage.states["succeeded"], stage.states["failed"]) == (2, 1, 1)
    assert stage.superseded == 1
    assert list(stage.durations) == [2.0, 2.0, 2.0]
    cause = totals.causes["exit-1"]
    assert (cause.count, cause.superseded, cause.ids) == (1, 1, ["b2"])
    assert totals.nodes["n1"].tasks == 3
    assert totals.nodes["n1"].busy == 6.0


def test_a_task_that_never_started_waits_until_its_job_ends() -> None:
    waiting = TaskRow("a", "active", created=at(0))
    _, totals = pack_tasks(history(a_file("j", 0, [waiting])))
    assert list(totals.waited) == [(START + timedelta(seconds=99)).timestamp()]
    assert not totals.started


def test_outliers_are_far_from_the_others_and_not_all_long_tasks() -> None:
    stage = StageTotals()
    for number in range(200):
        stage.add(TaskRow(f"t{number}", "succeeded"), 10.0 + number % 5, superseded=False)
    assert stage.outliers() == []
    stage.add(TaskRow("slow", "succeeded"), 100.0, superseded=False)
    assert stage.outliers() == [(100.0, "slow")]
    assert stage.quantile(0.5) == 12.0
    assert stage.quantile(1.0) == 100.0
    assert len(stage.longest) == OUTLIERS


def test_nodes_and_hours_of_tasks_by_size_and_of_nodes_that_left() -> None:
    nodes = merged_nodes(
        [
            NodeRow("n1", "idle", "p", at(1800), "standard_d2s_v5", True, at(0)),
            NodeRow("n1", "idle", "p", at(3600), "standard_d2s_v5", True, at(0)),
            NodeRow("n2", "idle", "p", at(3600), "Standard_D2s_v5", False, at(1800)),
        ]
    )
    use = {"n1": NodeUse(busy=900.0), "gone": NodeUse(busy=60.0, first=0.0, last=7200.0)}
    assert use_by_size(nodes, use) == {
        ("standard_d2s_v5", "dedicated"): SizeUse(1, 0.25),
        ("standard_d2s_v5", "spot"): SizeUse(1, 0.0),
        ("", ""): SizeUse(1, 60 / 3600),
    }


def test_damaged_times_are_left_out() -> None:
    totals = TaskTotals()
    totals.add(TaskRow("a", "succeeded", started="yesterday", ended=at(1)), superseded=False)
    assert not totals.started
    assert not totals.stages[""].durations
