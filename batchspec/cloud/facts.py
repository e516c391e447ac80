"""The JSON of the Batch service and of Resource Manager as facts: no SDK model, no request."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote, urlsplit

from batchspec.account import (
    NodeFacts,
    NodeFile,
    NodeRecord,
    PreparationFacts,
    TaskCounts,
    TaskRecord,
    TaskSince,
    TaskTimes,
    TaskWaiting,
)
from batchspec.catalog.vm_sizes import family_key
from batchspec.plan.capacity import AccountResource, VmSize
from batchspec.plan.observed import (
    JobFacts,
    PoolFacts,
    ScheduleFacts,
    SupportedImage,
    TaskFacts,
    read_marks,
    unmarked,
)
from batchspec.spec import LOGS, Record, freeze

Json = Mapping[str, Any]

TASK_FIELDS = ["id", "displayName", "creationTime", "state", "executionInfo", "nodeInfo"]
"""What :func:`task_facts` reads. A list with all fields takes ten times as long."""

NODE_FIELDS = ["id", "state", "startTaskInfo", "errors"]
"""What :func:`node_facts` reads."""

NODE_RECORD_FIELDS = [
    *NODE_FIELDS,
    "vmSize",
    "isDedicated",
    "allocationTime",
    "lastBootTime",
    "stateTransitionTime",
]
"""What :func:`node_record` reads."""


def pool_facts(body: Json) -> PoolFacts:
    """The response of Get Pool."""
    run: Json = body.get("autoScaleRun") or {}
    return PoolFacts(
        id=body["id"],
        state=body.get("state", ""),
        allocation=body.get("allocationState", ""),
        properties=_record(_with_identity(body)),
        metadata=metadata(body),
        dedicated=body.get("currentDedicatedNodes", 0),
        spot=body.get("currentLowPriorityNodes", 0),
        target_dedicated=body.get("targetDedicatedNodes", 0),
        target_spot=body.get("targetLowPriorityNodes", 0),
        resize_errors=tuple(
            (error.get("code", ""), _error_text(error)) for error in body.get("resizeErrors", ())
        ),
        allocation_since=_timestamp(body, "allocationStateTransitionTime"),
        autoscale_error=_error(run.get("error")),
        autoscale_at=_timestamp(run, "timestamp"),
    )


def _with_identity(body: Json) -> Json:
    """The pool with its identities in the order of their resource ids, or without the property."""
    identity: Json = body.get("identity") or {}
    assigned = identity.get("userAssignedIdentities") or ()
    found = sorted(assigned, key=lambda each: str(each.get("resourceId")).lower())
    others = {key: value for key, value in body.items() if key != "identity"}
    if not found:
        return others
    return {**others, "identity": {**identity, "userAssignedIdentities": found}}


def job_facts(body: Json) -> JobFacts:
    """The response of Get Job."""
    execution: Json = body.get("executionInfo") or {}
    return JobFacts(
        id=body["id"],
        state=body.get("state", ""),
        created=parse_timestamp(body["creationTime"]),
        properties=_record(body),
        metadata=metadata(body),
        ended=_timestamp(execution, "endTime"),
        terminate_reason=execution.get("terminateReason"),
        pool=execution.get("poolId", ""),
        scheduling_error=_error(execution.get("schedulingError")),
    )


def schedule_facts(body: Json) -> ScheduleFacts:
    """The response of Get Job Schedule."""
    execution: Json = body.get("executionInfo") or {}
    # The nextRunTime of a schedule that is not active is the time at which a job would be due.
    due = execution.get("nextRunTime") if body.get("state") == "active" else None
    ended = execution.get("endTime")
    return ScheduleFacts(
        id=body["id"],
        state=body.get("state", ""),
        created=parse_timestamp(body["creationTime"]),
        properties=_record(body),
        metadata=metadata(body),
        next_run=parse_timestamp(due) if due else None,
        recent_job=(execution.get("recentJob") or {}).get("id"),
        ended=parse_timestamp(ended) if ended else None,
    )


def task_facts(body: Json) -> TaskFacts:
    """A task of a list, with :data:`TASK_FIELDS`."""
    execution: Json = body.get("executionInfo") or {}
    failure: Json = execution.get("failureInfo") or {}
    state = body.get("state", "")
    # The casing of `result` differs between versions of the service.
    result = str(execution.get("result", "")).lower()
    return TaskFacts(
        id=body["id"],
        state=state,
        succeeded=result == "success" if state == "completed" else None,
        exit_code=execution.get("exitCode"),
        code=failure.get("code"),
        message=_error_text(failure) if failure else None,
        node=(body.get("nodeInfo") or {}).get("nodeId"),
        retries=execution.get("retryCount", 0),
        marks=read_marks(body.get("displayName") or ""),
        created=parse_timestamp(body["creationTime"]) if body.get("creationTime") else None,
        started=bool(execution.get("startTime")),
    )


def task_record(body: Json) -> TaskRecord:
    """A task of a list, with :data:`TASK_FIELDS`."""
    execution: Json = body.get("executionInfo") or {}
    return TaskRecord(
        task_facts(body),
        name=unmarked(body.get("displayName") or ""),
        category=str((execution.get("failureInfo") or {}).get("category", "")).lower(),
        started=_timestamp(execution, "startTime"),
        ended=_timestamp(execution, "endTime"),
        requeued=execution.get("requeueCount", 0),
    )


SINCE_FIELDS = [*TASK_FIELDS, "stateTransitionTime"]
"""What :func:`task_since` reads."""


def task_since(body: Json) -> TaskSince:
    """A task of a list, with :data:`SINCE_FIELDS`."""
    return TaskSince(task_facts(body), parse_timestamp(body["stateTransitionTime"]))


def kept_output(body: Json) -> tuple[str, str] | None:
    """Where stdout and stderr of a task are uploaded: the container and the folder in it."""
    for file in body.get("outputFiles") or ():
        if file.get("filePattern") == LOGS:
            container: Json = (file.get("destination") or {}).get("container") or {}
            name = urlsplit(container.get("containerUrl", "")).path.rpartition("/")[2]
            return unquote(name), container.get("path", "").rstrip("/")
    return None


def node_file(body: Json) -> NodeFile | None:
    """A file of a list of files; ``None`` for a folder."""
    if body.get("isDirectory"):
        return None
    properties: Json = body.get("properties") or {}
    # The length is a string in the REST reference.
    size = int(properties.get("contentLength") or 0)
    return NodeFile(body.get("name", ""), size, _timestamp(properties, "lastModified"))


def node_facts(body: Json) -> NodeFacts:
    """A node of a list, with :data:`NODE_FIELDS`."""
    start: Json = body.get("startTaskInfo") or {}
    messages = [_error_text(error) for error in body.get("errors") or ()]
    if start.get("failureInfo"):
        messages.insert(0, _error_text(start["failureInfo"]))
    return NodeFacts(
        id=body["id"],
        state=body.get("state", ""),
        exit_code=start.get("exitCode"),
        message="; ".join(text for text in messages if text),
        started=parse_timestamp(start["startTime"]) if start.get("startTime") else None,
    )


def node_record(body: Json) -> NodeRecord:
    """A node of a list, with :data:`NODE_RECORD_FIELDS`."""
    start: Json = body.get("startTaskInfo") or {}
    known = node_facts(body)
    return NodeRecord(
        id=known.id,
        state=known.state,
        vm_size=body.get("vmSize", ""),
        dedicated=body.get("isDedicated", True),
        allocated=_timestamp(body, "allocationTime"),
        booted=_timestamp(body, "lastBootTime"),
        changed=_timestamp(body, "stateTransitionTime"),
        start_task_started=known.started,
        start_task_ended=_timestamp(start, "endTime"),
        exit_code=known.exit_code,
        message=known.message,
    )


def preparation_facts(body: Json) -> PreparationFacts:
    """An element of List Job Preparation and Release Task Status."""
    execution: Json = body.get("jobPreparationTaskExecutionInfo") or {}
    failure: Json = execution.get("failureInfo") or {}
    ended = str(execution.get("state", "")).lower() == "completed"
    return PreparationFacts(
        node=body.get("nodeId", ""),
        failed=ended and str(execution.get("result", "")).lower() == "failure",
        exit_code=execution.get("exitCode"),
        message=_error_text(failure) if failure else "",
        # With the separators of the node's operating system; requests have slashes.
        directory=str(execution.get("taskRootDirectory") or "").replace("\\", "/").rstrip("/"),
        ended=_timestamp(execution, "endTime"),
    )


def task_times(body: Json) -> TaskTimes:
    """A task of a list, with its id and executionInfo."""
    execution: Json = body.get("executionInfo") or {}
    return TaskTimes(
        body["id"], _timestamp(execution, "startTime"), _timestamp(execution, "endTime")
    )


def task_counts(body: Json) -> TaskCounts:
    """The response of Get Task Counts."""
    counts: Json = body.get("taskCounts") or {}
    return TaskCounts(
        active=counts.get("active", 0),
        running=counts.get("running", 0),
        succeeded=counts.get("succeeded", 0),
        failed=counts.get("failed", 0),
    )


def node_states(pools: Iterable[Json]) -> dict[str, int]:
    """The elements of List Pool Node Counts: dedicated and Spot nodes by state, without zeros.

    The service writes counts in camel case (``startTaskFailed``) and the states of nodes in lower
    case (``starttaskfailed``); the result has states.
    """
    states: dict[str, int] = {}
    for pool in pools:
        for kind in ("dedicated", "lowPriority"):
            for name, count in (pool.get(kind) or {}).items():
                if count and name != "total":
                    states[name.lower()] = states.get(name.lower(), 0) + int(count)
    return states


def image(body: Json) -> SupportedImage:
    """An element of List Supported Images."""
    reference: Json = body["imageReference"]
    end_of_life = body.get("batchSupportEndOfLife")
    return SupportedImage(
        publisher=reference.get("publisher", ""),
        offer=reference.get("offer", ""),
        sku=reference.get("sku", ""),
        version=reference.get("version", "latest"),
        node_agent=body["nodeAgentSKUId"],
        windows=body.get("osType", "linux").lower() == "windows",
        verified=body.get("verificationType", "").lower() == "verified",
        capabilities=tuple(body.get("capabilities") or ()),
        end_of_life=parse_timestamp(end_of_life) if end_of_life else None,
    )


def metadata(body: Json) -> dict[str, str]:
    """The name and value pairs of a pool's or a job's metadata."""
    return {item["name"]: item.get("value", "") for item in body.get("metadata") or ()}


def _timestamp(body: Json, name: str) -> datetime | None:
    text = body.get(name)
    return parse_timestamp(text) if text else None


def _error(error: Json | None) -> tuple[str, str] | None:
    """Code and message of an error; ``None`` without an error."""
    return (str(error.get("code", "")), _error_text(error)) if error else None


def parse_timestamp(text: str) -> datetime:
    """A time in RFC 3339 with any number of fractional digits; UTC if it has no offset."""
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _record(body: Json) -> Record:
    frozen = freeze({key: value for key, value in body.items() if not key.startswith("odata.")})
    assert isinstance(frozen, Record)
    return frozen


def _error_text(error: Json) -> str:
    """Message and details of a failure in one line."""
    details = error.get("details") or error.get("errorDetails") or error.get("values") or ()
    texts = [str(error.get("message") or "")]
    texts += [f"{d.get('name')}: {d.get('value')}" for d in details if d.get("value")]
    return "; ".join(text for text in texts if text) or str(error.get("code") or "")


# Task dependencies, by the REST reference of TaskDependencies, ExitConditions and ExitOptions.

WAITING_FIELDS = ["id", "dependsOn", "requiredSlots"]
"""What :func:`task_waiting` reads."""

ENDED_FIELDS = ["id", "executionInfo", "exitConditions"]
"""What :func:`satisfies` reads."""


def task_waiting(body: Json) -> TaskWaiting:
    """A task of a list, with :data:`WAITING_FIELDS`."""
    depends: Json = body.get("dependsOn") or {}
    ranges = tuple((ids["start"], ids["end"]) for ids in depends.get("taskIdRanges") or ())
    needs = tuple(depends.get("taskIds") or ())
    return TaskWaiting(body["id"], needs, ranges, body.get("requiredSlots", 1))


def satisfies(body: Json) -> bool:
    """Whether tasks that depend on a failed task can start, with :data:`ENDED_FIELDS`."""
    options = _options(body.get("exitConditions") or {}, body.get("executionInfo") or {})
    return str(options.get("dependencyAction", "block")).lower() == "satisfy"


def _options(conditions: Json, execution: Json) -> Json:
    """The exit options that apply to a failed task: those of its exit code take precedence."""
    code: int | None = execution.get("exitCode")
    found: Json | None = None
    if code is not None:
        for single in conditions.get("exitCodes") or ():
            if single["code"] == code:
                return single.get("exitOptions") or {}
        for several in conditions.get("exitCodeRanges") or ():
            if several["start"] <= code <= several["end"]:
                return several.get("exitOptions") or {}
    failure = str((execution.get("failureInfo") or {}).get("code", ""))
    if failure.startswith("FileUpload"):
        found = conditions.get("fileUploadError")
    elif code is None and failure != "TaskEnded":
        found = conditions.get("preProcessingError")
    return found or conditions.get("default") or {}


def account_resource(body: Json) -> AccountResource:
    """The response of Get Batch Account.

    Accounts that create nodes in the subscription of the user have no quotas of cores: the
    properties are absent (recorded), which is not 0.
    """
    properties: Json = body.get("properties") or {}
    storage: Json = properties.get("autoStorage") or {}
    families = properties.get("dedicatedCoreQuotaPerVMFamily") or ()
    return AccountResource(
        id=str(body.get("id", "")),
        region=str(body.get("location", "")),
        state=str(properties.get("provisioningState", "")),
        user_subscription=properties.get("poolAllocationMode") == "UserSubscription",
        public_access=str(properties.get("publicNetworkAccess") or ""),
        authentication=tuple(properties.get("allowedAuthenticationModes") or ()),
        storage=str(storage.get("storageAccountId") or ""),
        storage_authentication=str(storage.get("authenticationMode") or ""),
        dedicated_cores=_count(properties, "dedicatedCoreQuota"),
        spot_cores=_count(properties, "lowPriorityCoreQuota"),
        family_cores={
            family_key(str(each.get("name", ""))): int(each.get("coreQuota") or 0)
            for each in families
        },
        families_enforced=properties.get("dedicatedCoreQuotaPerVMFamilyEnforced") is True,
        pools=_count(properties, "poolQuota"),
        jobs=_count(properties, "activeJobAndJobScheduleQuota"),
    )


def _count(properties: Json, name: str) -> int | None:
    value = properties.get(name)
    return int(value) if value is not None else None


def vm_size(body: Json) -> VmSize:
    """An element of the VM sizes that Batch offers in a region. All values are strings."""
    has = {str(each.get("name")): str(each.get("value")) for each in body.get("capabilities") or ()}
    ends = body.get("batchSupportEndOfLife")
    days = [parse_timestamp(str(ends))] if ends else []
    days += _us_date(has.get("RetirementDateUtc", ""))
    generations = tuple(
        int(each.strip()[1:])
        for each in has.get("HyperVGenerations", "").split(",")
        if each.strip()
    )
    # All are features of the size, except one, which is the absence of a feature.
    absent = {name: "true" if name == "TrustedLaunchDisabled" else "false" for name in has}
    return VmSize(
        name=str(body.get("name", "")),
        family=str(body.get("familyName") or ""),
        # Constrained sizes have fewer cores than vCPUs.
        cores=_number(has.get("vCPUsAvailable") or has.get("vCPUs"), int),
        memory=_number(has.get("MemoryGB"), float),
        gpus=_number(has.get("GPUs"), int) or 0,
        generations=generations or None,
        spot=has.get("LowPriorityCapable", "True").lower() != "false",
        ends=min(days, default=None),
        disks=_number(has.get("MaxDataDiskCount"), int),
        lacks=frozenset(name for name, value in has.items() if value.lower() == absent[name]),
    )


def _number(text: str | None, kind: Any) -> Any:
    with suppress(TypeError, ValueError):
        return kind(text)
    return None


def _us_date(text: str) -> list[datetime]:
    """A date such as ``08/31/2023`` or ``9/6/2023`` (recorded); empty for any other text."""
    with suppress(ValueError):
        return [datetime.strptime(text, "%m/%d/%Y").replace(tzinfo=UTC)]
    return []
