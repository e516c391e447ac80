"""Creation of resources through the API, from a recorded request or from a reply."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from batchspec.local.store import Store
from batchspec.local.wire import NEWEST_VERSION, properties
from replay.recordings import Exchange
from replay.service import Service


class SetupError(Exception):
    """A precondition of a request cannot be set up; the text is the reason."""


class ResourceSetup:
    """Sends the requests that set up resources, and remembers which request created a resource.

    ``version`` is the api-version of these requests.
    """

    def __init__(self, service: Service, exchanges: Sequence[Exchange]) -> None:
        """``exchanges`` are all exchanges of the source."""
        self.store: Store = service.store
        self.applications = service.context.data / "applications"
        self.version = NEWEST_VERSION
        self._service = service
        self._made: dict[tuple[str, ...], Any] = {}
        self._seen: dict[tuple[str, ...], Any] = {}
        for exchange in exchanges:
            if exchange.method == "GET" and exchange.status == 200 and exchange.reply:
                self._see(exchange.parts, exchange.reply)

    def root(self, pool: str, node: str) -> Path:
        """The root directory of a node."""
        return self._service.context.root(pool, node)

    def note(self, exchange: Exchange) -> None:
        """Remember the body of a request that created a resource."""
        if exchange.method != "POST" or not exchange.body:
            return
        match exchange.parts:
            case [kind] | [*_, kind] if exchange.status == 201:
                parent = exchange.parts[:-1]
                self._keep((*parent, kind, str(exchange.body.get("id", ""))), exchange.body)
            case ["jobs", job, "addtaskcollection"] if exchange.status == 200:
                for item in exchange.body["value"]:
                    self._keep(("jobs", job, "tasks", item["id"]), item)

    def forget(self, *path: str) -> None:
        """Forget which request created the resource."""
        self._made.pop(_key(path), None)

    async def make(
        self, path: tuple[str, ...], model: str, shown: Mapping[str, Any], default: Any
    ) -> None:
        """Create the resource at ``path``, which ends with its id, with the create model ``model``.

        Raises:
            SetupError: the embedded service rejects it.
        """
        *parent, name = path
        body = self._made.get(_key(path))
        if body is None:
            known = properties(model, self.version)
            shown = shown if shown.get("url") else {**self._seen.get(_key(path), {}), **shown}
            body = {**default, **{k: v for k, v in shown.items() if k in known}, "id": name}
            if "userAccounts" in body:  # the service never returns passwords
                accounts = body["userAccounts"]
                body["userAccounts"] = [{"password": "replay", **one} for one in accounts]
        await self.send("POST", "/" + "/".join(parent), body)

    async def send(self, method: str, path: str, body: Any = None) -> None:
        """Send a request that must succeed.

        Raises:
            SetupError: it failed.
        """
        query = {"api-version": self.version}
        answer = await self._service.send(method, path, query, body)
        if answer.status >= 400:
            reply = answer.reply or {}
            why = "; ".join(item["value"] for item in reply.get("values", ()))
            raise SetupError(f"{method} {path.split('/')[1]}: {reply.get('code')} {why}".strip())

    def _see(self, parts: tuple[str, ...], reply: Any) -> None:
        items = reply.get("value", [reply])
        for item in items if isinstance(items, list) else ():
            if "url" in item and "id" in item:
                path = parts if "value" not in reply else (*parts, item["id"])
                self._seen.setdefault(_key(path), item)
            if "nodes" in parts and "startTask" in item:
                self._seen.setdefault(_key(parts[:2]), {"startTask": item["startTask"]})

    def _keep(self, path: tuple[str, ...], body: Any) -> None:
        self._made[_key(path)] = body


def _key(path: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(part.lower() for part in path)


def now() -> datetime:
    """The current time."""
    return datetime.now(UTC)


def time_of(text: str | None) -> datetime | None:
    """A recorded time."""
    return None if text is None else datetime.fromisoformat(text)
