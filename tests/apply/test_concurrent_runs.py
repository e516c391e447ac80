"""Another client runs the same spec: its completed work is not repeated."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from batchspec.account import TaskAdded
from batchspec.apply import run
from batchspec.apply.download import exclusive
from batchspec.apply.events import Event, StepDone, StepFailed
from batchspec.diagnostics import Diagnostic, ServiceError
from batchspec.exit_codes import Exit
from batchspec.plan import ExpectedOutput, Outputs, Plan, Step, Task, Verb
from batchspec.plan.actions import (
    Action,
    CloseJob,
    CreateContainer,
    DownloadResults,
    SubmitTasks,
    UploadFiles,
    WaitForTasks,
)
from batchspec.plan.metadata import BY, ORIGIN, VERSION, applied_to, created_by
from batchspec.plan.observed import AccountNames, Blob, LocalFile, PoolFacts
from batchspec.spec import Record
from tests.apply.fake import FakeAccount

HOUR = timedelta(hours=1)


async def carried_out(
    account: FakeAccount, receipt: Path, *actions: Action
) -> tuple[Exit, list[Event]]:
    """The actions, one after the other."""
    steps = []
    for number, action in enumerate(actions):
        after = (f"step-{number - 1}",) if number else ()
        steps.append(Step(f"step-{number}", action, Verb.WAIT, "it", "because", after))
    here = AccountNames("local", "batch", "storage")
    plan = Plan(here, "topn", "", "d", tuple(steps), (), (), "f")
    events: list[Event] = []
    code = await run(plan, account.runtime(), events.append, receipt)
    return code, events


def problems(events: list[Event]) -> list[Diagnostic]:
    return [event.problem for event in events if isinstance(event, StepFailed)]


def fetch(folder: Path, job: str = "j") -> DownloadResults:
    return DownloadResults("output", folder / "results", job)


async def test_results_that_another_run_has_downloaded(tmp_path: Path) -> None:
    account, receipt = FakeAccount(), tmp_path / ".batchspec" / "results.jsonl"
    account.stored["output"] = {"a.txt": b"a", "b.txt": b"b"}
    account.job_bodies["j"] = Record(id="j")
    assert (await carried_out(account, receipt, fetch(tmp_path)))[0] == Exit.DONE
    del account.stored["output"]
    before = receipt.read_bytes()
    code, events = await carried_out(account, receipt, fetch(tmp_path))
    assert code == Exit.DONE
    assert [e.note for e in events if isinstance(e, StepDone)] == ["2 were up to date"]
    assert receipt.read_bytes() == before


def created(name: str, origin: str, version: str) -> CreateContainer:
    applied = {ORIGIN: origin, VERSION: version, BY: f"{origin}@host"}
    return CreateContainer(name, created_by("topn", applied), user="topn", applied=applied)


async def test_a_container_of_another_run_is_a_question(tmp_path: Path) -> None:
    account = FakeAccount()
    receipt = tmp_path / "results.jsonl"
    assert (await carried_out(account, receipt, created("input", "ada", "1")))[0] == Exit.DONE
    account.answers = [False]
    code, events = await carried_out(account, receipt, created("input", "bob", "2"))
    assert code == Exit.USAGE
    (problem,) = problems(events)
    assert problem.code == "other-run"
    assert "applied by ada@host" in problem.summary
    assert applied_to(account.container_metadata["input"], "topn")[ORIGIN] == "ada", (
        "nothing was written"
    )

    account.answers = [True]
    assert (await carried_out(account, receipt, created("input", "bob", "2")))[0] == Exit.DONE
    assert applied_to(account.container_metadata["input"], "topn")[ORIGIN] == "bob"


async def test_a_container_of_the_same_version_is_no_question(tmp_path: Path) -> None:
    account = FakeAccount()
    for origin in ("ada", "bob"):
        code, _ = await carried_out(account, tmp_path / "r", created("input", origin, "1"))
        assert code == Exit.DONE
    assert not account.asked


@pytest.mark.parametrize("place", ["results", ".batchspec"])
async def test_a_disk_error_fails_the_step(tmp_path: Path, place: str) -> None:
    account, receipt = FakeAccount(), tmp_path / ".batchspec" / "results.jsonl"
    account.stored["output"] = {"a.txt": b"a"}
    (tmp_path / place).write_text("a file where a folder is wanted")
    code, events = await carried_out(account, receipt, fetch(tmp_path))
    assert code == Exit.SERVICE
    (problem,) = problems(events)
    assert problem.code == "results-unwritable"
    assert str(tmp_path / place) in problem.detail
    (tmp_path / place).unlink()
    assert (await carried_out(account, receipt, fetch(tmp_path)))[0] == Exit.DONE
    assert (tmp_path / "results" / "a.txt").read_bytes() == b"a"


async def test_a_full_disk_names_the_folder_and_leaves_no_partial_file(tmp_path: Path) -> None:
    account, receipt = FakeAccount(), tmp_path / ".batchspec" / "demo" / "results.jsonl"
    account.stored["output"] = {f"{number}.txt": b"a" for number in range(200)}
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        code, events = await carried_out(account, receipt, fetch(tmp_path))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert code == Exit.SERVICE
    (problem,) = problems(events)
    assert problem.code == "results-unwritable"
    assert f"the list of downloaded results cannot be written to {receipt.parent}: " in (
        problem.summary
    )
    assert not list(tmp_path.rglob("*.part"))
    assert (await carried_out(account, receipt, fetch(tmp_path)))[0] == Exit.DONE
    assert receipt.read_text().count("\n") == 201


async def test_a_container_that_is_deleted_during_the_download(tmp_path: Path) -> None:
    """The blobs are listed; the container is deleted before the first is downloaded."""

    class Vanishing(FakeAccount):
        class Blobs(FakeAccount.Blobs):
            async def download(self, *_: object) -> bytes:
                self.account.stored.clear()
                raise ServiceError(
                    Diagnostic("container-not-found", "gone"), code="ContainerNotFound"
                )

    account, receipt = Vanishing(), tmp_path / "results.jsonl"
    account.stored["output"] = {"a.txt": b"a"}
    code, events = await carried_out(account, receipt, fetch(tmp_path))
    assert code == Exit.SERVICE
    assert [p.code for p in problems(events)] == ["container-gone"]
    assert not receipt.exists()
    assert list(tmp_path.rglob("*.part")) == []


class Promised(Outputs):
    """Two tasks promise a file each."""

    def __iter__(self) -> Iterator[ExpectedOutput]:
        for name in ("a.txt", "b.txt"):
            yield ExpectedOutput("make", 0, name, "output", "", required=False, task=name)


async def test_outputs_that_are_deleted_between_the_check_and_the_download(tmp_path: Path) -> None:
    """As by the end of the emulator of blob storage, which loses its last writes."""

    class Forgetting(FakeAccount):
        class Blobs(FakeAccount.Blobs):
            async def list(self, container: str, prefix: str = "") -> AsyncIterator[Blob]:
                async for blob in super().list(container, prefix):
                    yield blob
                self.account.stored["output"].pop("b.txt", None)

    account, receipt = Forgetting(), tmp_path / "results.jsonl"
    account.job_bodies["j"] = Record(id="j")
    account.stored["output"] = {"a.txt": b"a", "b.txt": b"b"}
    download = replace(fetch(tmp_path), outputs=Promised())
    code, events = await carried_out(account, receipt, download)
    assert code == Exit.SERVICE
    (problem,) = problems(events)
    assert problem.code == "outputs-gone"
    assert problem.summary.startswith("1 blob of the container 'output' was deleted")
    assert (tmp_path / "results" / "a.txt").exists()
    assert not receipt.exists(), "the next run does not count the results as complete"

    code, events = await carried_out(account, receipt, download)
    assert code == Exit.DONE, "a missing output that no check has found is a warning"


async def test_a_deleted_container_without_downloaded_results_is_an_error(tmp_path: Path) -> None:
    account, receipt = FakeAccount(), tmp_path / "results.jsonl"
    code, events = await carried_out(account, receipt, fetch(tmp_path))
    assert code == Exit.SERVICE
    (problem,) = problems(events)
    assert problem.code == "container-gone"
    assert "another apply" in problem.fix


async def test_results_of_an_earlier_job_do_not_count(tmp_path: Path) -> None:
    account, receipt = FakeAccount(), tmp_path / "results.jsonl"
    account.stored["output"] = {"a.txt": b"a"}
    await carried_out(account, receipt, fetch(tmp_path, "j"))
    del account.stored["output"]
    code, _ = await carried_out(account, receipt, fetch(tmp_path, "j-r2"))
    assert code == Exit.SERVICE


async def test_a_folder_has_one_download_at_a_time(tmp_path: Path) -> None:
    account, receipt = FakeAccount(), tmp_path / "results.jsonl"
    account.stored["output"] = {"a.txt": b"a"}
    async with exclusive(receipt):
        waiting = asyncio.ensure_future(carried_out(account, receipt, fetch(tmp_path)))
        done, _ = await asyncio.wait({waiting}, timeout=0.2)
        assert not done
        assert account.calls == []
    assert (await waiting)[0] == Exit.DONE


async def test_closing_a_job_that_has_ended(tmp_path: Path) -> None:
    class Ended(FakeAccount):
        class Jobs(FakeAccount.Jobs):
            async def update(self, job_id: str, patch: Record) -> None:
                raise ServiceError(Diagnostic("job-completed", "it has ended"), code="JobCompleted")

    code, events = await carried_out(Ended(), tmp_path / "r", CloseJob("j"))
    assert code == Exit.DONE
    assert [e.note for e in events if isinstance(e, StepDone)] == ["the job has already ended"]


async def test_a_pool_that_is_deleted_after_the_job_has_ended(tmp_path: Path) -> None:
    """Between two polls the last task ends, and the other run deletes the pool."""

    class Ending(FakeAccount):
        class Pools(FakeAccount.Pools):
            async def get(self, pool_id: str) -> PoolFacts | None:
                self.account.terminated["j"] = "AllTasksComplete"
                return None

    account = Ending(job_bodies={"j": Record(id="j")}, task_ids={"j": ["a", "b"]})
    code, _ = await carried_out(account, tmp_path / "r", WaitForTasks("j", "p", 2, HOUR))
    assert code == Exit.DONE


async def test_a_pool_that_is_deleted_while_tasks_wait(tmp_path: Path) -> None:
    account = FakeAccount(job_bodies={"j": Record(id="j")}, task_ids={"j": ["a"]}, never_done=True)
    code, events = await carried_out(account, tmp_path / "r", WaitForTasks("j", "p", 1, HOUR))
    assert code == Exit.SERVICE
    (problem,) = problems(events)
    assert problem.code == "pool-gone"
    assert "another apply" in problem.fix


async def test_a_container_that_is_deleted_during_the_upload(tmp_path: Path) -> None:
    class Vanished(FakeAccount):
        class Blobs(FakeAccount.Blobs):
            async def upload(self, *_: object) -> None:
                raise ServiceError(
                    Diagnostic("container-not-found", "gone"), code="ContainerNotFound"
                )

    file = tmp_path / "a.txt"
    file.write_text("a")
    files = (LocalFile("a.txt", str(file), 1, b"0" * 16),)
    code, events = await carried_out(Vanished(), tmp_path / "r", UploadFiles("input", files, 1))
    assert code == Exit.SERVICE
    assert "another apply" in problems(events)[0].fix


@pytest.mark.parametrize("code", ["JobBeingTerminated", "JobCompleted"])
async def test_a_job_that_ends_while_tasks_are_submitted(tmp_path: Path, code: str) -> None:
    class Stopped(FakeAccount):
        class Tasks(FakeAccount.Tasks):
            async def create_collection(self, *_: object) -> list[TaskAdded]:
                self.account.terminated["j"] = "stopped by ada@host: wrong input"
                raise ServiceError(Diagnostic("x", "takes no more tasks"), code=code, status=409)

    account = Stopped(job_bodies={"j": Record(id="j")})
    tasks = (Task("t-1", "stage", 0, Record(id="t-1", commandLine="true")),)
    exit_code, events = await carried_out(
        account, tmp_path / "r", SubmitTasks("j", "stage", tasks, HOUR)
    )
    assert exit_code == Exit.TASKS_FAILED
    (problem,) = problems(events)
    assert problem.code == "job-ended"
    assert problem.summary.endswith(": stopped by ada@host: wrong input")
    assert "`batchspec apply` runs the rest" in problem.fix
