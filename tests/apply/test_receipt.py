"""What a download writes down of the results that are here: each once, as it is now."""

from __future__ import annotations

from pathlib import Path

from batchspec.exit_codes import Exit
from batchspec.plan.actions import DownloadResults
from batchspec.plan.results import receipt_entries, receipt_job
from batchspec.spec import Record
from tests.apply.fake import FakeAccount
from tests.apply.test_concurrent_runs import carried_out


async def noted(account: FakeAccount, folder: Path, job: str) -> dict[str, bytes]:
    """Download; then the content that the receipt promises, by the path, each path once."""
    receipt = folder / ".batchspec" / "results.jsonl"
    account.jobs.setdefault(job, Record(id=job))
    code, _ = await carried_out(account, receipt, DownloadResults("output", folder / "to", job))
    assert code == Exit.DONE
    with receipt.open(encoding="utf-8") as file:
        assert (receipt_job(file.readline()) or "").startswith(f"{job} of ")
        entries = list(receipt_entries(file, receipt.parent))
    assert len({entry.path for entry in entries}) == len(entries)
    return {entry.path.name: entry.md5 for entry in entries}


async def test_a_changed_result_is_updated_in_the_receipt(tmp_path: Path) -> None:
    account = FakeAccount(containers={"output": {"a": b"old", "b": b"same"}})
    first = await noted(account, tmp_path, "j")
    account.containers["output"]["a"] = b"new"
    second = await noted(account, tmp_path, "j-r2")
    assert set(second) == {"a", "b"}
    assert second["a"] != first["a"]
    assert second["b"] == first["b"]


async def test_results_of_an_earlier_job_stay_in_the_receipt(tmp_path: Path) -> None:
    """Clean-up took the container away; the next job brings the one result that changed."""
    account = FakeAccount(containers={"output": {"a": b"old", "b": b"same"}})
    await noted(account, tmp_path, "j")
    account.containers["output"] = {"a": b"new"}
    assert set(await noted(account, tmp_path, "j-r2")) == {"a", "b"}


async def test_a_result_that_the_user_has_changed_is_removed(
    tmp_path: Path,
) -> None:
    account = FakeAccount(containers={"output": {"a": b"a", "b": b"b"}})
    await noted(account, tmp_path, "j")
    (tmp_path / "to" / "b").write_bytes(b"something else")
    account.containers["output"] = {"a": b"new"}
    assert set(await noted(account, tmp_path, "j-r2")) == {"a"}
