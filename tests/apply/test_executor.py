"""The executor: order, gates, failures, interruption. The account and the clock are fakes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchspec.apply import run
from batchspec.apply.events import (
    Event,
    NodeFailed,
    Noticed,
    Outcome,
    RunEnded,
    RunStarted,
    StepDone,
    StepFailed,
    StepSkipped,
    StepStarted,
    TaskFailed,
)
from batchspec.apply.executor import HANDLERS
from batchspec.apply.ports import Deletion
from batchspec.diagnostics import Diagnostic, ServiceError
from batchspec.exit_codes import Exit
from batchspec.plan import Gate, NodeRelease, Plan, Step, Task, Verb
from batchspec.plan.actions import (
    Action,
    CloseJob,
    CreateContainer,
    CreateJob,
    CreatePool,
    DeleteContainers,
    DeleteJob,
    DeletePool,
    DownloadResults,
    ReplacePool,
    SubmitTasks,
    UploadFiles,
    WaitForPool,
    WaitForTasks,
)
from batchspec.plan.metadata import ORIGIN, SPEC, VERSION
from batchspec.plan.observed import AccountNames, JobFacts, LocalFile
from batchspec.spec import Record
from tests.apply.fake import START, FakeAccount, refused

HOUR = timedelta(hours=1)


def step(
    name: str, action: Action, *after: str, gate: Gate = Gate.FLOW, verb: Verb = Verb.CREATE
) -> Step:
    return Step(name, action, verb, name, "because", after, 1, gate)


def plan_of(steps: Sequence[Step]) -> Plan:
    account = AccountNames("local", "batch", "storage")
    return Plan(account, "topn", "", "d", tuple(steps), (), (), "f")


def test_every_action_has_a_function() -> None:
    assert set(HANDLERS) == set(get_args(Action))


def tutorial(folder: Path) -> Plan:
    """The plan of a small run: upload two files, run two tasks, download, delete everything."""
    files = []
    for name in ("a.txt", "b.txt"):
        path = folder / name
        path.write_text(name)
        files.append(LocalFile(name, str(path), path.stat().st_size, b"0" * 16))
    tasks = tuple(
        Task(f"count-{n}", "count", n, Record(id=f"count-{n}", commandLine="true"), ())
        for n in range(250)
    )
    body = Record(id="p", targetDedicatedNodes=3)
    return plan_of(
        [
            step("container", CreateContainer("input")),
            step("upload", UploadFiles("input", tuple(files), 10), "container"),
            step("pool", CreatePool("p", body, HOUR), "container"),
            step("ready", WaitForPool("p", 3), "pool"),
            step("job", CreateJob("j", Record(id="j"), HOUR), "pool"),
            step("tasks", SubmitTasks("j", "count", tasks, HOUR), "job", "upload"),
            step("close", CloseJob("j"), "tasks"),
            step("done", WaitForTasks("j", "p", 250, HOUR), "close", "ready"),
            step("results", DownloadResults("input", folder / "results", "j"), "done"),
            step("delete-pool", DeletePool("p"), "results", gate=Gate.ASK, verb=Verb.DELETE),
            step(
                "delete-containers",
                DeleteContainers(("input",)),
                "results",
                "delete-pool",
                gate=Gate.SUCCESS,
                verb=Verb.DELETE,
            ),
            step("delete-job", DeleteJob("j"), "results", gate=Gate.ASK, verb=Verb.DELETE),
        ]
    )


async def events_of(
    plan: Plan, account: FakeAccount, folder: Path
) -> tuple[list[Event], Exit | None]:
    events: list[Event] = []
    code = await run(plan, account.runtime(), events.append, folder / "receipt.jsonl")
    return events, code


def ended(events: Sequence[Event]) -> RunEnded:
    last = events[-1]
    assert isinstance(last, RunEnded)
    return last


async def test_a_run_from_start_to_end(tmp_path: Path) -> None:
    account = FakeAccount()
    events, code = await events_of(tutorial(tmp_path), account, tmp_path)
    assert code is Exit.DONE
    assert ended(events).outcome is Outcome.DONE
    assert not ended(events).left
    assert isinstance(events[0], RunStarted)
    assert (tmp_path / "results" / "a.txt").read_text() == "a.txt"
    assert not account.stored
    assert not account.pool_bodies
    assert not account.job_bodies
    assert account.task_ids["j"] == [f"count-{n}" for n in range(250)]


async def test_job_and_pool_are_asked_about_separately(tmp_path: Path) -> None:
    account = FakeAccount(answers=[False, True])
    events, _ = await events_of(tutorial(tmp_path), account, tmp_path)
    assert account.asked == [
        Deletion("delete-job", None, failed=False),
        Deletion("delete-pool", 3, failed=False),
    ]
    assert set(account.job_bodies) == {"j"}
    assert not account.pool_bodies
    assert ended(events).left == ("delete-job",)


async def test_a_pool_whose_nodes_stay_is_named_if_nothing_else_is_left(tmp_path: Path) -> None:
    stays = (
        step("pool p", DeletePool("p"), gate=Gate.END, verb=Verb.DELETE),
        step("job j", DeleteJob("j"), gate=Gate.END, verb=Verb.DELETE),
    )
    plan = replace(tutorial(tmp_path), stays=stays, nodes_stay=True)
    plan = replace(plan, steps=tuple(s for s in plan.steps if not s.id.startswith("delete-")))
    events, _ = await events_of(plan, FakeAccount(answers=[True, True]), tmp_path)
    assert ended(events).left == ("pool p",)
    events, _ = await events_of(
        replace(plan, nodes_stay=False), FakeAccount(answers=[True, True]), tmp_path
    )
    assert ended(events).left == (), "the service releases the nodes"


async def test_objects_that_another_client_has_deleted_are_not_left(tmp_path: Path) -> None:
    class Deleted(FakeAccount):
        class Jobs(FakeAccount.Jobs):
            async def get(self, job_id: str) -> JobFacts | None:
                # The tasks of the run are submitted; then another client deletes its pool.
                if len(self.account.task_ids.get("j", [])) == 250:
                    self.account.pool_bodies.pop("p", None)
                return await super().get(job_id)

    account, plan = Deleted(never_done=True), tutorial(tmp_path)
    steps = (replace(s, gate=Gate.SUCCESS) if s.id == "delete-pool" else s for s in plan.steps)
    events, code = await events_of(replace(plan, steps=tuple(steps)), account, tmp_path)
    assert code is Exit.SERVICE
    (failed,) = [event for event in events if isinstance(event, StepFailed)]
    assert failed.problem.code == "pool-gone"
    assert ended(events).left == ("delete-containers", "delete-job")


async def test_remaining_objects_include_those_that_clean_up_keeps(tmp_path: Path) -> None:
    """The jobs of earlier versions stay, too; a job that was not created does not."""
    stays = tuple(
        step(name, action, gate=Gate.END, verb=Verb.DELETE)
        for name, action in (("job j", DeleteJob("j")), ("job j-r2", DeleteJob("j-r2")))
    )
    plan = replace(tutorial(tmp_path), stays=stays)
    events, _ = await events_of(plan, FakeAccount(answers=[True, False]), tmp_path)
    assert ended(events).left == ("delete-pool", "job j", "job j-r2")
    events, _ = await events_of(plan, FakeAccount(answers=[True, True]), tmp_path)
    assert ended(events).left == (), "the user requested that everything else stays"
    account = FakeAccount(fail={"pools.create"}, job_bodies={"j-r2": Record(id="j-r2")})
    events, _ = await events_of(plan, account, tmp_path)
    assert "job j" not in ended(events).left
    assert "job j-r2" in ended(events).left


async def test_deletions_are_confirmed_after_failures(tmp_path: Path) -> None:
    account = FakeAccount(answers=[False, True], failing={"count-7"})
    events, code = await events_of(tutorial(tmp_path), account, tmp_path)
    assert code is Exit.TASKS_FAILED
    assert account.asked == [
        Deletion("delete-job", None, failed=True),
        Deletion("delete-pool", 3, failed=True),
    ]
    assert not account.pool_bodies
    assert ended(events).left == ("delete-containers", "delete-job")


async def test_no_question_about_missing_objects(tmp_path: Path) -> None:
    account = FakeAccount(answers=[True], fail={"pools.create"})
    await events_of(tutorial(tmp_path), account, tmp_path)
    assert account.asked == []


def test_after_a_failure_the_default_is_to_delete_only_the_pool() -> None:
    assert Deletion("pool p", 3, failed=True).advised
    assert not Deletion("job j", None, failed=True).advised
    assert Deletion("job j", None, failed=False).advised


async def test_declined_deletions_are_reported_as_remaining(tmp_path: Path) -> None:
    account = FakeAccount(answers=[False, False])
    events, code = await events_of(tutorial(tmp_path), account, tmp_path)
    assert code is Exit.DONE
    assert set(account.pool_bodies) == {"p"}
    assert set(account.job_bodies) == {"j"}
    assert not account.stored
    assert ended(events).left == ("delete-pool", "delete-job")
    assert [e.because for e in events if isinstance(e, StepSkipped)] == ["declined"] * 2


@pytest.mark.parametrize("gate", [Gate.ASK, Gate.END, Gate.SUCCESS])
async def test_clean_up_keeps_a_pool_that_runs_tasks_of_another_spec(
    gate: Gate, tmp_path: Path
) -> None:
    other = JobFacts("other", "active", START, Record(), {SPEC: "other"}, pool="P")
    account = FakeAccount(other_jobs=(other,), task_ids={"other": ["t"]})
    whole = tutorial(tmp_path)
    plan = replace(
        whole,
        steps=tuple(
            replace(one, gate=gate) if isinstance(one.action, DeletePool) else one
            for one in whole.steps
        ),
    )
    events, code = await events_of(plan, account, tmp_path)
    assert code is Exit.DONE
    assert set(account.pool_bodies) == {"p"}
    assert ended(events).left == ("delete-pool",)
    (skipped,) = [event for event in events if isinstance(event, StepSkipped)]
    assert skipped.because == "in_use"
    (problem,) = [event.problem for event in events if isinstance(event, Noticed)]
    assert problem.code == "pool-in-use"
    assert problem.summary == (
        "the pool 'p' is kept: tasks of the job 'other' of the spec 'other' have not ended"
    )


@pytest.mark.parametrize("read", [False, True])
async def test_clean_up_keeps_containers_that_the_nodes_of_a_kept_pool_read(
    read: bool, tmp_path: Path
) -> None:
    """Nodes that the other spec still gets would not start without them."""
    other = JobFacts("other", "active", START, Record(), {SPEC: "other"}, pool="p")
    account = FakeAccount(other_jobs=(other,), task_ids={"other": ["t"]})
    whole = tutorial(tmp_path)
    plan = replace(
        whole,
        steps=tuple(
            replace(one, action=replace(one.action, read_by_nodes=read))
            if isinstance(one.action, DeleteContainers)
            else one
            for one in whole.steps
        ),
    )
    events, code = await events_of(plan, account, tmp_path)
    assert code is Exit.DONE
    assert bool(account.stored) == read
    skipped = [event.because for event in events if isinstance(event, StepSkipped)]
    assert skipped == ["in_use", *(["delete-pool"] if read else [])]


@pytest.mark.parametrize("forced", [False, True])
async def test_destroy_keeps_a_pool_that_another_spec_has_started_to_use(
    forced: bool, tmp_path: Path
) -> None:
    """The tasks were submitted after the plan was made, for example before its question."""
    other = JobFacts("other", "active", START, Record(), {SPEC: "other"}, pool="p")
    account = FakeAccount(other_jobs=(other,), task_ids={"other": ["t"]})
    await account.pools.create(Record(id="p"), HOUR)
    await account.containers.create("input", {}, None)
    plan = plan_of(
        [
            step("pool", DeletePool("p", forced=forced), verb=Verb.DELETE),
            step("containers", DeleteContainers(("input",), "topn"), "pool", verb=Verb.DELETE),
        ]
    )
    events, code = await events_of(plan, account, tmp_path)
    assert code is Exit.DONE
    assert set(account.pool_bodies) == (set() if forced else {"p"})
    assert [each.because for each in events if isinstance(each, StepSkipped)] == (
        [] if forced else ["in_use", "pool"]
    )
    assert ended(events).left == (() if forced else ("pool", "containers"))


@pytest.mark.parametrize("agreed", [False, True])
async def test_a_pool_that_runs_tasks_of_another_spec_is_replaced_after_a_question(
    agreed: bool, tmp_path: Path
) -> None:
    other = JobFacts("other", "active", START, Record(), {SPEC: "other"}, pool="p")
    account = FakeAccount(other_jobs=(other,), task_ids={"other": ["t"]}, answers=[agreed])
    before = Record(id="p", vmSize="a")
    await account.pools.create(before, HOUR)
    body = Record(id="p", vmSize="b", metadata=(Record(name=SPEC, value="topn"),))
    plan = plan_of([step("pool", ReplacePool("p", body, HOUR), verb=Verb.REPLACE)])
    events, code = await events_of(plan, account, tmp_path)
    assert [problem.summary for problem in account.asked if isinstance(problem, Diagnostic)] == [
        "the pool 'p' would be replaced: tasks of the job 'other' of the spec 'other' have not"
        " ended"
    ]
    assert account.pool_bodies == {"p": body if agreed else before}
    assert (code is Exit.DONE) == agreed
    failed = [event.problem.code for event in events if isinstance(event, StepFailed)]
    assert failed == ([] if agreed else ["replaced-pool-in-use"])


@pytest.mark.parametrize(
    ("spec", "pool", "tasks"), [("topn", "p", 1), ("other", "q", 1), ("other", "p", 0)]
)
async def test_jobs_without_work_on_a_pool_do_not_keep_it(
    spec: str, pool: str, tasks: int, tmp_path: Path
) -> None:
    """A job of this spec, one on another pool, and one without tasks."""
    job = JobFacts("other", "active", START, Record(), {SPEC: spec}, pool=pool)
    account = FakeAccount(other_jobs=(job,), task_ids={"other": ["t"] * tasks})
    events, _ = await events_of(tutorial(tmp_path), account, tmp_path)
    assert not account.pool_bodies
    assert not ended(events).left


@pytest.mark.parametrize("deleted", [True, False])
async def test_a_deleted_pool_has_no_nodes_to_release(deleted: bool, tmp_path: Path) -> None:
    account = FakeAccount(answers=[False, deleted])
    plan = replace(tutorial(tmp_path), release=NodeRelease())
    events, _ = await events_of(plan, account, tmp_path)
    assert (ended(events).released is None) == deleted


async def test_the_pool_is_deleted_before_its_containers(tmp_path: Path) -> None:
    account = FakeAccount()
    await events_of(tutorial(tmp_path), account, tmp_path)
    assert account.calls.index("pools.delete p") < account.calls.index("containers.delete input")


async def test_failed_tasks_are_reported_and_only_agreed_deletions_happen(
    tmp_path: Path,
) -> None:
    account = FakeAccount(failing={"count-3", "count-4"}, answers=[False, False])
    events, code = await events_of(tutorial(tmp_path), account, tmp_path)
    assert code is Exit.TASKS_FAILED
    failed = [e for e in events if isinstance(e, TaskFailed)]
    assert [(e.task, e.exit_code, e.stderr) for e in failed] == [
        ("count-3", 1, "count-3: no\n"),
        ("count-4", 1, "count-4: no\n"),
    ]
    assert (tmp_path / "results" / "a.txt").exists(), "existing results are downloaded"
    assert account.stored
    assert account.pool_bodies
    assert ended(events).left == ("delete-pool", "delete-containers", "delete-job")


@pytest.mark.parametrize("status", [403, 409, 500, 501, None])
@pytest.mark.parametrize("made", [False, True])
async def test_only_existing_objects_remain(
    tmp_path: Path, status: int | None, *, made: bool
) -> None:
    """After a failed creation the pool may exist; a refusal (403, 501) says that it does not."""

    class Refusing(FakeAccount):
        class Pools(FakeAccount.Pools):
            async def create(self, body: Record, sas: timedelta) -> bool:
                if made:
                    await super().create(body, sas)
                raise ServiceError(Diagnostic("no", "no"), code="No", status=status)

    events, code = await events_of(tutorial(tmp_path), Refusing(answers=[False]), tmp_path)
    assert code is Exit.SERVICE
    pool = ("delete-pool",) if made and status not in {403, 501} else ()
    assert ended(events).left == (*pool, "delete-containers")


async def test_a_container_that_was_not_created_is_not_reported(tmp_path: Path) -> None:
    class Refusing(FakeAccount):
        class Containers(FakeAccount.Containers):
            async def create(self, *_: object) -> bool:
                raise ServiceError(Diagnostic("no", "no"), code="No", status=403)

    events, _ = await events_of(tutorial(tmp_path), Refusing(), tmp_path)
    assert ended(events).left == ()


async def test_the_pool_and_job_of_another_run_are_not_deleted(tmp_path: Path) -> None:
    """Another client created pool and job after the plan was made, for another version."""
    plan = tutorial(tmp_path)
    ours = tuple(Record(name=name, value="ours") for name in (ORIGIN, VERSION))
    job = next(s for s in plan.steps if isinstance(s.action, CreateJob))
    action = CreateJob("j", Record(id="j", metadata=ours), HOUR)
    always = [
        replace(s, action=action if s is job else s.action)
        if s.gate is Gate.FLOW
        else replace(s, gate=Gate.END)
        for s in plan.steps
    ]

    class Shared(FakeAccount):
        class Jobs(FakeAccount.Jobs):
            async def get(self, job_id: str) -> JobFacts | None:
                found = await super().get(job_id)
                theirs = {ORIGIN: "theirs", VERSION: "theirs"}
                return found and replace(found, metadata=theirs)

    account = Shared(
        pool_bodies={"p": Record(id="p", targetDedicatedNodes=3)},
        job_bodies={"j": Record(id="j")},
        answers=[False],
    )
    events, code = await events_of(plan_of(always), account, tmp_path)
    assert code is Exit.USAGE
    assert set(account.pool_bodies) == {"p"}
    assert set(account.job_bodies) == {"j"}
    assert ended(events).left == ("delete-containers",), "that is what this run created"
    assert not account.task_ids
    account = Shared(
        pool_bodies={"p": Record(id="p", targetDedicatedNodes=3)},
        job_bodies={"j": Record(id="j")},
        answers=[True],
    )
    _, code = await events_of(plan_of(always), account, tmp_path)
    assert code is Exit.DONE, "the user agreed"


async def test_a_start_task_that_fails_ends_the_run_with_its_stderr(tmp_path: Path) -> None:
    account = FakeAccount(node_state="starttaskfailed")
    events, code = await events_of(tutorial(tmp_path), account, tmp_path)
    assert code is Exit.SERVICE
    nodes = [e for e in events if isinstance(e, NodeFailed)]
    assert [(e.node, e.exit_code, e.stderr) for e in nodes] == [
        (f"node-{number}", 7, "cp: no such file\n") for number in (1, 2, 3)
    ]
    failed = [e for e in events if isinstance(e, StepFailed)]
    assert [e.problem.code for e in failed] == ["start-task-failed"]
    assert "done" in {e.step for e in events if isinstance(e, StepSkipped)}
    assert account.clock.elapsed < 60


async def test_the_time_limit_ends_the_job_with_a_reason(tmp_path: Path) -> None:
    account = FakeAccount(never_done=True)
    events, code = await events_of(tutorial(tmp_path), account, tmp_path)
    assert code is Exit.TIME_LIMIT
    assert ended(events).outcome is Outcome.TIME_LIMIT
    assert account.terminated == {"j": "TimeLimit"}
    assert 3600 <= account.clock.elapsed < 3700


def with_inputs(folder: Path, count: int) -> Plan:
    """A plan whose tasks each need one of the files that are uploaded meanwhile."""
    files = []
    for number in range(count):
        path = folder / f"f{number:03}.txt"
        path.write_text(str(number))
        files.append(LocalFile(path.name, str(path), path.stat().st_size, b"0" * 16))
    tasks = tuple(
        Task(f"t-{n}", "each", n, Record(id=f"t-{n}", commandLine="true"), (("in", f.blob),))
        for n, f in enumerate(files)
    )
    return plan_of(
        [
            step("container", CreateContainer("input")),
            step("upload", UploadFiles("input", tuple(files), 10), "container"),
            step("job", CreateJob("j", Record(id="j"), HOUR)),
            step("tasks", SubmitTasks("j", "each", tasks, HOUR, {"in": "input"}), "job"),
            step("close", CloseJob("j"), "tasks", "upload"),
        ]
    )


async def test_tasks_are_submitted_when_their_inputs_are_uploaded(tmp_path: Path) -> None:
    class Account(FakeAccount):
        """The last files arrive only after the first tasks were submitted."""

        class Blobs(FakeAccount.Blobs):
            async def upload(
                self, container: str, file: LocalFile, moved: object, cancelled: Callable[[], bool]
            ) -> bool:
                if file.blob >= "f200.txt":
                    async with asyncio.timeout(60):
                        while "j" not in self.account.task_ids:
                            await asyncio.sleep(0)
                return await super().upload(container, file, lambda _: None, cancelled)

        class Tasks(FakeAccount.Tasks):
            async def create_collection(
                self, job_id: str, tasks: Sequence[Record], sas: timedelta
            ) -> object:
                for task in tasks:
                    number = int(str(task["id"]).removeprefix("t-"))
                    assert f"f{number:03}.txt" in self.account.stored["input"], (
                        "its file is uploaded"
                    )
                return await super().create_collection(job_id, tasks, sas)

    account = Account()
    _, code = await events_of(with_inputs(tmp_path, 230), account, tmp_path)
    assert code is Exit.DONE
    assert len(account.task_ids["j"]) == 230


async def test_tasks_without_their_inputs_are_not_submitted(tmp_path: Path) -> None:
    class Account(FakeAccount):
        class Blobs(FakeAccount.Blobs):
            async def upload(
                self, container: str, file: LocalFile, moved: object, cancelled: Callable[[], bool]
            ) -> bool:
                if file.blob == "f150.txt":
                    raise refused("blobs.upload")
                return await super().upload(container, file, lambda _: None, cancelled)

    account = Account()
    events, code = await events_of(with_inputs(tmp_path, 230), account, tmp_path)
    assert code is Exit.SERVICE
    assert "t-150" not in account.task_ids.get("j", [])
    assert [e.because for e in events if isinstance(e, StepSkipped)], "the job is not closed"
    assert "jobs.update j" not in account.calls


EFFECTS = [
    "containers.create",
    "blobs.upload",
    "pools.create",
    "pools.get_node_counts",
    "jobs.create",
    "tasks.create_collection",
    "jobs.update",
    "jobs.get_task_counts",
    "blobs.list",
    "blobs.download",
    "pools.delete",
    "containers.delete",
    "jobs.delete",
]


@pytest.mark.parametrize("effect", EFFECTS)
async def test_any_failure_is_an_event_and_the_same_plan_can_be_applied_again(
    tmp_path: Path, effect: str
) -> None:
    account = FakeAccount(answers=[True, True], fail={effect})
    plan = tutorial(tmp_path)
    events, code = await events_of(plan, account, tmp_path)
    assert code is Exit.SERVICE
    assert [e.problem.summary for e in events if isinstance(e, StepFailed)] == [
        f"refused: {effect}"
    ]
    ended_steps = {e.step for e in events if isinstance(e, StepDone | StepFailed | StepSkipped)}
    assert ended_steps == {s.id for s in plan.steps}, "every step has ended"
    account.fail.clear()
    events, code = await events_of(plan, account, tmp_path)
    assert code is Exit.DONE
    assert len(account.task_ids["j"]) == 250
    assert not account.stored


@pytest.mark.parametrize(
    ("effect", "kept"),
    [
        ("blobs.download", ("delete-containers", "delete-job")),
        # A job that has not ended may keep nodes.
        ("jobs.get_task_counts", ("delete-containers",)),
    ],
)
async def test_containers_are_kept_until_their_results_are_downloaded(
    tmp_path: Path, effect: str, kept: tuple[str, ...]
) -> None:
    """Otherwise, a disk that is full for a moment would lose the whole run."""
    account = FakeAccount(fail={effect})
    plan = tutorial(tmp_path)
    always = [replace(s, gate=Gate.END) if s.id.startswith("delete") else s for s in plan.steps]
    events, code = await events_of(replace(plan, steps=tuple(always)), account, tmp_path)
    assert code is Exit.SERVICE
    assert "input" in account.stored
    assert "p" not in account.pool_bodies, "it costs money"
    skipped = {e.step: e.because for e in events if isinstance(e, StepSkipped)}
    assert {name for name in skipped if name.startswith("delete")} == set(kept)
    assert {skipped[name] for name in kept} == {"results"}
    assert ended(events).left == kept


@pytest.mark.parametrize("turns", range(1, 30, 2))
async def test_cancelling_anywhere_ends_as_interrupted(tmp_path: Path, turns: int) -> None:
    account = FakeAccount()
    events: list[Event] = []
    plan = tutorial(tmp_path)
    task = asyncio.ensure_future(run(plan, account.runtime(), events.append, tmp_path / "r.jsonl"))
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended(events).outcome is Outcome.INTERRUPTED
    assert ended(events).exit == Exit.INTERRUPTED
    started = {event.step for event in events if isinstance(event, StepStarted)}
    left = {"delete-pool", "delete-job"} & set(ended(events).left)
    assert left <= {f"delete-{name}" for name in started}, "what was not requested is not left"
    code = await run(plan, account.runtime(), events.append, tmp_path / "r.jsonl")
    assert code is Exit.DONE


@st.composite
def graphs(draw: st.DrawFn) -> list[Step]:
    """Random graphs of containers to create; edges go from later steps to earlier ones."""
    size = draw(st.integers(1, 12))
    steps = []
    for number in range(size):
        after = draw(st.sets(st.integers(0, max(number - 1, 0)), max_size=3)) if number else set()
        names = tuple(f"s{n}" for n in sorted(after))
        steps.append(step(f"s{number}", CreateContainer(f"c{number}"), *names))
    return draw(st.permutations(steps))


@settings(max_examples=60, deadline=None)
@given(graphs(), st.data())
def test_steps_run_in_order_on_any_graph(steps: list[Step], data: st.DataObject) -> None:
    broken = data.draw(st.none() | st.sampled_from([s.id for s in steps]))

    class Account(FakeAccount):
        class Containers(FakeAccount.Containers):
            async def create(self, name: str, metadata: object, access: object) -> bool:
                await self.account.call("containers.create", name)
                if broken and name == f"c{broken[1:]}":
                    raise refused(name)
                return True

    events: list[Event] = []
    asyncio.run(run(plan_of(steps), Account().runtime(), events.append, Path("unused")))
    position = {}
    for number, event in enumerate(events):
        if isinstance(event, StepStarted):
            position[event.step, "start"] = number
        elif isinstance(event, StepDone):
            position[event.step, "done"] = number
    behind = {broken} if broken else set()
    changed = True
    while changed:
        more = {s.id for s in steps if behind & set(s.after)} - behind
        changed = bool(more)
        behind |= more
    for each in steps:
        if each.id in behind:
            assert (each.id, "done") not in position, "nothing runs behind a failed step"
            continue
        for before in each.after:
            assert position[before, "done"] < position[each.id, "start"]
    assert isinstance(events[-1], RunEnded)
