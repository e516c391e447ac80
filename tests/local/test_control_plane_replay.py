"""Recordings of the real control plane, replayed: the embedded service gives the same replies.

Compared are status, error code, relevant headers, and the properties of the body with their types.
Recordings of older api-versions are sent as the newest one. The counts are in
``tools/replay/control_plane.json`` for ``docs/compatibility.md``; ``BATCHSPEC_ACCEPT=1`` writes it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from azure.storage.blob import BlobClient

from batchspec.local.control_plane import ArmError, find_control_plane_route
from batchspec.local.model import PoolState
from tests.conftest import BlobStore
from tests.local.management import MACHINE, Management
from tests.local.running import Answer, Service, running

ROOT = Path(__file__).parents[2]
RECORDINGS = ROOT.parent / "shared" / "arm" / "arm-recordings.jsonl"
COUNTS = ROOT / "tools" / "replay" / "control_plane.json"
HEADERS = frozenset({"etag", "last-modified", "location", "retry-after", "content-type"})

OLDER = "recorded with an older api-version"
SETTINGS = "the recorded account has other settings"
REASONS = (
    (r"properties\.(maxTasksPerNode|taskSlotsPerNode)|jobDefaultOrder", OLDER),
    (r"header retry-after|batchSupportEndOfLife", OLDER),
    (r"allowedAuthenticationModes|nodeManagementEndpoint|privateEndpointConnections", OLDER),
    (r"userAssignedIdentities|keyVaultReference|networkProfile|autoStorage", SETTINGS),
    (r"properties\.(dedicated|lowPriority)CoreQuota", SETTINGS),
    (
        r"properties\.(autoScaleRun|resizeOperationStatus)",
        "the real service evaluates a formula before it replies",
    ),
)
"""Patterns of accepted differences, each with its reason."""


def why(difference: str, exchange: dict[str, Any]) -> str:
    """The reason of a difference; empty if there is none."""
    if exchange["res"] == {"value": []}:
        return "the recorded subscription has no account"
    for pattern, reason in REASONS:
        if re.search(pattern, difference) and (reason != OLDER or exchange["api"] < "2025"):
            return reason
    return ""


def read() -> Iterator[list[dict[str, Any]]]:
    """The recorded exchanges, by flow."""
    flows: defaultdict[Any, list[dict[str, Any]]] = defaultdict(list)
    for number, line in enumerate(RECORDINGS.read_text(encoding="utf-8").splitlines()):
        exchange = json.loads(line)
        flows[exchange["flow"] or f"single {number}"].append(exchange)
    yield from flows.values()


def shape(value: Any, place: str = "") -> Iterator[str]:
    """The paths in a JSON value with their types; names of trimmed parts are left out."""
    if isinstance(value, dict):
        for name, item in value.items():
            if not name.startswith("_"):
                yield from shape(item, f"{place}.{name}" if place else name)
    elif isinstance(value, list):
        yield f"{place}: list"
        for item in value:
            yield from shape(item, f"{place}[]")
    elif value is not None:
        kind = "number" if type(value) in (int, float) else type(value).__name__
        yield f"{place}: {kind}"


def differences(exchange: dict[str, Any], answer: Answer) -> set[str]:
    """The properties only in the recorded reply (-), or only in the reply of this service (+)."""
    reply = json.loads(answer.body) if answer.body else None
    if exchange["status"] != answer.status:
        code = (reply or {}).get("error", {}).get("code", "")
        return {f"status {answer.status} {code} for {exchange['status']}"}
    theirs = {f"body {path}" for path in shape(exchange["res"])}
    ours = {f"body {path}" for path in shape(reply)}
    if answer.status >= 400:
        theirs |= {f"code {exchange['res']['error']['code']}"}
        ours |= {f"code {reply['error']['code']}"} if reply else set()
    theirs |= {f"header {name}" for name in exchange["resh"] if name in HEADERS}
    ours |= {f"header {name}" for name in answer.headers if name in HEADERS}
    return {f"- {one}" for one in theirs - ours} | {f"+ {one}" for one in ours - theirs}


def not_applicable(exchange: dict[str, Any]) -> str:
    """The reason why an exchange is not replayed; empty if it is."""
    text = json.dumps([exchange["req"], exchange["res"]])
    if "blob.core" in exchange.get("host", "") or exchange["path"].startswith("/app-"):
        return "an upload to Azure Storage, which is done"
    if exchange["api"] is not None and exchange["api"] < "2018-12-01":
        return "api-versions before 2018-12-01 have other success codes"
    try:
        route = find_control_plane_route(exchange["method"], exchange["path"]).route
    except ArmError:
        return "an operation on accounts or their network, which the service does not have"
    if route.handler is None:
        return "an operation on accounts or their network, which the service does not have"
    if "cloudServiceConfiguration" in text:
        return "Cloud Services pools are retired"
    if exchange["status"] in (429, 500, 504):
        return "a transient server error"
    if exchange["status"] == 403:
        return "rights are not checked"
    if exchange["method"] in ("PUT", "PATCH") and "pools" in exchange["path"]:
        return "" if exchange["req"] else "the recording does not contain the request body"
    return ""


class Replay:
    """Sends the exchanges of one flow to a service without an engine."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._management = Management(service)
        self._upload = ""

    def clear(self) -> None:
        """Delete the objects of the previous flow."""
        store = self._service.store
        for pool in store.pools.page():
            active = pool.state is PoolState.ACTIVE
            store.pools.remove(store.pools.delete(pool, pool.modified) if active else pool)
        shutil.rmtree(self._service.data / "applications", ignore_errors=True)

    def path(self, recorded: str) -> str:
        """A recorded path with the names of this service."""
        parts = recorded.strip("/").split("/")
        for name, value in (
            ("resourceGroups", "batchspec"),
            ("batchAccounts", self._service.account),
            ("locations", "local"),
        ):
            if name in parts and parts.index(name) + 1 < len(parts):
                parts[parts.index(name) + 1] = value
        return "/" + "/".join(parts)

    def prepare(self, exchange: dict[str, Any], *, first: bool) -> None:
        """Recreate the state before an exchange: steps of the engine and before the recording."""
        for pool in self._service.store.pools.page():
            if pool.state is PoolState.ACTIVE:
                self._service.store.pools.complete_resize(pool, pool.modified)
            elif exchange["status"] == 200:
                self._service.store.pools.remove(pool)
        if not first or (exchange["status"] >= 300 and exchange["status"] != 202):
            return
        parts = self.path(exchange["path"]).split("/")
        if "applications" in parts and exchange["method"] != "PUT":
            shown = exchange["res"] or {}
            for item in shown.get("value", [shown]) if shown else [{}]:
                name = item.get("name", parts[-1])
                self.send("PUT", f"applications/{name}", {"properties": item.get("properties", {})})
        elif "pools" in parts and exchange["method"] == "DELETE":
            self.send("PUT", f"pools/{parts[-1]}", POOL)

    def send(self, method: str, path: str, body: Any = None) -> Answer:
        answer = self._management.request(method, path, body)
        if answer.body and (properties := answer.json.get("properties")):
            self._upload = properties.get("storageUrl", self._upload)
        return answer

    def upload(self) -> None:
        BlobClient.from_blob_url(self._upload).upload_blob(b"a package", overwrite=True)


POOL = {"properties": {"vmSize": "standard_d2s_v3", "deploymentConfiguration": MACHINE}}


@pytest.mark.skipif(not RECORDINGS.exists(), reason="no recordings next to the project")
def test_recorded_requests_get_the_recorded_replies(tmp_path: Path, azurite: BlobStore) -> None:
    skipped: Counter[str] = Counter()
    explained: Counter[str] = Counter()
    unexplained: list[str] = []
    recorded = applied = 0
    with running(tmp_path / "batch", storage=azurite.connection_string) as service:
        for flow in read():
            replay, first = Replay(service), True
            replay.clear()
            for exchange in flow:
                recorded += 1
                if reason := not_applicable(exchange):
                    skipped[reason] += 1
                    if "Storage" in reason:
                        replay.upload()
                    continue
                applied += 1
                replay.prepare(exchange, first=first)
                first = False
                path = replay.path(exchange["path"])
                answer = replay.send(exchange["method"], path, exchange["req"])
                found = differences(exchange, answer)
                reasons = {why(one, exchange) for one in found}
                unexplained += [f"{exchange['method']} {path[-60:]}: {sorted(found)}"] * (
                    "" in reasons
                )
                explained.update(sorted(reasons)[:1])
    assert unexplained == []
    counts = {
        "recorded": recorded,
        "apply": applied,
        "do not apply": dict(skipped.most_common()),
        "differ": dict(explained.most_common()),
    }
    if os.environ.get("BATCHSPEC_ACCEPT"):
        COUNTS.write_text(json.dumps(counts, indent=2) + "\n", encoding="utf-8")
    assert counts == json.loads(COUNTS.read_text(encoding="utf-8"))
