"""Tasks in bulk: one result each, in order, exactly once; and read with few fields."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchspec.account import TaskAdded
from batchspec.cloud import AccountClient, Limits, LocalAccount, open_account
from batchspec.diagnostics import Place, Secret, ServiceError
from batchspec.plan.observed import Marks, TaskFacts
from batchspec.spec import (
    BlobUrl,
    FilledRecord,
    JsonTemplate,
    Quoted,
    Quoting,
    Record,
    Template,
    Text,
    json_string,
)
from tests.cloud.conftest import KEY, Time, listening
from tests.cloud.scripted import RESET, Asked, Reply, Scripted, refusal

HOUR = timedelta(hours=1)
ENDLESS = Limits(busy=1e9, server_errors=1e9)
ADD = "/jobs/j/addtaskcollection"


def tasks(count: int, size: int = 0) -> list[Record]:
    return [Record(id=f"t{n}", commandLine="x" * size) for n in range(count)]


def success(name: str) -> dict[str, Any]:
    return {"status": "Success", "taskId": name, "eTag": "0x1"}


def failure(name: str, code: str, status: str = "ClientError") -> dict[str, Any]:
    message = {"lang": "en-US", "value": f"{code} it is\nRequestId:abc\nTime:2026"}
    values = [{"key": "PropertyName", "value": "commandLine"}]
    error = {"code": code, "message": message, "values": values}
    return {"status": status, "taskId": name, "error": error}


def answering(word: Callable[[str], dict[str, Any] | None]) -> Callable[[Asked], Reply]:
    def answer(asked: Asked) -> Reply:
        words = [word(task["id"]) for task in asked.json["value"]]
        # In reverse order: the service does not keep the order of the request.
        return Reply(body={"value": [w for w in reversed(words) if w is not None]})

    return answer


def sent(server: Scripted) -> list[list[str]]:
    return [[task["id"] for task in asked.json["value"]] for asked in server.requests("POST", ADD)]


async def add(cloud: AccountClient, records: Sequence[Record]) -> Sequence[TaskAdded]:
    return await cloud.tasks.create_collection("j", records, HOUR)


def filled(name: str) -> Record:
    """A task whose members are created only if they are read."""
    url = Text((BlobUrl("out", None, "cw"),))
    text, other, keys = (Template(each, Place("run.yaml", 1, 1)) for each in ("a", "b", "c"))
    value = Record(id=text, commandLine="date +%s", url=url, other=other, keys=(keys, None, 1.5))
    template = JsonTemplate.of(value, {text: 0, other: 1, keys: 2})
    made = value.with_(id=name, other=url, keys=("é%s", None, 1.5))
    return FilledRecord(name, template, (f'"{name}"', url, json_string("é%s")), lambda: made)


async def test_texts_of_tasks_are_sent_as_they_are(cloud: AccountClient, server: Scripted) -> None:
    server.on("POST", ADD, answering(success))
    bodies = [filled("a"), Record(id="b", commandLine="x"), filled("c")]
    answers = await add(cloud, bodies)
    assert [answer.id for answer in answers] == ["a", "b", "c"]
    await add(cloud, [Record(body) for body in bodies])
    first, again = server.requests("POST", ADD)
    assert first.body == again.body
    task, _, _ = first.json["value"]
    assert task["commandLine"] == "date +%s"
    assert "sig=" in task["other"] and task["url"] == task["other"]


async def test_one_request_in_order(cloud: AccountClient, server: Scripted) -> None:
    """The SDK's ``create_tasks`` sends the last task first."""
    server.on("POST", ADD, answering(success))
    added = await add(cloud, tasks(100))
    assert sent(server) == [[f"t{n}" for n in range(100)]]
    assert added == [TaskAdded(f"t{n}") for n in range(100)]


async def test_no_tasks(cloud: AccountClient, server: Scripted) -> None:
    assert await add(cloud, []) == []
    assert server.asked == []


async def test_a_task_is_sent_unchanged_with_signed_urls(
    cloud: AccountClient, server: Scripted
) -> None:
    server.on("POST", ADD, answering(success))
    url = BlobUrl("output", None, "cw")
    line = Text(("run ", Quoted(Text((url,)), Quoting.POSIX), " ", Secret("s3")))
    await add(cloud, [Record(id="t0", commandLine=line, resourceFiles=(), unknown=True)])
    (task,) = server.asked[-1].json["value"]
    assert task["unknown"] is True
    assert task["resourceFiles"] == []
    assert task["commandLine"].startswith(f"run '{server.url}/store/output?")
    assert task["commandLine"].endswith(" s3")
    assert "sig=" in task["commandLine"]
    assert "sp=cw" in task["commandLine"]


@pytest.mark.parametrize("status", ["ClientError", "clienterror"])
async def test_a_refused_task_is_not_taken_for_added(
    cloud: AccountClient, server: Scripted, status: str
) -> None:
    """The service writes ClientError, the SDK looks for clienterror and takes it for success."""
    server.on(
        "POST",
        ADD,
        answering(
            lambda n: failure(n, "InvalidPropertyValue", status) if n == "t1" else success(n)
        ),
    )
    added = await add(cloud, tasks(3))
    assert [item.problem is None for item in added] == [True, False, True]
    problem = added[1].problem
    assert problem is not None
    assert problem.code == "invalid-property-value"
    assert problem.summary == "task t1: the service does not accept the value of `commandLine`"
    assert problem.detail.splitlines() == [
        "InvalidPropertyValue: InvalidPropertyValue it is",
        "PropertyName: commandLine",
    ]
    assert len(sent(server)) == 1


async def test_an_existing_task_counts_as_added(cloud: AccountClient, server: Scripted) -> None:
    server.on("POST", ADD, answering(lambda name: failure(name, "TaskExists")))
    assert await add(cloud, tasks(2)) == [TaskAdded("t0", True), TaskAdded("t1", True)]


@pytest.mark.parametrize("status", ["ServerError", "servererror"])
async def test_only_tasks_with_server_errors_are_sent_again(
    cloud: AccountClient, server: Scripted, clock: Time, status: str
) -> None:
    server.on(
        "POST",
        ADD,
        answering(
            lambda n: failure(n, "InternalError", status) if n in ("t1", "t3") else success(n)
        ),
        answering(success),
    )
    added = await add(cloud, tasks(5))
    assert sent(server)[1] == ["t1", "t3"]
    assert [item.id for item in added] == ["t0", "t1", "t2", "t3", "t4"]
    assert all(item.problem is None for item in added)
    assert clock.slept


async def test_repeated_server_errors_end(
    cloud: AccountClient, server: Scripted, clock: Time
) -> None:
    """The SDK's ``create_tasks`` would send 400 requests a second, forever."""
    server.on("POST", ADD, answering(lambda name: failure(name, "InternalError", "ServerError")))
    with pytest.raises(ServiceError) as caught:
        await add(cloud, tasks(2))
    assert caught.value.code == "InternalError"
    assert len(server.asked) < 20
    assert sum(clock.slept) < 100


async def test_tasks_without_a_result_are_sent_again(
    cloud: AccountClient, server: Scripted
) -> None:
    server.on(
        "POST",
        ADD,
        answering(lambda name: success(name) if name == "t0" else None),
        answering(success),
    )
    assert [item.id for item in await add(cloud, tasks(3))] == ["t0", "t1", "t2"]
    assert sent(server)[1] == ["t1", "t2"]


async def test_repeated_responses_without_results_end(
    cloud: AccountClient, server: Scripted
) -> None:
    server.on("POST", ADD, Reply(body={"value": []}))
    with pytest.raises(ServiceError) as caught:
        await add(cloud, tasks(1))
    assert caught.value.code == "tasks-unanswered"


@pytest.mark.parametrize("fault", [RESET, refusal(500, "InternalError"), Reply(body=[1], cut=1)])
async def test_tasks_are_sent_again_after_a_lost_response(
    cloud: AccountClient, server: Scripted, fault: Reply
) -> None:
    server.on("POST", ADD, fault, answering(lambda name: failure(name, "TaskExists")))
    added = await add(cloud, tasks(3))
    assert [item.id for item in added] == ["t0", "t1", "t2"]
    assert all(item.problem is None for item in added)


def limited(most: int) -> Callable[[Asked], Reply]:
    def answer(asked: Asked) -> Reply:
        if len(asked.body) > most:
            return refusal(413, "RequestBodyTooLarge")
        return answering(success)(asked)

    return answer


async def test_too_large_is_halved_in_order_and_remembered(
    cloud: AccountClient, server: Scripted
) -> None:
    server.on("POST", ADD, limited(30_000))
    added = await add(cloud, tasks(100, size=900))
    assert [item.id for item in added] == [f"t{n}" for n in range(100)]
    taken = [names for names in sent(server) if len(names) <= 30]
    assert [name for names in taken for name in names] == [f"t{n}" for n in range(100)]
    refused = len(sent(server)) - len(taken)
    await add(cloud, tasks(100, size=900))
    assert len(sent(server)) - refused == 2 * len(taken)


async def test_a_single_task_that_is_too_large(cloud: AccountClient, server: Scripted) -> None:
    server.on("POST", ADD, limited(1000))
    added = await add(cloud, [*tasks(3), Record(id="big", commandLine="x" * 2000)])
    assert [item.problem is None for item in added] == [True, True, True, False]
    assert added[3].problem is not None
    assert added[3].problem.code == "request-body-too-large"
    assert "task big" in added[3].problem.summary


@pytest.mark.parametrize(
    ("status", "code"),
    [(404, "JobNotFound"), (409, "JobCompleted"), (400, "InvalidRequestBody")],
)
async def test_a_request_that_is_refused_as_a_whole(
    cloud: AccountClient, server: Scripted, status: int, code: str
) -> None:
    server.on("POST", ADD, refusal(status, code))
    server.on("GET", "/jobs/j/tasks/t0", refusal(404, "TaskNotFound"))
    with pytest.raises(ServiceError) as caught:
        await add(cloud, tasks(2))
    assert (caught.value.code, caught.value.status) == (code, status)
    assert "job j" in caught.value.problems[0].summary
    assert len(server.requests("POST")) == 1


@pytest.mark.parametrize("code", ["JobCompleted", "JobBeingTerminated"])
async def test_a_completed_job_that_has_all_tasks(
    cloud: AccountClient, server: Scripted, code: str
) -> None:
    """Another run of the spec has added them, and closed the job."""
    server.on("POST", ADD, refusal(409, code))
    for number in range(2):
        found = Reply(body={"id": f"t{number}", "state": "completed"})
        server.on("GET", f"/jobs/j/tasks/t{number}", found)
    assert await add(cloud, tasks(2)) == [TaskAdded("t0", True), TaskAdded("t1", True)]
    with pytest.raises(ServiceError):
        await add(cloud, tasks(3))


@settings(max_examples=25, deadline=None)
@given(count=st.integers(1, 40), most=st.integers(1, 40), seed=st.integers(0, 2**32))
def test_each_task_is_added_once_and_answered_in_order(count: int, most: int, seed: int) -> None:
    """A service that loses responses, adds only some tasks, and accepts few at a time."""
    chance = Random(seed)
    kept: list[str] = []

    def answer(asked: Asked) -> Reply:
        names = [task["id"] for task in asked.json["value"]]
        if len(names) > most:
            return refusal(413, "RequestBodyTooLarge")
        if chance.random() < 0.15:
            return refusal(429, "TooManyRequests")
        words = []
        for name in names:
            if name in kept:
                words.append(failure(name, "TaskExists"))
            elif chance.random() < 0.2:
                words.append(failure(name, "InternalError", "ServerError"))
            else:
                kept.append(name)
                words.append(success(name))
        chance.shuffle(words)
        if chance.random() < 0.2:
            return RESET
        if chance.random() < 0.1:
            return refusal(500, "InternalError")
        return Reply(body={"value": words[: len(words) - (chance.random() < 0.2)]})

    async def run() -> None:
        clock = Time()
        async with listening() as server:
            server.on("POST", ADD, answer)
            account = LocalAccount(server.url, "acct", KEY, f"{server.url}/s", "s", KEY)
            async with open_account(
                account, limits=ENDLESS, monotonic=clock.monotonic, sleep=clock.sleep
            ) as cloud:
                added = await add(cloud, tasks(count))
        assert [item.id for item in added] == [f"t{n}" for n in range(count)]
        assert all(item.problem is None for item in added)
        assert sorted(kept) == sorted(f"t{n}" for n in range(count))

    asyncio.run(run())


async def test_tasks_are_read_page_by_page_with_few_fields(
    cloud: AccountClient, server: Scripted
) -> None:
    # The link has the address that the service has for itself; only path and query are used.
    link = "https://elsewhere.invalid/jobs/j/tasks?api-version=1&$skiptoken=WATV2%3Aa%2Bb%20c"
    server.on(
        "GET",
        "/jobs/j/tasks",
        Reply(body={"value": [{"id": "t0", "state": "active"}], "odata.nextLink": link}),
        Reply(
            body={
                "value": [
                    {
                        "id": "t1",
                        "displayName": f"mine [item {'a' * 14}.{'b' * 14} work {'c' * 14}]",
                        "creationTime": "2026-03-01T12:00:00.25Z",
                        "state": "completed",
                        "executionInfo": {
                            "startTime": "2026-03-01T12:01:00Z",
                            "exitCode": 3,
                            "result": "Failure",
                            "retryCount": 2,
                            "failureInfo": {
                                "code": "FailureExitCode",
                                "message": "it failed",
                                "details": [{"name": "AdditionalErrorCode", "value": "X"}],
                            },
                        },
                        "nodeInfo": {"nodeId": "n1"},
                    },
                    {"id": "t2", "state": "completed", "executionInfo": {"result": "success"}},
                ]
            }
        ),
    )
    assert [task async for task in cloud.tasks.list("j", missing_ok=True)] == [
        TaskFacts("t0", "active", started=False),
        TaskFacts(
            "t1",
            "completed",
            False,
            3,
            "FailureExitCode",
            "it failed; AdditionalErrorCode: X",
            "n1",
            2,
            Marks("a" * 14, "b" * 14, "c" * 14),
            datetime(2026, 3, 1, 12, 0, 0, 250_000, UTC),
            True,
        ),
        TaskFacts("t2", "completed", True, started=False),
    ]
    first, second = server.asked
    assert first.query["$select"] == "id,displayName,creationTime,state,executionInfo,nodeInfo"
    assert first.query["maxresults"] == "1000"
    assert first.query["api-version"] == "2025-06-01"
    assert second.query["$skiptoken"] == "WATV2:a+b c"
    assert all(
        asked.headers["Authorization"].startswith("SharedKey acct:") for asked in server.asked
    )


async def test_failed_tasks_are_filtered_by_the_service(
    cloud: AccountClient, server: Scripted
) -> None:
    server.on("GET", "/jobs/j/tasks", Reply(body={"value": []}))
    assert [task async for task in cloud.tasks.list_failed("j")] == []
    wanted = "state eq 'completed' and executionInfo/result eq 'failure'"
    assert server.asked[-1].query["$filter"] == wanted


async def test_tasks_that_ended_since_a_time_are_filtered_by_the_service(
    cloud: AccountClient, server: Scripted
) -> None:
    server.on("GET", "/jobs/j/tasks", Reply(body={"value": []}))
    since = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
    assert [task async for task in cloud.tasks.list_ended("j", since=since, failed=False)] == []
    wanted = "state eq 'completed' and stateTransitionTime ge DateTime'2026-01-02T03:04:05Z'"
    assert server.asked[-1].query["$filter"] == wanted


async def test_a_missing_job_has_no_tasks(cloud: AccountClient, server: Scripted) -> None:
    server.on("GET", "/jobs/j/tasks", refusal(404, "JobNotFound"))
    assert [task async for task in cloud.tasks.list("j", missing_ok=True)] == []
    with pytest.raises(ServiceError) as caught:
        _ = [task async for task in cloud.tasks.list("j")]
    assert caught.value.code == "JobNotFound"


@pytest.mark.parametrize(
    "body",
    [
        {"hello": "world"},
        {"value": ["odd"]},
        {"value": [], "odata.nextLink": "https://x/jobs/j/tasks?$skiptoken=1"},
    ],
)
async def test_a_response_that_is_not_a_list(
    body: dict[str, object], cloud: AccountClient, server: Scripted
) -> None:
    """Also a list whose second page refers to itself."""
    server.on("GET", "/jobs/j/tasks", Reply(body=body))
    with pytest.raises(ServiceError) as caught:
        _ = [task async for task in cloud.tasks.list("j", missing_ok=True)]
    assert caught.value.code == "bad-answer"


@pytest.mark.parametrize(
    "answer",
    [
        Reply(204),
        refusal(409, "TaskNotCompleted"),  # After a lost response, the task runs already.
        refusal(409, "TaskSucceeded"),
    ],
)
async def test_a_failed_task_runs_again_once(
    cloud: AccountClient, server: Scripted, answer: Reply
) -> None:
    server.on("POST", "/jobs/j/tasks/t/reactivate", answer)
    await cloud.tasks.reactivate("j", "t")
    assert len(server.asked) == 1


async def test_a_task_of_a_job_that_ended_cannot_run_again(
    cloud: AccountClient, server: Scripted
) -> None:
    server.on("POST", "/jobs/j/tasks/t/reactivate", refusal(409, "JobCompleted"))
    with pytest.raises(ServiceError) as caught:
        await cloud.tasks.reactivate("j", "t")
    assert caught.value.code == "JobCompleted"


async def test_only_the_ids_of_tasks_are_requested(cloud: AccountClient, server: Scripted) -> None:
    link = f"{server.url}/jobs/j/tasks?api-version=x&$skiptoken=2"
    first = Reply(body={"value": [{"id": "a"}, {"id": "B"}], "odata.nextLink": link})
    server.on("GET", "/jobs/j/tasks", first, Reply(body={"value": [{"id": "c"}]}))
    assert [name async for name in cloud.tasks.list_ids("j")] == ["a", "B", "c"]
    assert server.asked[0].query["$select"] == "id"


@pytest.mark.parametrize(
    ("first", "before", "where"),
    [
        ("a-1", "b", "id ge 'a-1' and id lt 'b'"),
        ("", "b", "id lt 'b'"),
        ("a-1", "", "id ge 'a-1'"),
        ("", "", None),
    ],
)
async def test_the_ids_of_a_range_are_filtered_by_the_service(
    cloud: AccountClient, server: Scripted, first: str, before: str, where: str | None
) -> None:
    server.on("GET", "/jobs/j/tasks", Reply(body={"value": [{"id": "a-1"}]}))
    assert [name async for name in cloud.tasks.list_ids("j", first, before)] == ["a-1"]
    assert server.asked[0].query.get("$filter") == where
