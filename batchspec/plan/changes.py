"""The differences between a request body and an existing resource, and how each property can
change.

The tables repeat what the service documents for its update requests (azure-batch 15.1: docstrings
of ``BatchPoolUpdateOptions``, ``BatchJobUpdateOptions`` and ``BatchJobScheduleUpdateOptions``; REST
reference of Resize, Enable AutoScale and Update Task). ``docs/changes.md`` is generated from them.

Only properties in the body are compared, because the service fills in the others. URLs are compared
without their signature, durations by length, times by instant, and enum values without case.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from urllib.parse import unquote, urlsplit

from batchspec.diagnostics import Secret
from batchspec.frozen import frozen
from batchspec.spec import BlobUrl, Record, Template, Text, Value, duration, thaw


class ChangeMethod(StrEnum):
    """How a property is changed. Later members cost more than earlier members."""

    NOW = "now"
    """By an update; it takes effect at once."""
    SIZE = "size"
    """By a resize, or by turning automatic scaling on or off."""
    NEXT = "next"
    """It cannot be changed, and does not justify the end of a job: the next job has the new
    value."""
    REBOOT = "reboot"
    """By an update; new nodes have it at once, existing ones after a restart."""
    EMPTY = "empty"
    """By an update while the pool has no nodes; otherwise the resource must be created again."""
    REPLACE = "replace"
    """The resource must be created again."""


POOL: Mapping[str, ChangeMethod] = {
    "id": ChangeMethod.REPLACE,
    "displayName": ChangeMethod.EMPTY,
    "vmSize": ChangeMethod.EMPTY,
    "virtualMachineConfiguration": ChangeMethod.EMPTY,
    "identity": ChangeMethod.EMPTY,
    "resizeTimeout": ChangeMethod.SIZE,
    "targetDedicatedNodes": ChangeMethod.SIZE,
    "targetLowPriorityNodes": ChangeMethod.SIZE,
    "enableAutoScale": ChangeMethod.SIZE,
    "autoScaleFormula": ChangeMethod.SIZE,
    "autoScaleEvaluationInterval": ChangeMethod.SIZE,
    "enableInterNodeCommunication": ChangeMethod.EMPTY,
    "networkConfiguration": ChangeMethod.EMPTY,
    "startTask": ChangeMethod.REBOOT,
    "applicationPackageReferences": ChangeMethod.REBOOT,
    "taskSlotsPerNode": ChangeMethod.EMPTY,
    "taskSchedulingPolicy": ChangeMethod.EMPTY,
    "userAccounts": ChangeMethod.EMPTY,
    "metadata": ChangeMethod.NOW,
    "mountConfiguration": ChangeMethod.EMPTY,
    "upgradePolicy": ChangeMethod.EMPTY,
}
"""Of a pool. "This field can be updated only when the pool is empty" is
:attr:`ChangeMethod.EMPTY`.

``identity`` is a property in Azure Resource Manager only: nodes have the identities that the pool
had when it last had no node."""
JOB: Mapping[str, ChangeMethod] = {
    "id": ChangeMethod.REPLACE,
    "displayName": ChangeMethod.NEXT,
    "priority": ChangeMethod.NOW,
    "allowTaskPreemption": ChangeMethod.NOW,
    "maxParallelTasks": ChangeMethod.NOW,
    "usesTaskDependencies": ChangeMethod.REPLACE,
    "constraints": ChangeMethod.NOW,
    "jobManagerTask": ChangeMethod.REPLACE,
    "jobPreparationTask": ChangeMethod.REPLACE,
    "jobReleaseTask": ChangeMethod.REPLACE,
    "commonEnvironmentSettings": ChangeMethod.REPLACE,
    "poolInfo": ChangeMethod.REPLACE,
    "onAllTasksComplete": ChangeMethod.NOW,
    "onTaskFailure": ChangeMethod.REPLACE,
    "metadata": ChangeMethod.NOW,
    "networkConfiguration": ChangeMethod.NOW,
}
"""Of a job. ``poolInfo`` could be changed only while the job is disabled, which would stop its
tasks. ``onAllTasksComplete`` can change from ``noaction`` to ``terminatejob``, but not back."""
SCHEDULE: Mapping[str, ChangeMethod] = {
    "id": ChangeMethod.REPLACE,
    "displayName": ChangeMethod.NEXT,
    "schedule": ChangeMethod.NOW,
    "jobSpecification": ChangeMethod.NOW,
    "metadata": ChangeMethod.NOW,
}
"""Of a job schedule. Changes apply to the jobs that start afterwards."""
TASK: Mapping[str, ChangeMethod] = {"constraints": ChangeMethod.NEXT}
"""Only these properties of a task: its id contains the digest of its work, so that other work is
another task.

Update Task accepts ``constraints`` of a task that has not ended. A task in the job nevertheless
keeps the limits it was added with, because comparing them requires reading every task in full.
"""
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z", re.IGNORECASE)
_NOT_COMPARED = frozenset({"metadata"})
"""Members that record the creator of an object, not its definition."""
HIDDEN = frozenset({"password", "accountKey", "sasKey", "protectedSettings"})
"""Members that the service accepts and never returns."""
_EXACT = frozenset({"commandLine", "value", "filePath", "autoScaleFormula", "displayName"})
"""Members whose text is compared exactly, including case."""


@frozen
class Difference:
    """A property (a dotted path in REST names) with its wanted and its existing value."""

    path: str
    wanted: Value
    found: Value

    @property
    def words(self) -> str:
        """The difference in short: ``vmSize: standard_d2s_v5 → standard_d4s_v5``."""
        return f"{self.path}: {_short(self.found)} -> {_short(self.wanted)}"

    @property
    def property(self) -> str:
        """The top-level property that contains it: ``startTask`` for ``startTask.commandLine``."""
        return re.split(r"[.\[]", self.path, maxsplit=1)[0]


def differences(wanted: Record, found: Record, path: str = "") -> Iterator[Difference]:
    """Every property of ``wanted`` that differs in ``found``, in the order of the body."""
    for key, value in wanted.items():
        if key in _NOT_COMPARED and not path:
            continue
        yield from _compare(f"{path}{key}", key, value, found.get(key))


def _compare(path: str, key: str, wanted: Value, found: Value) -> Iterator[Difference]:
    match wanted, found:
        case Record(), Record() if key == "identity":
            if any(differences(wanted, found)):
                yield Difference(path, wanted, found)
        case Record(), Record():
            yield from differences(wanted, found, f"{path}.")
        case tuple(), tuple() if len(wanted) == len(found):
            for number, (one, other) in enumerate(zip(wanted, found, strict=True)):
                yield from _compare(f"{path}[{number}]", key, one, other)
        case _, None if key in HIDDEN:
            return
        case _ if not _equal(key, wanted, found):
            yield Difference(path, wanted, found)


def _equal(key: str, wanted: Value, found: Value) -> bool:
    match wanted, found:
        case BlobUrl(), str():
            where = unquote(urlsplit(found).path).rstrip("/")
            name = wanted.container if wanted.blob is None else f"{wanted.container}/{wanted.blob}"
            return where.endswith(f"/{name}")
        case ((Text() | Secret() | Template()), _):
            # The text is only known when it is sent; the digest in the metadata covers it.
            return True
        case str(), str():
            return _same_text(key, wanted, found)
        case ((None | False | ()), None):
            # The service omits properties that are empty or off.
            return True
    return wanted == found


def _same_text(key: str, wanted: str, found: str) -> bool:
    if key in _EXACT:
        return wanted == found
    length = _length(wanted)
    if length is not None:
        return length == _length(found)
    if _TIME.fullmatch(wanted) and _TIME.fullmatch(found):
        return datetime.fromisoformat(wanted) == datetime.fromisoformat(found)
    return wanted.lower() == found.lower()


def _length(text: str) -> timedelta | None:
    """The length of an ISO 8601 duration; ``None`` if the text is not a duration."""
    return duration(text.upper()) if text[:1] in {"P", "p"} else None


def _short(value: Value) -> str:
    if value is None:
        return "unset"
    if isinstance(value, Record) and "userAssignedIdentities" in value:
        value = value["userAssignedIdentities"]
    if isinstance(value, tuple) and all(isinstance(v, Record) and "resourceId" in v for v in value):
        # The last segment of a resource id is the name of the identity.
        names = (str(v["resourceId"]).rpartition("/")[2] for v in value if isinstance(v, Record))
        value = tuple(names)
    if isinstance(value, tuple) and all(isinstance(v, Record) and "name" in v for v in value):
        # Environment settings: their values may have been secrets.
        value = tuple(v["name"] for v in value if isinstance(v, Record))
    text = value if isinstance(value, str) else json.dumps(thaw(value, lambda text: text.shown))
    return text if len(text) <= 60 else text[:57] + "..."
