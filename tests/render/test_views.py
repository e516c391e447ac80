"""The views that write line by line, replayed into goldens."""

from __future__ import annotations

import io
import json
from dataclasses import fields
from datetime import datetime, timedelta

import pytest

from batchspec.apply.events import Noticed, Stamped, StepProgress, StepStarted, TaskFailed
from batchspec.diagnostics import Diagnostic
from batchspec.render import Kind, View, open_view, summary_text
from batchspec.render.report import fold
from tests.render import golden
from tests.render.recordings import RECORDINGS, START

each = pytest.mark.parametrize("name", RECORDINGS)


def replay(kind: Kind, stream: list[Stamped], text: io.StringIO | None = None) -> str:
    out = text or io.StringIO()
    view: View = open_view(kind, out, now=lambda: START, environ={}, version="1.2.3")
    for stamped in stream:
        view(stamped)
    view.close()
    return out.getvalue()


@each
@pytest.mark.parametrize("kind", [Kind.PLAIN, Kind.QUIET])
def test_lines(name: str, kind: Kind) -> None:
    golden.check(f"{name}.{kind}.txt", replay(kind, RECORDINGS[name]))


@each
def test_json(name: str) -> None:
    text = replay(Kind.JSON, RECORDINGS[name])
    if len(RECORDINGS[name]) < 100:
        golden.check(f"{name}.jsonl", text)
    lines = [json.loads(line) for line in text.splitlines()]
    head, *rest = lines
    assert (head["type"], head["stream"], head["batchspec"]) == ("version", 1, "1.2.3")
    assert [line["seq"] for line in rest] == [stamped.seq for stamped in RECORDINGS[name]]
    for line, stamped in zip(rest, RECORDINGS[name], strict=True):
        assert datetime.fromisoformat(line["at"]) == stamped.at
        assert set(line) == {"type", "seq", "at"} | {f.name for f in fields(stamped.event)}


@each
def test_summary(name: str) -> None:
    report = fold(RECORDINGS[name])
    commands = {"batchspec status topn.yaml": "shows the progress"}
    text = summary_text(report, destroy="batchspec destroy topn.yaml", commands=commands)
    golden.check(f"{name}.summary.txt", text)
    assert all(len(line) <= 80 for line in text.splitlines())


def test_auto_is_plain_without_a_terminal() -> None:
    stream = RECORDINGS["good"]
    assert replay(Kind.AUTO, stream) == replay(Kind.PLAIN, stream)


def test_a_long_run_stays_readable_in_a_log() -> None:
    """Hours of progress take few lines, and the end of each step is reported."""
    text = replay(Kind.PLAIN, RECORDINGS["large"])
    assert len(text.splitlines()) < 350
    assert "1,000,000 of 1,000,000 tasks done, 10 failed" in text


def test_a_growing_total_is_not_reported_with_every_item() -> None:
    stream = [Stamped(1, START, StepStarted("a", "download", "results from output"))]
    stream += [
        Stamped(1 + n, START + timedelta(seconds=n / 100), StepProgress("a", n, n, 0))
        for n in range(1, 501)
    ]
    lines = replay(Kind.PLAIN, stream).splitlines()
    assert len(lines) < 8
    assert "1 of 1 file, 100%" in lines[1]


def test_a_line_is_on_the_stream_as_soon_as_it_happened() -> None:
    class Stream(io.StringIO):
        flushed = 0

        def flush(self) -> None:
            self.flushed = len(self.getvalue())

    for kind in (Kind.PLAIN, Kind.JSON):
        out = Stream()
        view = open_view(kind, out, now=lambda: START, environ={})
        view(Stamped(1, START, StepStarted("a", "create", "container a")))
        assert out.flushed == len(out.getvalue()) > 0


def failed_tasks(*causes: tuple[int, str]) -> list[Stamped]:
    return [
        Stamped(n, START + timedelta(seconds=n), TaskFailed("job", f"t{n}", code, "", "", stderr))
        for n, (code, stderr) in enumerate(causes, 1)
    ]


LINES = pytest.mark.parametrize("kind", [Kind.PLAIN, Kind.QUIET])


@LINES
def test_failures_of_one_cause_are_one_block_and_one_line(kind: Kind) -> None:
    text = replay(kind, failed_tasks(*[(1, "oops\n")] * 99))
    assert text.count("oops") == 1
    assert "task t1 of job job failed: exit code 1\n" in text
    assert "98 more tasks of job job failed: exit code 1 (t2, t3, t4, t5 and 94 more)\n" in text


@LINES
def test_each_cause_of_failures_is_shown(kind: Kind) -> None:
    text = replay(kind, failed_tasks((1, "oops\n"), (2, "oops\n"), (1, "ouch\n"), (1, "oops\n")))
    assert [text.count(word) for word in ("oops", "ouch", "exit code 2")] == [2, 1, 1]
    assert "1 more task of job job failed: exit code 1 (t4)\n" in text


@LINES
def test_outputs_that_differ_only_in_paths_and_numbers_are_one_cause(kind: Kind) -> None:
    trace = '  File "/mnt/tasks/job-1/t{0}/wd/count.py", line 2\nValueError: no record {0}\n'
    text = replay(kind, failed_tasks(*[(1, trace.format(n)) for n in range(60)]))
    assert text.count("ValueError") == 1
    assert "59 more tasks of job job failed: exit code 1 (t2, t3, t4, t5 and 55 more)\n" in text


@LINES
def test_messages_that_differ_only_in_details_are_one_cause(kind: Kind) -> None:
    events = [
        Stamped(n, START, TaskFailed("job", f"t{n}", None, code, f"Denied; FilePath: {n}.fa", ""))
        for n, code in enumerate(["BlobAccessDenied"] * 9 + ["BlobNotFound"])
    ]
    text = replay(kind, events)
    assert [text.count("FilePath"), text.count("BlobNotFound")] == [2, 1]
    assert "8 more tasks of job job failed: BlobAccessDenied: Denied (t1, t2, t3, t4" in text


@LINES
def test_causes_beyond_the_first_are_counted_together(kind: Kind) -> None:
    text = replay(kind, failed_tasks(*[(1, f"oops {'x' * n}\n") for n in range(1, 100)]))
    assert text.count("oops") == 20
    assert text.count("79 more tasks of job job failed: other causes") == 1


def test_the_json_stream_has_every_failure() -> None:
    assert replay(Kind.JSON, failed_tasks(*[(1, "oops\n")] * 99)).count("oops") == 99


def test_repeated_failures_are_reported_before_the_step_fails() -> None:
    lines = replay(Kind.PLAIN, RECORDINGS["start-task-failed"]).splitlines()
    repeated = next(n for n, line in enumerate(lines) if "1 more node of pool topn" in line)
    failed = next(n for n, line in enumerate(lines) if "wait for nodes of topn (after" in line)
    assert repeated < failed


def test_a_character_that_the_stream_cannot_encode_is_escaped() -> None:
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="ascii", write_through=True)
    view = open_view(Kind.PLAIN, out, now=lambda: START, environ={})
    view(Stamped(1, START, Noticed(Diagnostic("x", "naïve 日本"))))
    assert b"na\\xefve \\u65e5\\u672c" in raw.getvalue()
