"""A run is recorded while it runs, read from the record, and shown on one page."""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import json
import os
import re
import shlex
import shutil
import stat
from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest

from batchspec.api import RunFolder, read_history, read_lines, recorded_runs, runs_folder
from batchspec.api.run_records import KEPT
from batchspec.apply.events import (
    Event,
    Noticed,
    Outcome,
    RunEnded,
    RunStarted,
    Stamped,
    StepDone,
    StepStarted,
    TaskFailed,
    TasksSeen,
)
from batchspec.cli.commands.report import report
from batchspec.diagnostics import Diagnostic, DiskError, Place, Severity, UsageError
from batchspec.exit_codes import Exit
from batchspec.render import (
    Attempt,
    JsonView,
    RunHistory,
    build_timeline,
    last_run,
    page_html,
    read_record,
    read_tasks,
    report_page,
)
from batchspec.render.report_page import TASK
from batchspec.render.report_page.history import POINTS
from tests.cli.conftest import Workplace
from tests.render import golden
from tests.render.recordings import RECORDINGS, START

GOLDEN = Path(__file__).parent / "golden"
RECORDED = Path(__file__).parents[1] / "render" / "golden" / "good.jsonl"
EMPTY = {"area", "base", "br", "col", "hr", "img", "input", "link", "meta"}
ASSETS = re.compile(r"(<script>|<style>).*?(</script>|</style>)|sha256-[^']*", re.DOTALL)


class Nesting(HTMLParser):
    """Fails on a tag that is not closed in its place, and on every fetched resource."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in {"link", "img", "iframe", "form", "base"}
        named = dict(attrs)
        assert not [name for name in named if name in {"src", "style"} or name.startswith("on")]
        assert str(named.get("href", "#")).startswith("#")
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """A shape of a drawing."""

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def checked(page: str) -> str:
    """The page, if it is well-formed and self-contained."""
    nesting = Nesting()
    nesting.feed(page)
    assert nesting.open == []
    assert "@import" not in page
    assert "default-src 'none'" in page
    return page


def without_assets(page: str) -> str:
    """The page without its scripts, styles and compressed data."""
    page = ASSETS.sub(lambda match: f"{match[1] or ''}{match[2] or ''}", page)
    return re.sub(r'(id="packed">)[^<]*', r"\1", page)


def page_of(*attempts: Attempt) -> str:
    return page_html(RunHistory(attempts))


def lines_of(recording: list[Stamped]) -> list[str]:
    stream = io.StringIO()
    view = JsonView(stream, "1")
    for stamped in recording:
        view(stamped)
    return stream.getvalue().splitlines()


@pytest.mark.parametrize("name", RECORDINGS)
def test_events_are_read_as_they_were_written(name: str) -> None:
    lines = lines_of(RECORDINGS[name])
    again = list(read_record(lines))
    assert lines_of(again) == lines
    assert [type(s.event) for s in again] == [type(s.event) for s in RECORDINGS[name]]


def test_a_problem_keeps_its_place() -> None:
    place = Place("s.yaml", 3, 5, length=2)
    problem = Diagnostic("x", "y", "why", place, "fix it", Severity.WARNING, "id")
    (line,) = lines_of([Stamped(1, START, Noticed(problem))])[1:]
    assert [s.event for s in read_record([line])] == [Noticed(problem)]


def test_when_the_nodes_are_released_is_read() -> None:
    """Otherwise the end of the run is skipped, and the report has no outcome."""
    ended = RunEnded(Outcome.DONE, 1.5, 0, released=START)
    (line,) = lines_of([Stamped(1, START, ended)])[1:]
    assert [s.event for s in read_record([line])] == [ended]


def test_lines_of_other_versions_and_incomplete_lines_are_skipped() -> None:
    lines = lines_of(RECORDINGS["good"])
    newer = json.dumps({"type": "planets_seen", "seq": 2, "at": "2026-01-02T03:04:05Z"})
    lacking = json.dumps({"type": "run_ended", "seq": 3, "at": "2026-01-02T03:04:05Z"})
    found = list(read_record([*lines[:5], newer, lacking, "[]", lines[5][:20]]))
    assert len(found) == 4, "the version line is no event"


WRONG = (None, "x", -1, 0.5, True, [], ["x"], {}, {"x": "y"}, 10**400, float("nan"), "2026-01-02")


def test_values_of_wrong_types_are_omitted() -> None:
    """The report is written, with any value in a field of a record."""
    rows = {row["type"]: row for row in map(json.loads, lines_of(RECORDINGS["good"])[1:])}
    rows |= {
        row["type"]: row
        for name in ("failed-task", "start-task-failed", "waiting", "stages")
        for row in map(json.loads, lines_of(RECORDINGS[name])[1:])
    }
    read = 0
    for kind, row in rows.items():
        for field, value in ((field, value) for field in row for value in WRONG):
            damaged = json.dumps({**row, field: value})
            kept = list(read_record([json.dumps(rows["run_started"]), damaged]))
            read += len(kept) - 1
            if len(kept) == 2 and kind != "run_started":
                page_of(Attempt("a", build_timeline(kept)))
    assert read > 100


def test_a_damaged_record_of_the_applied_spec_is_omitted(tmp_path: Path) -> None:
    folder = tmp_path / "20260102T000000.000000Z"
    folder.mkdir()
    (folder / "events.jsonl").write_text("\n".join(lines_of(RECORDINGS["good"])))
    for text in ("", "[", "[]", '{"path": 1}', '{"path":1,"spec":1,"parameters":[],"plan":1}'):
        (folder / "applied.json").write_text(text)
        history = read_history(tmp_path, "n", command=lambda *words: "", retries=True)
        assert not history.applied
    (folder / "events.jsonl").unlink()
    (folder / "events.jsonl").mkdir()
    with pytest.raises(UsageError, match="cannot be read: Is a directory"):
        read_history(tmp_path, "n", command=lambda *words: "", retries=True)


@pytest.mark.parametrize("name", RECORDINGS)
def test_every_page_is_complete(name: str) -> None:
    page = checked(page_of(Attempt(name, build_timeline(RECORDINGS[name]))))
    if name in {"good", "start-task-failed"}:
        golden.check(f"{name}.html", without_assets(page), GOLDEN)


def test_texts_are_escaped_and_no_secret_is_on_the_page() -> None:
    evil = "<script>alert(1)</script>\x1b[2J http://x/y?sig=secret"
    run = replace(RECORDINGS["good"][1].event, name=evil)  # type: ignore[type-var]
    assert isinstance(run, RunStarted)
    task = TaskFailed("j", evil, 1, "", evil, f"{evil}\n&amp;", evil)
    events = [run, task, Noticed(Diagnostic("x", evil, evil, fix=evil))]
    trace = build_timeline(Stamped(n, START, e) for n, e in enumerate(events, 1))
    page = checked(page_of(Attempt(evil, trace), Attempt(evil, trace)))
    assert "&lt;script&gt;" in page
    assert "<script>alert" not in page
    assert "alert(1)</script>" not in page
    assert "&amp;amp;" in page
    assert "secret" not in page
    assert "\x1b" not in page


def test_the_page_of_a_long_run_is_bounded() -> None:
    seen = [
        Stamped(n, START + timedelta(seconds=n), TasksSeen("j", 10_000, 10_000 - n, 0, n, 0))
        for n in range(10_000)
    ]
    points = build_timeline(seen).points
    assert len(points) <= POINTS + 1
    assert points[-1].succeeded == 9_999


def test_a_record_has_no_secret_and_names_that_sort(tmp_path: Path) -> None:
    runs = runs_folder(tmp_path / "s.yaml", "topn")
    for second in (1, 2):
        record = RunFolder(runs, START + timedelta(seconds=second), lambda error: None)
        failed = TaskFailed("j", "t-1", 1, "", "see ?sig=abc", "http://x/y?sig=abc\n", "n")
        record(Stamped(1, START, failed))
        record.close()
    newest = recorded_runs(runs)[-1]
    assert newest.parent.name.startswith("20260102T030407")
    kept = (newest.parent / "failed" / "t-1.stderr.txt").read_text(encoding="utf-8")
    assert kept == "http://x/y?sig=***\n"
    assert "abc" not in newest.read_text(encoding="utf-8")
    assert (tmp_path / ".batchspec" / ".gitignore").read_text(encoding="utf-8").endswith("*\n")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")
def test_an_unwritable_folder_is_reported_once(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    _told_once(tmp_path / "runs", "Permission denied")
    tmp_path.chmod(0o700)


def test_a_file_instead_of_the_folder_is_reported_once(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("in the way")
    _told_once(tmp_path / "runs", "File exists")


def _told_once(runs: Path, why: str) -> None:
    errors: list[OSError] = []
    record = RunFolder(runs, START, errors.append)
    for stamped in RECORDINGS["good"]:
        record(stamped)
    record.close()
    assert [error.strerror for error in errors] == [why]


def test_a_run_is_recorded_and_its_page_written(mixed: Workplace) -> None:
    done = mixed.run("report", mixed.spec)
    assert done.code == 0, done.text
    runs = mixed.spec.parent / ".batchspec" / "mixed" / "runs"
    (page,) = runs.glob("*/report.html")
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    assert os.path.relpath(page, mixed.folder) in done.out
    text = checked(page.read_text(encoding="utf-8"))
    assert "2 succeeded, 6 failed" in text
    assert "no luck" in text
    assert "exit-7: 3 tasks" in text
    assert re.search(r"batchspec retry \S*topn.yaml --cause exit-7", text)
    assert "timeout: 1 task, reached the time limit" in text
    assert "name: mixed" in text
    assert "wait for tasks of mixed" in text
    assert "standard_d2s_v5" in text
    assert re.search(r"sig=(?!\*\*\*)", text) is None
    shown = mixed.run("report", mixed.spec, "--out", "-")
    assert shown.out == text
    assert {path.name for path in runs.glob("*/failed/*")} >= {"bad-0.stderr.txt"}
    (tasks,) = runs.glob("*/tasks/mixed.*.jsonl.gz")
    with read_lines(tasks) as lines:
        next(lines)
        rows = list(read_tasks("mixed", lines))
    assert {row.id for row in rows if row.cause == "exit-7"} == {"bad-0", "bad-1", "bad-2"}
    assert all(row.started and row.ended and row.node for row in rows if row.stage == "good")
    assert len(list(runs.glob("*/nodes/mixed.*.jsonl.gz"))) == 1


def test_the_run_is_data_for_other_tools(mixed: Workplace) -> None:
    data = json.loads(mixed.run("report", mixed.spec, "--format", "json").out)
    assert data["run"]["tasks"]["succeeded"] == 2
    assert len(data["attempts"]) == 1
    by_id = {task["id"]: task for task in data["tasks"]}
    assert by_id["bad-0"]["cause"] == "exit-7"
    assert by_id["good-0"]["seconds"] >= 0
    assert [node["vm_size"] for node in data["nodes"]] == ["standard_d2s_v5"]

    table = list(
        csv.DictReader(io.StringIO(mixed.run("report", mixed.spec, "--format", "csv").out))
    )
    assert {row["id"] for row in table} == set(by_id)
    assert {row["exit_code"] for row in table if row["stage"] == "bad"} == {"7"}

    file = mixed.folder / "run.trace.json"
    done = mixed.run("report", mixed.spec, "--format", "trace", "--out", file)
    assert os.path.relpath(file, mixed.folder) in done.out
    events = json.loads(file.read_text(encoding="utf-8"))["traceEvents"]
    spans = [event for event in events if event["ph"] == "X"]
    assert {event["name"] for event in spans} >= {"bad-0", "good-0", "wait for tasks of mixed"}
    threads: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for event in spans:
        times = (event["ts"], event["ts"] + event["dur"])
        threads.setdefault((event["pid"], event["tid"]), []).append(times)
    for times_of_thread in threads.values():
        ordered = sorted(times_of_thread)
        assert all(one[1] <= other[0] for one, other in itertools.pairwise(ordered))


def test_without_a_record_the_error_names_the_command_that_creates_a_record(
    near: Workplace,
) -> None:
    done = near.run("report", near.spec)
    assert done.code == 2
    assert "batchspec apply" in done.err
    assert not (near.spec.parent / ".batchspec").exists()


def test_a_run_continues_without_a_record(near: Workplace) -> None:
    (near.spec.parent / ".batchspec" / "topn").mkdir(parents=True)
    (near.spec.parent / ".batchspec" / "topn" / "runs").write_text("in the way")
    done = near.run("apply", near.spec, "--progress", "quiet")
    assert done.code == 0, done.text
    assert "cannot be written" in done.err
    again = near.run("apply", near.spec)
    assert "Nothing to do" in again.out
    assert again.err == "", "what does nothing is not recorded"


def test_old_records_are_deleted_when_another_run_begins(tmp_path: Path) -> None:
    runs = runs_folder(tmp_path / "s.yaml", "topn")
    (runs / "notes").mkdir(parents=True)
    (runs / "notes" / "mine.txt").write_text("kept")
    for second in range(KEPT + 5):
        record = RunFolder(runs, START + timedelta(seconds=second), lambda error: None)
        record(Stamped(1, START, RunStarted("n", "local", "b", "s", 1)))
        record.close()
    found = recorded_runs(runs)
    assert len(found) == KEPT
    assert found[-1].parent.name.startswith(f"{START + timedelta(seconds=KEPT + 4):%Y%m%dT%H%M%S}")
    assert (runs / "notes" / "mine.txt").exists(), "only what batchspec wrote is deleted"


def an_attempt(
    name: str,
    outcome: Outcome | None,
    *,
    step: tuple[str, str] = ("submit", "tasks of t"),
    target: str = "local",
) -> Attempt:
    verb, subject = step
    events: list[Event] = [
        RunStarted("n", target, "b", "s", 1),
        StepStarted("s", verb, subject),
        StepDone("s", verb, subject, 1, 1.0),
    ]
    if outcome is not None:
        events.append(RunEnded(outcome, 2.0, 0))
    return Attempt(name, build_timeline(Stamped(n, START, e) for n, e in enumerate(events, 1)))


@pytest.mark.parametrize(
    ("recorded", "together"),
    [
        ([("a", Outcome.DONE, True)], "a"),
        ([("a", Outcome.TASKS_FAILED, True), ("b", Outcome.DONE, True)], "ab"),
        ([("a", Outcome.DONE, True), ("b", Outcome.TASKS_FAILED, True)], "b"),
        ([("a", Outcome.INTERRUPTED, True), ("b", None, True), ("c", Outcome.DONE, True)], "abc"),
        ([("a", Outcome.DETACHED, True), ("b", Outcome.DONE, True)], "ab"),
        ([("a", Outcome.DONE, True), ("d", Outcome.DONE, False)], "a"),
        (
            [
                ("a", Outcome.TASKS_FAILED, True),
                ("d", Outcome.DONE, False),
                ("b", Outcome.DONE, True),
            ],
            "b",
        ),
        ([("d", Outcome.DONE, False)], "d"),
        ([], ""),
    ],
)
def test_the_attempts_at_the_last_run_that_had_tasks(
    recorded: list[tuple[str, Outcome | None, bool]], together: str
) -> None:
    steps = {True: ("submit", "tasks of t"), False: ("delete", "job j")}
    attempts = [an_attempt(name, outcome, step=steps[work]) for name, outcome, work in recorded]
    assert "".join(attempt.id for attempt in last_run(reversed(attempts))) == together


def test_a_download_that_recorded_the_tasks_belongs_to_the_run_before_it() -> None:
    killed, done = an_attempt("k", None), an_attempt("a", Outcome.DONE)
    download = an_attempt("d", Outcome.DONE, step=("download", "results from out"))
    recorded = replace(download, recorded_tasks=True)
    assert last_run([recorded, killed]) == (killed, recorded)
    assert last_run([download, killed]) == (killed,)
    assert last_run([recorded, done]) == (done, recorded)
    assert last_run([recorded, killed, done]) == (killed, recorded)


def test_a_watch_of_a_finished_run_belongs_to_it() -> None:
    wait = ("wait", "tasks of n")
    done = replace(an_attempt("a", Outcome.DONE, step=wait), recorded_tasks=True)
    watch = an_attempt("b", Outcome.DONE, step=wait)
    assert last_run([watch, done]) == (done, watch)
    recorded = replace(watch, recorded_tasks=True)
    assert last_run([recorded, done]) == (recorded,), "a run of another client"
    other = an_attempt("c", None, step=("wait", "tasks of n-r2"))
    assert last_run([other, done]) == (other,)


def test_a_destroy_that_recorded_the_tasks_belongs_to_the_run_before_it() -> None:
    delete = ("delete", "job n")
    earlier = an_attempt("a", Outcome.DONE)
    gone = replace(an_attempt("b", Outcome.DONE, step=delete), recorded_tasks=True)
    detached = an_attempt("c", Outcome.DETACHED)
    destroyed = replace(an_attempt("d", Outcome.DONE, step=delete), recorded_tasks=True)
    found = last_run([destroyed, detached, gone, earlier])
    assert [attempt.id for attempt in found] == ["c", "d"]
    page = page_of(*found)
    assert "detached after" in page, "how the deletion ended is not how the run ended"
    assert "attempt 2 deleted the job" in page
    assert last_run([an_attempt("d", Outcome.DONE, step=delete), detached]) == (detached,)


def test_attempts_on_another_account_are_another_run() -> None:
    first = an_attempt("a", Outcome.TASKS_FAILED, target="azure")
    second = an_attempt("b", Outcome.DONE)
    assert last_run([second, first]) == (second,)


def test_a_retry_and_a_destroy_later_the_report_is_of_the_run(mixed_alone: Workplace) -> None:
    place = mixed_alone
    assert place.run("retry", place.spec, "--progress", "quiet").code == 3
    assert place.run("destroy", place.spec, "-y", "--progress", "quiet").code == 0
    runs = place.spec.parent / ".batchspec" / "mixed" / "runs"
    first, second, destroyed = (record.parent.name for record in recorded_runs(runs))
    done = place.run("report", place.spec)
    assert os.path.relpath(runs / second / "report.html", place.folder) in done.out
    page = checked((runs / second / "report.html").read_text(encoding="utf-8"))
    assert "Attempts" in page
    assert first in page
    assert "Steps of attempt 1" in page
    assert "Steps of attempt 2" in page
    assert "Failed and run again since: exit-7: 3" in page
    alone = place.run("report", place.spec, "--run", first, "--out", "-").out
    assert "<caption>Attempts" not in alone
    assert "exit-7: 3 tasks" in alone
    assert (
        "delete job mixed" in place.run("report", place.spec, "--run", destroyed, "--out", "-").out
    )
    wrong = place.run("report", place.spec, "--run", "x")
    assert wrong.code == 2
    assert destroyed in wrong.err


def test_a_run_is_chosen_by_id_prefix_or_path(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    spec = tmp_path / "spec.yaml"
    spec.write_text(
        "version: 1\nname: demo\njob: {max_wall_clock_time: 1h}\n"
        "pool: {vm_size: standard_d2s_v5, nodes: 1, image: ubuntu-24.04}\n"
        "tasks: {one: {command: hostname}}\n",
        encoding="utf-8",
    )
    runs = runs_folder(spec, "demo")
    ids = ("20261130T101112.000001Z", "20261201T101112.000001Z", "20261201T111112.000001Z")
    for name in ids:
        (runs / name).mkdir(parents=True)
        shutil.copy(RECORDED, runs / name / "events.jsonl")
    first, second, third = ids
    for text, page in (
        (first, first),
        ("20261130", first),
        (f".batchspec/demo/runs/{second}", second),
        (f".batchspec/demo/runs/{third}/report.html", third),
    ):
        assert report(spec, run=text) == Exit.DONE
        shown = capsys.readouterr()
        assert f"runs/{page}/report.html" in shown.out
        assert "the record of this run has no data about its tasks [no-task-facts]" in shown.err
    with pytest.raises(DiskError) as unwritable:
        report(spec, tmp_path / "missing" / "page.html")
    assert unwritable.value.exit == Exit.SERVICE
    (problem,) = unwritable.value.problems
    assert problem.code == "unwritable-file"
    assert "`--out FILE`" in problem.fix
    with pytest.raises(UsageError) as caught:
        report(spec, run="20261201")
    (problem,) = caught.value.problems
    assert (problem.code, problem.detail) == ("no-such-run", f"{second}\n{third}")
    assert f"`batchspec report --run {third}`" in problem.fix


def test_the_page_and_its_script_use_the_same_placeholder() -> None:
    script = Path(report_page.__file__).with_name("assets") / "table.js"
    assert f'run.logs.replace("{TASK}", ' in script.read_text(encoding="utf-8")
    assert shlex.quote(TASK) == TASK, "a command contains it as it is"


def test_the_plotting_library_is_the_published_one() -> None:
    """uPlot 1.6.32 from npm, dist/uPlot.iife.min.js and dist/uPlot.min.css; MIT."""
    assets = Path(report_page.__file__).with_name("assets")
    digests = {
        name: hashlib.sha256((assets / name).read_bytes()).hexdigest()[:16]
        for name in ("uPlot.iife.min.js", "uPlot.min.css")
    }
    assert digests == {"uPlot.iife.min.js": "19c8d4c6ad88929a", "uPlot.min.css": "df630c6a8d6f8eea"}
    assert "Permission is hereby granted" in (assets / "uPlot.LICENSE").read_text(encoding="utf-8")
    assert sum(path.stat().st_size for path in assets.iterdir()) < 200_000
