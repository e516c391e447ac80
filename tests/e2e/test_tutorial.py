"""The tutorial as a user runs it: correct results, and a second run that has nothing to do."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from azure.batch import BatchClient
from azure.core.credentials import AzureNamedKeyCredential

from tests.e2e.conftest import Done, Workplace, tutorial
from tests.e2e.gallery import windows_package

LICENCES = Path("/usr/share/common-licenses")


def counted(path: Path, top: int) -> list[tuple[str, int]]:
    """The most frequent words of a small text, counted independently of the program."""
    text = unicodedata.normalize("NFC", path.read_text(encoding="utf-8"))
    words = re.findall(r"[^\W_]+(?:['\u2019][^\W_]+)*", text)
    counts = Counter(word.replace("\u2019", "'").casefold() for word in words)
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:top]


def written(path: Path) -> list[tuple[str, int]]:
    """The words and counts of a result."""
    rows = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]
    return [(row[0], int(row[1])) for row in rows if len(row) == 2]


def client_of(place: Workplace) -> BatchClient:
    ends = place.endpoints()
    return BatchClient(ends.batch_url, AzureNamedKeyCredential(ends.batch_account, ends.batch_key))


@dataclass(frozen=True, slots=True)
class Finished:
    """A run of the tutorial in a separate process, as a user runs it, and the status before it."""

    place: Workplace
    before: Done
    done: Done


@pytest.fixture(scope="module")
def finished(
    azurite_installed: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Finished]:
    """Not to be changed by a test."""
    with tutorial(tmp_path_factory.mktemp("tutorial")) as place:
        before = place.run("status", place.spec, "--format", "json")
        user = Workplace(place.folder, place.home, place.environ)
        yield Finished(place, before, user.run("apply", place.spec, "--progress", "json"))


def test_the_tutorial_runs_and_its_results_are_right(finished: Finished) -> None:
    place, done = finished.place, finished.done
    assert done.code == 0, done.text
    inputs = sorted((place.folder / "specs" / "data").glob("*.txt"))
    assert len(inputs) == 3
    for path in inputs:
        assert written(place.results / f"{path.name}.top.txt") == counted(path, 3)
    assert sorted(p.name for p in place.results.iterdir()) == sorted(
        f"{path.name}.top.txt" for path in inputs
    )


def test_a_second_run_has_nothing_to_do(finished: Finished) -> None:
    place = finished.place
    before = {p: p.stat().st_mtime_ns for p in place.results.iterdir()}
    again = place.run("apply", place.spec)
    assert again.code == 0
    assert "Nothing to do" in again.out
    assert {p: p.stat().st_mtime_ns for p in place.results.iterdir()} == before
    assert place.run("plan", place.spec, "--exit-code").code == 0


def test_yes_deletes_all_that_was_made(place: Workplace) -> None:
    assert place.run("apply", place.spec, "-y").code == 0
    with client_of(place) as client:
        assert not list(client.list_pools())
        assert not list(client.list_jobs())
    assert len(list(place.results.iterdir())) == 3


def test_the_record_of_a_run_has_its_tasks_if_an_earlier_job_had_the_same_id(
    place: Workplace,
) -> None:
    for count in (1, 2):
        assert place.run("apply", place.spec, "-y").code == 0
        assert len(list(place.spec.parent.glob(".batchspec/topn/runs/*/tasks/topn.*"))) == count
    done = place.run("report", place.spec, "--format", "csv")
    assert done.code == 0, done.text
    assert done.err == ""
    assert len(done.out.splitlines()) == 1 + 3


def test_a_variable_changes_the_work(place: Workplace) -> None:
    assert place.run("apply", place.spec).code == 0
    done = place.run("apply", place.spec, "--var", "top=5")
    assert done.code == 0, done.text
    for path in (place.folder / "specs" / "data").glob("*.txt"):
        assert written(place.results / f"{path.name}.top.txt") == counted(path, 5)


@pytest.mark.skipif(not LICENCES.is_dir(), reason="Debian's licence texts are not here")
def test_the_licence_texts_of_debian(place: Workplace) -> None:
    """The tutorial counts files of the system, some of which are links."""
    place.edit("files: data/*.txt", f"files: {LICENCES}/*")
    done = place.run("apply", place.spec, "--var", "top=10")
    assert done.code == 0, done.text
    texts = [path for path in sorted(LICENCES.iterdir()) if path.is_file()]
    assert len(texts) > 10
    for path in texts:
        assert written(place.results / f"{path.name}.top.txt") == counted(path, 10), path.name


def test_each_task_was_run_once_and_its_output_can_be_read(finished: Finished) -> None:
    with client_of(finished.place) as client:
        tasks = list(client.list_tasks("topn"))
        assert len(tasks) == 3
        for task in tasks:
            assert task.execution_info is not None
            assert task.execution_info.exit_code == 0
            assert task.execution_info.retry_count == 0
            assert task.execution_info.requeue_count == 0


def test_the_events_are_numbered_lines_of_json(finished: Finished) -> None:
    events = [json.loads(line) for line in finished.done.out.splitlines()]
    assert events[0]["type"] == "version"
    assert events[0]["stream"] == 1
    numbers = [event["seq"] for event in events[1:]]
    assert numbers == list(range(1, len(numbers) + 1))
    assert events[-1]["type"] == "run_ended"
    assert events[-1]["exit"] == 0


def test_status_tells_what_there_is(finished: Finished) -> None:
    place = finished.place
    assert json.loads(finished.before.out)["job"] is None
    seen = json.loads(place.run("status", place.spec, "--format", "json").out)
    assert seen["job"] == {"id": "topn", "state": "completed"}
    assert seen["tasks"] == {"total": 3, "active": 0, "running": 0, "succeeded": 3, "failed": 0}
    assert seen["nodes"] == {"idle": 3}


def test_destroy_takes_away_what_apply_left_and_only_that(place: Workplace) -> None:
    assert place.run("apply", place.spec).code == 0
    refused = place.run("destroy", place.spec)
    assert refused.code == 2, "nobody was asked"
    assert place.run("destroy", place.spec, "-y").code == 0
    with client_of(place) as client:
        assert not list(client.list_pools())
        assert not list(client.list_jobs())
    again = place.run("destroy", place.spec, "-y")
    assert again.code == 0
    assert "Nothing to delete" in again.out


def test_the_windows_spec_is_planned_with_its_requests(place: Workplace) -> None:
    windows_package(place)
    spec = place.spec.with_name("topn-windows.yaml")
    done = place.run("plan", spec, "-v")
    assert done.code == 0, done.text
    assert "robocopy" in done.out
    assert "POST /pools" in done.out
    assert "batch.node.windows amd64" in done.out
    assert "sig=" not in done.out


def test_rerun_does_all_of_it_again_in_a_new_job(place: Workplace) -> None:
    assert place.run("apply", place.spec).code == 0
    again = place.run("apply", place.spec, "--rerun")
    assert again.code == 0, again.text
    with client_of(place) as client:
        assert len(list(client.list_tasks("topn-r2"))) == 3
    assert "Nothing to do" in place.run("apply", place.spec).out
