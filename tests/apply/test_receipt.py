"""The receipt of downloads lists each result on this disk once, with its present content."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchspec.apply.events import StepFailed
from batchspec.exit_codes import Exit
from batchspec.plan.actions import DownloadResults
from batchspec.plan.receipt import receipt_entries, receipt_job
from batchspec.spec import Record
from tests.apply.fake import FakeAccount
from tests.apply.test_concurrent_runs import carried_out


async def downloaded(account: FakeAccount, folder: Path, job: str) -> dict[str, bytes]:
    """Download; returns the MD5 of each file in the receipt, by its name."""
    receipt = folder / ".batchspec" / "results.jsonl"
    account.job_bodies.setdefault(job, Record(id=job))
    code, _ = await carried_out(account, receipt, DownloadResults("output", folder / "to", job))
    assert code == Exit.DONE
    with receipt.open(encoding="utf-8") as file:
        assert (receipt_job(file.readline()) or "").startswith(f"{job} of ")
        entries = list(receipt_entries(file, receipt.parent))
    assert len({entry.path for entry in entries}) == len(entries)
    return {entry.path.name: entry.md5 for entry in entries}


async def test_a_changed_result_is_updated_in_the_receipt(tmp_path: Path) -> None:
    account = FakeAccount(stored={"output": {"a": b"old", "b": b"same"}})
    first = await downloaded(account, tmp_path, "j")
    account.stored["output"]["a"] = b"new"
    second = await downloaded(account, tmp_path, "j-r2")
    assert set(second) == {"a", "b"}
    assert second["a"] != first["a"]
    assert second["b"] == first["b"]


async def test_results_of_an_earlier_job_stay_in_the_receipt(tmp_path: Path) -> None:
    """Clean-up deleted the container; the next job creates the one result that changed."""
    account = FakeAccount(stored={"output": {"a": b"old", "b": b"same"}})
    await downloaded(account, tmp_path, "j")
    account.stored["output"] = {"a": b"new"}
    assert set(await downloaded(account, tmp_path, "j-r2")) == {"a", "b"}


async def test_a_result_that_the_user_has_changed_is_removed(
    tmp_path: Path,
) -> None:
    account = FakeAccount(stored={"output": {"a": b"a", "b": b"b"}})
    await downloaded(account, tmp_path, "j")
    (tmp_path / "to" / "b").write_bytes(b"something else")
    account.stored["output"] = {"a": b"new"}
    assert set(await downloaded(account, tmp_path, "j-r2")) == {"a"}


@pytest.mark.parametrize(
    ("name", "here"),
    [
        ("n" * 300, set()),
        ("a/b", {"a"}),
        (".git/hooks/pre-commit", set()),
        ("../outside", set()),
        ("folder", {"folder/of the user"}),
    ],
)
async def test_an_impossible_name_does_not_stop_the_other_results(
    name: str, here: set[str], tmp_path: Path
) -> None:
    """``a`` is a file of an earlier run, so that ``a/b`` cannot be written."""
    for path in here:
        (tmp_path / "to" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "to" / path).write_bytes(b"mine")
    stored = {"a": b"1", name: b"2", "z": b"3"}
    account = FakeAccount(stored={"output": stored}, job_bodies={"j": Record(id="j")})
    receipt = tmp_path / ".batchspec" / "results.jsonl"
    action = DownloadResults("output", tmp_path / "to", "j")
    code, events = await carried_out(account, receipt, action)
    assert code == Exit.SERVICE
    assert not receipt.exists()
    assert (tmp_path / "to" / "a").read_bytes() == b"1"
    assert (tmp_path / "to" / "z").read_bytes() == b"3"
    problems = [event.problem for event in events if isinstance(event, StepFailed)]
    assert [problem.code for problem in problems] == ["unsafe-result"]
    assert repr(name) in problems[0].summary


@pytest.mark.parametrize("relative", [True, False])
@pytest.mark.parametrize("to", ["", "data", "link"])
async def test_a_result_does_not_replace_a_file_of_the_spec(
    to: str, relative: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tmp_path = Path() if relative else tmp_path
    spec, source = tmp_path / "spec.yaml", tmp_path / "data" / "a.txt"
    source.parent.mkdir()
    spec.write_bytes(b"spec")
    source.write_bytes(b"source")
    (tmp_path / "link").symlink_to("data")
    names = ("spec.yaml", "data/a.txt") if not to else ("a.txt",)
    stored = {**dict.fromkeys(names, b"result"), "z": b"3"}
    account = FakeAccount(stored={"output": stored}, job_bodies={"j": Record(id="j")})
    receipt = tmp_path / ".batchspec" / "results.jsonl"
    action = DownloadResults("output", tmp_path / to, "j", sources=(spec, source))
    code, events = await carried_out(account, receipt, action)
    assert code == Exit.SERVICE
    assert (spec.read_bytes(), source.read_bytes()) == (b"spec", b"source")
    assert (tmp_path / to / "z").read_bytes() == b"3"
    (problem,) = (event.problem for event in events if isinstance(event, StepFailed))
    assert "would replace" in problem.summary
    assert ("1 more blob was" in problem.detail) == (len(names) == 2)


async def test_the_first_of_results_with_equal_names_is_downloaded(tmp_path: Path) -> None:
    stored = {"0/a": b"first", "1/a": b"second", "1/b": b"b"}
    account = FakeAccount(stored={"output": stored}, job_bodies={"j": Record(id="j")})
    action = DownloadResults("output", tmp_path / "to", "j", flat=True)
    code, events = await carried_out(account, tmp_path / ".batchspec" / "results.jsonl", action)
    assert code == Exit.SERVICE
    found = {path.name: path.read_bytes() for path in (tmp_path / "to").iterdir()}
    assert found == {"a": b"first", "b": b"b"}
    (problem,) = (event.problem for event in events if isinstance(event, StepFailed))
    assert "'1/a'" in problem.summary


async def test_a_source_with_the_content_of_the_result_is_up_to_date(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"same")
    account = FakeAccount(stored={"output": {"a": b"same"}}, job_bodies={"j": Record(id="j")})
    action = DownloadResults("output", tmp_path, "j", sources=(tmp_path / "a",))
    code, _ = await carried_out(account, tmp_path / ".batchspec" / "results.jsonl", action)
    assert code == Exit.DONE


@pytest.mark.parametrize(
    "line",
    [
        "[" * 100_000,
        "null",
        '{"container": 1, "blob": "b", "path": "p", "size": 1, "md5": "aa"}',
        '{"container": "c", "blob": "b", "path": "a\\u0000", "size": 1, "md5": "aa"}',
        '{"container": "c", "blob": "b", "path": "p", "size": "1", "md5": "aa"}',
        '{"container": "c", "blob": "b", "path": "p", "size": 1, "md5": "xx"}',
        '{"size": ' + "9" * 5000 + "}",
    ],
)
def test_a_damaged_line_ends_the_receipt(line: str, tmp_path: Path) -> None:
    good = '{"container": "c", "blob": "b", "path": "p", "size": 1, "md5": "aa"}'
    assert len(list(receipt_entries([good, line, good], tmp_path))) == 1
    assert receipt_job("[" * 100_000) is None
