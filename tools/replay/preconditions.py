"""The preconditions of a recorded request, set up in the embedded service.

A resource is created through the API with the recorded create request if there is one, or else with
the settings in the reply. Then the store is changed as the engine would do, until the resource has
the state in the reply.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote

from replay.certificates import ensure_certificates
from replay.comparison import Answer
from replay.files import create_applications, create_files
from replay.jobs import Jobs
from replay.pools import Pools
from replay.recordings import Exchange
from replay.resource_setup import ResourceSetup, SetupError
from replay.schedules import Schedules
from replay.service import Service

Shown = Mapping[str, Any]

__all__ = ["Preconditions", "SetupError"]


class Preconditions:
    """Sets up the preconditions of one exchange after the other in one service."""

    def __init__(self, service: Service, exchanges: Sequence[Exchange]) -> None:
        """``exchanges`` are all exchanges to be replayed, in order."""
        self._setup = ResourceSetup(service, exchanges)
        self._pools = Pools(self._setup)
        self._jobs = Jobs(self._setup, self._pools)
        self._schedules = Schedules(self._setup, self._jobs)

    async def arrange(self, exchange: Exchange) -> None:
        """Set up the preconditions of ``exchange``.

        Raises:
            SetupError: they cannot be set up; the text is the reason.
        """
        if "$skiptoken" in exchange.query:
            raise SetupError("skip tokens are specific to a service")
        self._setup.version = exchange.version
        reply = exchange.reply or {}
        create_applications(self._setup.applications, (exchange.body, reply), exchange.parts)
        shown = reply if exchange.method == "GET" and exchange.status == 200 else {}
        match exchange.parts:
            case ["pools"] if exchange.method == "POST":
                await self._pools.before_create(exchange)
            case ["jobs"] if exchange.method == "POST":
                await self._jobs.before_create(exchange)
            case ["jobs", job, "tasks" | "addtaskcollection"] if exchange.method == "POST":
                await self._jobs.before_tasks(job, exchange)
            case ["pools"]:
                for item in _items(shown):
                    await self._pools.ensure(item["id"], item)
                if "odata.nextLink" in shown:
                    await self._pools.ensure("zz-one-more")
            case ["nodecounts"]:
                for item in _items(shown):
                    await self._pools.ensure(item["poolId"])
            case ["jobs"]:
                for item in _items(shown):
                    await self._job(item["id"], item)
                if "odata.nextLink" in shown:
                    await self._jobs.ensure("zz-one-more")
            case ["jobschedules"] if exchange.method == "POST":
                await self._schedules.before_create(exchange)
            case ["jobschedules"]:
                for item in _items(shown):
                    await self._schedules.ensure(item["id"], item)
            case ["pools", pool, *rest]:
                await self._of_pool(pool, rest, exchange, shown)
            case ["jobs", job, *rest]:
                await self._of_job(job, rest, exchange, shown)
            case ["jobschedules", schedule, "jobs"]:
                await self._schedules.ensure(schedule)
                for item in _items(shown):
                    await self._job(item["id"], item)
            case ["jobschedules", schedule, *rest]:
                state = {"state": "disabled"} if rest == ["enable"] else {}
                await self._schedules.ensure(schedule, shown or state)
            case [name, *_] if name.startswith("certificates"):
                ensure_certificates(self._setup.store, exchange)
            case _:
                pass

    def note(self, exchange: Exchange, answer: Answer) -> None:
        """Remember what a request created, and undo what only the embedded service did."""
        if exchange.status < 400:
            self._setup.note(exchange)
        elif answer.status < 400 and exchange.parts == ("pools",):
            self._pools.remove(exchange.body["id"])

    async def _of_pool(self, pool: str, rest: list[str], exchange: Exchange, shown: Shown) -> None:
        match rest:
            case ["nodes"]:
                await self._pools.ensure(pool)
                for item in _items(shown):
                    await self._node(pool, item)
            case ["nodes", node, *_] if node != "nodes":
                item = shown if len(rest) == 2 and shown else {"id": node, "state": "idle"}
                await self._node(pool, item, rest[2:])
                if "files" in rest:
                    root = self._setup.root(pool, node)
                    create_files(root, unquote("".join(rest[3:])), shown)
            case ["removenodes"]:
                await self._pools.ready(pool, rest, exchange)
                for node in exchange.body["nodeList"]:
                    await self._node(pool, {"id": node, "state": "idle"})
            case _:
                if shown and not rest:
                    await self._pools.ensure(pool, shown)
                else:
                    await self._pools.ready(pool, rest, exchange)

    async def _of_job(self, job: str, rest: list[str], exchange: Exchange, shown: Shown) -> None:
        match rest:
            case []:
                await self._job(job, shown)
            case ["tasks"]:
                await self._jobs.ensure(job)
                for item in _items(shown):
                    await self._jobs.ensure_task(job, item["id"], item)
            case ["tasks", task]:
                await self._jobs.ensure_task(job, task, shown)
            case ["tasks", task, "files", *path]:
                await self._jobs.ensure_task(job, task, {"state": "completed"})
                root = self._jobs.directory(job, task)
                create_files(root, unquote("".join(path)), shown)
            case ["tasks", task, action]:
                await self._jobs.ready_task(job, task, action)
            case [action]:
                await self._jobs.ready(job, action)
            case _:
                raise SetupError(f"the preconditions of {exchange.path} are not known")

    async def _job(self, job: str, shown: Shown) -> None:
        schedule, colon, _ = job.partition(":")
        if colon:
            await self._schedules.ensure_job(schedule, job, shown)
        else:
            await self._jobs.ensure(job, shown)

    async def _node(self, pool: str, item: Shown, action: list[str] | None = None) -> None:
        await self._pools.ensure_node(pool, item, action or [])
        for recent in item.get("recentTasks", ()):
            where = {"nodeInfo": {"poolId": pool, "nodeId": item["id"]}}
            task = {"state": recent["taskState"], "executionInfo": recent["executionInfo"], **where}
            await self._jobs.ensure_task(recent["jobId"], recent["taskId"], task)


def _items(shown: Shown) -> list[Shown]:
    return list(shown.get("value", ()))
