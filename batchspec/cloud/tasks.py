"""Adds tasks in bulk and exactly once, and reads tasks with few fields.

``create_tasks`` of the SDK (azure-batch 15.1.0) is not used: it sends the tasks in reverse order,
treats a refused task as added (the service answers ``ClientError``, and the SDK compares with
``clienterror``), and repeats a request with the response 500 without delay and without limit.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, cast

from azure.core.exceptions import AzureError

from batchspec.account import (
    FilePart,
    NodeFile,
    TaskAdded,
    TaskDetails,
    TaskRecord,
    TaskSince,
    TaskTimes,
    TaskWaiting,
)
from batchspec.cloud import facts
from batchspec.cloud.errors import ErrorResponse, to_diagnostic, translate, translated
from batchspec.cloud.facts import Json
from batchspec.cloud.rest import (
    BatchConnection,
    RemoteFile,
    error_code,
    json_of,
    list_files,
    list_items,
    path_segment,
    post_json,
    read_part,
    read_tail,
    status_code,
)
from batchspec.diagnostics import Diagnostic, ServiceError, counted
from batchspec.plan.observed import TaskFacts
from batchspec.spec import Record, freeze, record_id

_FAILED = "state eq 'completed' and executionInfo/result eq 'failure'"
_SUCCEEDED = "state eq 'completed' and executionInfo/result eq 'success'"
_WAITING = "state eq 'active'"
_RUNNING = "state eq 'running' or state eq 'preparing'"
_ENDED = frozenset({"JobCompleted", "JobBeingTerminated"})
_TASK_ENDED = frozenset({"TaskCompleted", "JobCompleted", "JobBeingTerminated"})
_NOT_FAILED = frozenset({"TaskNotCompleted", "TaskSucceeded"})


class _Body(NamedTuple):
    """The body of a task to add, as JSON."""

    id: str
    text: str


class Tasks:
    """Implements :class:`batchspec.account.Tasks`."""

    def __init__(self, connection: BatchConnection) -> None:
        self._connection = connection
        # Shrinks when the service rejects a request as too large.
        self._tasks_per_request = 100

    async def create_collection(
        self, job_id: str, tasks: Sequence[Record], sas: timedelta
    ) -> Sequence[TaskAdded]:
        """Add up to 100 tasks, in one request unless it is too large; a result for each, in order.

        A task that exists counts as added. Tasks without a result (the response was lost, or the
        service failed for some of them) are sent again, for ``Limits.server_errors`` at most. The
        service adds each id only once.

        Raises:
            ServiceError: the whole request is refused; some of the tasks may be in the job.
        """
        texts = await self._connection.request_texts(tasks, sas)
        bodies = [_Body(record_id(task), text) for task, text in zip(tasks, texts, strict=True)]
        added: dict[str, TaskAdded] = {}
        left, failures, since = bodies, 0, self._connection.timing.monotonic()
        while left:
            problem = await self._send_all(job_id, left, added)
            left = [body for body in left if body.id not in added]
            if not left:
                break
            failures += 1
            wait = self._connection.limiter.backoff(failures)
            if (
                self._connection.timing.monotonic() - since + wait
                > self._connection.limits.server_errors
            ):
                raise problem or _no_result(job_id, len(left))
            await self._connection.timing.sleep(wait)
        return [added[body.id] for body in bodies]

    async def _send_all(
        self, job_id: str, bodies: Sequence[_Body], added: dict[str, TaskAdded]
    ) -> ServiceError | None:
        """Send tasks once and add the results to ``added``; the last server error, if any."""
        chunks = [list(bodies)]
        problem: ServiceError | None = None
        while chunks:
            chunk = chunks.pop()
            if len(chunk) > self._tasks_per_request:
                chunks += [chunk[self._tasks_per_request :], chunk[: self._tasks_per_request]]
                continue
            try:
                response = await self._send(job_id, chunk)
            except AzureError as error:
                if error_code(error) in _ENDED and await self._all_exist(job_id, chunk, added):
                    continue
                if status_code(error) != 413 and error_code(error) != "RequestBodyTooLarge":
                    raise translate(error, f"job {job_id}") from None
                if len(chunk) == 1:
                    name = chunk[0].id
                    problem_of_task = translate(error, f"task {name}").problems[0]
                    added[name] = TaskAdded(name, problem=problem_of_task)
                    continue
                half = (len(chunk) + 1) // 2
                # Later requests have tasks of similar size.
                self._tasks_per_request = min(self._tasks_per_request, half)
                chunks += [chunk[half:], chunk[:half]]
                continue
            problem = _add_results(chunk, response, added) or problem
        return problem

    async def _all_exist(
        self, job_id: str, chunk: Sequence[_Body], added: dict[str, TaskAdded]
    ) -> bool:
        """Whether a job that accepts no more tasks contains all of these.

        Another run of the spec may have added them and closed the job. An earlier request may also
        have added them, if the service carried it out after the client had given up.
        """
        for body in chunk:
            if await self.get(job_id, body.id) is None:
                return False
        added.update((body.id, TaskAdded(body.id, existed=True)) for body in chunk)
        return True

    async def _send(self, job_id: str, chunk: Sequence[_Body]) -> Sequence[Json]:
        # The method of the SDK creates a model of each result even if the caller does not use it.
        path = f"/jobs/{path_segment(job_id)}/addtaskcollection"
        text = f'{{"value":[{",".join([body.text for body in chunk])}]}}'
        response = await post_json(self._connection.client, path, text)
        return cast(Sequence[Json], response.get("value") or ())

    async def reactivate(self, job_id: str, task_id: str) -> None:
        try:
            await self._connection.client.reactivate_task(job_id, task_id)
        except AzureError as error:
            # The task was reactivated before, perhaps by this request, and runs or has succeeded.
            if error_code(error) not in _NOT_FAILED:
                raise translate(error, f"task {task_id}") from None

    async def terminate(self, job_id: str, task_id: str) -> None:
        try:
            await self._connection.client.terminate_task(job_id, task_id)
        except AzureError as error:
            if error_code(error) not in _TASK_ENDED and status_code(error) != 404:
                raise translate(error, f"task {task_id}") from None

    async def delete(self, job_id: str, task_id: str) -> None:
        try:
            await self._connection.client.delete_task(job_id, task_id)
        except AzureError as error:
            if status_code(error) != 404:
                raise translate(error, f"task {task_id}") from None

    async def get(self, job_id: str, task_id: str) -> TaskDetails | None:
        try:
            body: Any = await self._connection.client.get_task(job_id, task_id, cls=json_of)
        except AzureError as error:
            if status_code(error) == 404:
                return None
            raise translate(error, f"task {task_id}") from None
        return TaskDetails(facts.task_facts(body), facts.kept_output(body))

    async def list(self, job_id: str, *, missing_ok: bool = False) -> AsyncIterator[TaskFacts]:
        try:
            async for task in self._tasks(job_id, ""):
                yield task
        except ServiceError as error:
            if not (missing_ok and error.status == 404):
                raise

    async def list_ids(self, job_id: str, first: str = "", before: str = "") -> AsyncIterator[str]:
        limits = ((f"id ge '{first}'", first), (f"id lt '{before}'", before))
        where = " and ".join(term for term, limit in limits if limit)
        async for task in self._list(job_id, where, ("id",)):
            yield str(task["id"])

    async def list_bodies(self, job_id: str) -> AsyncIterator[Record]:
        async for body in self._list(job_id, "", ()):
            record = freeze(body)
            assert isinstance(record, Record)
            yield record

    async def list_failed(self, job_id: str) -> AsyncIterator[TaskFacts]:
        async for task in self._tasks(job_id, _FAILED):
            yield task

    async def list_waiting(self, job_id: str) -> AsyncIterator[TaskWaiting]:
        async for body in self._list(job_id, _WAITING, facts.WAITING_FIELDS):
            yield facts.task_waiting(body)

    async def list_blocking(self, job_id: str) -> AsyncIterator[str]:
        async for body in self._list(job_id, _FAILED, facts.ENDED_FIELDS):
            if not facts.satisfies(body):
                yield body["id"]

    async def list_running(self, job_id: str) -> AsyncIterator[TaskSince]:
        async for body in self._list(job_id, _RUNNING, facts.SINCE_FIELDS):
            yield facts.task_since(body)

    async def list_ended(
        self, job_id: str, *, since: datetime | None, failed: bool
    ) -> AsyncIterator[TaskSince]:
        where = _FAILED if failed else "state eq 'completed'"
        if since is not None:
            where += f" and stateTransitionTime ge DateTime'{_odata_time(since)}'"
        async for body in self._list(job_id, where, facts.SINCE_FIELDS):
            yield facts.task_since(body)

    async def any_running(self, job_id: str) -> bool:
        async for _ in self._list(job_id, _RUNNING, ["id"]):
            return True
        return False

    async def list_times(self, job_id: str, *, running: bool) -> AsyncIterator[TaskTimes]:
        where = _RUNNING if running else _SUCCEEDED
        async for body in self._list(job_id, where, ["id", "executionInfo"]):
            yield facts.task_times(body)

    async def list_records(self, job_id: str, *, failed: bool = False) -> AsyncIterator[TaskRecord]:
        try:
            async for body in self._list(job_id, _FAILED if failed else "", facts.TASK_FIELDS):
                yield facts.task_record(body)
        except ServiceError as error:
            if error.status != 404:
                raise

    async def get_file(
        self, job_id: str, task_id: str, path: str, start: int, size: int
    ) -> FilePart | None:
        return await read_part(self._connection, self._file(job_id, task_id, path), start, size)

    async def get_file_tail(self, job_id: str, task_id: str, path: str, size: int) -> str:
        return await read_tail(self._connection, self._file(job_id, task_id, path), size)

    async def list_files(self, job_id: str, task_id: str) -> AsyncIterator[NodeFile]:
        path = f"/jobs/{path_segment(job_id)}/tasks/{path_segment(task_id)}"
        async for file in list_files(self._connection.client, path, f"files of task {task_id}"):
            yield file

    def _file(self, job_id: str, task_id: str, path: str) -> RemoteFile:
        client = self._connection.client
        return RemoteFile(
            f"{path} of task {task_id}",
            lambda: client.get_task_file_properties(job_id, task_id, path),
            lambda **options: client.download_task_file(job_id, task_id, path, **options),
        )

    async def _tasks(self, job_id: str, where: str) -> AsyncIterator[TaskFacts]:
        async for task in self._list(job_id, where, facts.TASK_FIELDS):
            yield facts.task_facts(task)

    async def _list(self, job_id: str, where: str, fields: Sequence[str]) -> AsyncIterator[Json]:
        path = f"/jobs/{path_segment(job_id)}/tasks"
        with translated(f"job {job_id}"):
            async for task in list_items(self._connection.client, path, where=where, select=fields):
                yield task


def _odata_time(at: datetime) -> str:
    """A time in a filter, in whole seconds, as in the examples of the Batch documentation."""
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _add_results(
    chunk: Sequence[_Body], response: Sequence[Json], added: dict[str, TaskAdded]
) -> ServiceError | None:
    """Add the results of a response, except for tasks with a server error; the last such error."""
    results = {str(result.get("taskId", "")).lower(): result for result in response}
    problem: ServiceError | None = None
    for body in chunk:
        name = body.id
        result = results.get(name.lower())
        if result is None:
            continue
        # The status only separates client errors from server errors, because its casing differs
        # between the REST reference and recorded responses.
        error: Json | None = result.get("error")
        if error is None:
            added[name] = TaskAdded(name)
        elif error.get("code") == "TaskExists":
            added[name] = TaskAdded(name, existed=True)
        else:
            refused = _error_response(error)
            diagnostic = to_diagnostic(refused, f"task {name}")
            if str(result.get("status", "")).lower() == "servererror":
                problem = ServiceError(diagnostic, code=refused.code)
            else:
                added[name] = TaskAdded(name, problem=diagnostic)
    return problem


def _error_response(error: Json) -> ErrorResponse:
    message = error.get("message") or {}
    text = message.get("value", "") if isinstance(message, Mapping) else str(message)
    values = tuple(
        (str(value.get("key", "")), str(value.get("value", "")))
        for value in error.get("values") or ()
    )
    return ErrorResponse(str(error.get("code", "")), 400, text.split("\nRequestId:")[0], values)


def _no_result(job_id: str, count: int) -> ServiceError:
    tasks = counted(count, "task")
    problem = Diagnostic(
        "tasks-unanswered",
        f"job {job_id}: the responses of the service have no result for {tasks}",
        fix="Run the command again; it adds the tasks that are missing.",
    )
    return ServiceError(problem, code="tasks-unanswered")
