"""Tasks: added in bulk, exactly once; read with few fields.

The SDK's ``create_tasks`` is not used: it sends the last task first, takes a task that the service
refused for one that was added (the service writes ``ClientError``, the SDK looks for
``clienterror``), and asks for ever and without a pause while the service answers 500.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, cast

from azure.core.exceptions import AzureError

from batchspec.apply.ports import TaskAdded, TaskTimes, TaskWaiting
from batchspec.cloud import dependencies, facts
from batchspec.cloud.errors import Fault, problem_of, translate, translated
from batchspec.cloud.facts import Json
from batchspec.cloud.session import Session
from batchspec.cloud.wire import code_of, listed, raw, segment, status_of
from batchspec.diagnostics import Diagnostic, ServiceError
from batchspec.observe.ports import TaskSeen
from batchspec.plan.observed import TaskFacts
from batchspec.spec import Record, thaw

_FAILED = "state eq 'completed' and executionInfo/result eq 'failure'"
_SUCCEEDED = "state eq 'completed' and executionInfo/result eq 'success'"
_WAITING = "state eq 'active'"
_RUNNING = "state eq 'running' or state eq 'preparing'"
_ENDED = frozenset({"JobCompleted", "JobBeingTerminated"})
_TASK_ENDED = frozenset({"TaskCompleted", "JobCompleted", "JobBeingTerminated"})
_NOT_FAILED = frozenset({"TaskNotCompleted", "TaskSucceeded"})


class Tasks(Session):
    """The half of the Batch port that is about tasks."""

    __slots__ = ()

    async def add_tasks(
        self, job_id: str, tasks: Sequence[Record], sas: timedelta
    ) -> Sequence[TaskAdded]:
        """Add up to 100 tasks in one request (split where too large); one answer each, in order.

        A task that is there already counts as added. Whatever is left open by a request (an
        answer that was lost, a server error for some) is asked for again: ids are what they are,
        so that nothing is added twice.

        Raises:
            ServiceError: the whole request was refused; some of the tasks may be in the job.
        """
        signer = await self.mint.signer(sas)
        wires = [
            cast(dict[str, Any], thaw(task, lambda text: text.resolve(signer))) for task in tasks
        ]
        added: dict[str, TaskAdded] = {}
        left, failures, since = wires, 0, self.timing.monotonic()
        while left:
            problem = await self._round(job_id, left, added)
            left = [wire for wire in left if wire["id"] not in added]
            if not left:
                break
            failures += 1
            wait = self.limiter.delay(failures)
            if self.timing.monotonic() - since + wait > self.limits.faults:
                raise problem or _unanswered(job_id, len(left))
            await self.timing.sleep(wait)
        return [added[wire["id"]] for wire in wires]

    async def _round(
        self, job_id: str, wires: Sequence[dict[str, Any]], added: dict[str, TaskAdded]
    ) -> ServiceError | None:
        """Send all once, in pieces that fit, and note what is settled; one of the server errors."""
        pieces = [list(wires)]
        problem: ServiceError | None = None
        while pieces:
            piece = pieces.pop()
            if len(piece) > self.fit:
                pieces += [piece[self.fit :], piece[: self.fit]]
                continue
            try:
                answer = await self._send(job_id, piece)
            except AzureError as error:
                if code_of(error) in _ENDED and await self._all_there(job_id, piece, added):
                    continue
                if status_of(error) != 413 and code_of(error) != "RequestBodyTooLarge":
                    raise translate(error, f"job {job_id}") from None
                if len(piece) == 1:
                    name = piece[0]["id"]
                    found = translate(error, f"task {name}").problems[0]
                    added[name] = TaskAdded(name, problem=found)
                    continue
                half = (len(piece) + 1) // 2
                # The next requests are alike: they need not find out again.
                self.fit = min(self.fit, half)
                pieces += [piece[half:], piece[:half]]
                continue
            problem = _settle(piece, answer, added) or problem
        return problem

    async def _all_there(
        self, job_id: str, piece: Sequence[Mapping[str, Any]], added: dict[str, TaskAdded]
    ) -> bool:
        """Whether a job that takes no more tasks has all of these.

        A job ends when it is closed and its tasks are done, whoever added them: another run of the
        spec, or a request of ours that was carried out after we gave it up.
        """
        for wire in piece:
            if await self.task(job_id, wire["id"]) is None:
                return False
        added.update((wire["id"], TaskAdded(wire["id"], existed=True)) for wire in piece)
        return True

    async def _send(self, job_id: str, piece: list[dict[str, Any]]) -> Sequence[Json]:
        body: Any = {"value": piece}
        answer: Any = await self.client.create_task_collection(job_id, body, cls=raw)
        return cast(Sequence[Json], answer.get("value") or ())

    async def reactivate_task(self, job_id: str, task_id: str) -> None:
        """Let a failed task of an active job run again; one that is not failed stays as it is."""
        try:
            await self.client.reactivate_task(job_id, task_id)
        except AzureError as error:
            # It runs already, by an earlier request of ours maybe; or it has succeeded since.
            if code_of(error) not in _NOT_FAILED:
                raise translate(error, f"task {task_id}") from None

    async def terminate_task(self, job_id: str, task_id: str) -> None:
        """Ask for the end of a task; one that is completed or gone stays as it is."""
        try:
            await self.client.terminate_task(job_id, task_id)
        except AzureError as error:
            if code_of(error) not in _TASK_ENDED and status_of(error) != 404:
                raise translate(error, f"task {task_id}") from None

    async def delete_task(self, job_id: str, task_id: str) -> None:
        """Delete a task, or find it gone."""
        try:
            await self.client.delete_task(job_id, task_id)
        except AzureError as error:
            if status_of(error) != 404:
                raise translate(error, f"task {task_id}") from None

    async def task(self, job_id: str, task_id: str) -> TaskSeen | None:
        """The task, or ``None``."""
        try:
            body: Any = await self.client.get_task(job_id, task_id, cls=raw)
        except AzureError as error:
            if status_of(error) == 404:
                return None
            raise translate(error, f"task {task_id}") from None
        return TaskSeen(facts.task_facts(body), facts.kept_output(body))

    async def all_tasks(self, job_id: str) -> AsyncIterator[TaskFacts]:
        """Every task of a job, streamed, with only the fields of :class:`TaskFacts` read."""
        async for task in self._tasks(job_id, ""):
            yield task

    async def task_ids(self, job_id: str) -> AsyncIterator[str]:
        """The ids of all tasks of the job, streamed."""
        path = f"/jobs/{segment(job_id)}/tasks"
        with translated(f"job {job_id}"):
            async for task in listed(self.client, path, select=("id",)):
                yield str(task["id"])

    async def failed_tasks(self, job_id: str) -> AsyncIterator[TaskFacts]:
        """The completed tasks that failed, streamed, filtered by the service."""
        async for task in self._tasks(job_id, _FAILED):
            yield task

    async def waiting_tasks(self, job_id: str) -> AsyncIterator[TaskWaiting]:
        """The tasks that have not started, streamed, filtered by the service."""
        async for body in self._listed(job_id, _WAITING, dependencies.WAITING_FIELDS):
            yield dependencies.task_waiting(body)

    async def blocking_tasks(self, job_id: str) -> AsyncIterator[str]:
        """The ids of the failed tasks that let nothing start that depends on them, streamed."""
        async for body in self._listed(job_id, _FAILED, dependencies.ENDED_FIELDS):
            if not dependencies.satisfies(body):
                yield body["id"]

    async def runs_any(self, job_id: str) -> bool:
        """Whether any task of the job runs, or is about to; no count, which may lag behind."""
        async for _ in self._listed(job_id, _RUNNING, ["id"]):
            return True
        return False

    async def task_times(self, job_id: str, *, running: bool) -> AsyncIterator[TaskTimes]:
        """When the tasks that run, or else those that succeeded, started and ended, streamed."""
        where = _RUNNING if running else _SUCCEEDED
        async for body in self._listed(job_id, where, ["id", "executionInfo"]):
            yield facts.task_times(body)

    async def _tasks(self, job_id: str, where: str) -> AsyncIterator[TaskFacts]:
        async for task in self._listed(job_id, where, facts.TASK_FIELDS):
            yield facts.task_facts(task)

    async def _listed(self, job_id: str, where: str, fields: Sequence[str]) -> AsyncIterator[Json]:
        path = f"/jobs/{segment(job_id)}/tasks"
        with translated(f"job {job_id}"):
            async for task in listed(self.client, path, where=where, select=fields):
                yield task


def _settle(
    piece: Sequence[Mapping[str, Any]], answer: Sequence[Json], added: dict[str, TaskAdded]
) -> ServiceError | None:
    """Note what an answer settles. Tasks with a server error, or with no word, stay open."""
    words = {str(word.get("taskId", "")).lower(): word for word in answer}
    problem: ServiceError | None = None
    for wire in piece:
        name = wire["id"]
        word = words.get(name.lower())
        if word is None:
            continue
        # The status is not looked at but to tell the two kinds of errors apart: its casing is one
        # thing in the reference and another on the wire.
        error: Json | None = word.get("error")
        if error is None:
            added[name] = TaskAdded(name)
        elif error.get("code") == "TaskExists":
            added[name] = TaskAdded(name, existed=True)
        else:
            found = _fault(error)
            said = problem_of(found, f"task {name}")
            if str(word.get("status", "")).lower() == "servererror":
                problem = ServiceError(said, code=found.code)
            else:
                added[name] = TaskAdded(name, problem=said)
    return problem


def _fault(error: Json) -> Fault:
    message = error.get("message") or {}
    text = message.get("value", "") if isinstance(message, Mapping) else str(message)
    values = tuple(
        (str(value.get("key", "")), str(value.get("value", "")))
        for value in error.get("values") or ()
    )
    return Fault(str(error.get("code", "")), 400, text.split("\nRequestId:")[0], values)


def _unanswered(job_id: str, count: int) -> ServiceError:
    problem = Diagnostic(
        "tasks-unanswered",
        f"job {job_id}: the service says nothing about {count} of the tasks that it was sent",
        fix="run the command again",
    )
    return ServiceError(problem, code="tasks-unanswered")
