"""What every kind of task has in its settings: files, identity, constraints; rules and defaults."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from batchspec.local.wire import UNLIMITED, Fault, bad_property, ticks_of

RETENTION = "P7D"
MAX_SLOTS = 256
_SOURCES = ("httpUrl", "storageContainerUrl", "autoStorageContainerName")
_IDENTITY: Mapping[str, Any] = {"autoUser": {"scope": "pool", "elevationLevel": "nonadmin"}}


def check_resource_files(resource_files: Sequence[Mapping[str, Any]]) -> None:
    """Each names exactly one source, and a single file its path.

    Raises:
        Fault: ``InvalidPropertyValue``, ``MissingRequiredProperty``.
    """
    for resource in resource_files:
        sources = [name for name in _SOURCES if resource.get(name)]
        if len(sources) != 1:
            raise bad_property(
                "resourceFiles",
                None,
                "Exactly one of httpUrl, storageContainerUrl and autoStorageContainerName must be "
                "specified.",
            )
        if sources == ["httpUrl"] and not _is_url(resource["httpUrl"]):
            raise bad_property(
                "httpUrl", resource["httpUrl"], "The specified HttpUrl is not a valid URI"
            )
        if sources == ["httpUrl"] and not resource.get("filePath"):
            raise Fault("MissingRequiredProperty", ("PropertyName", "filePath"))
        if sources == ["httpUrl"] and resource.get("blobPrefix"):
            raise bad_property(
                "blobPrefix", resource["blobPrefix"], "A blob prefix cannot go with httpUrl."
            )


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.netloc)


def check_retries(name: str, count: int | None) -> None:
    """-1 is "no limit"; less than that is nothing.

    Raises:
        Fault: ``InvalidPropertyValue``.
    """
    if count is not None and count < -1:
        raise bad_property(name, str(count), "The value must be -1 or more.")


def check_slots(slots: int) -> None:
    """A task takes at least one of the slots that a node can have.

    Raises:
        Fault: ``InvalidPropertyValue``.
    """
    if not 1 <= slots <= MAX_SLOTS:
        raise bad_property("requiredSlots", str(slots), f"The value must be from 1 to {MAX_SLOTS}.")


def check_positive(name: str, text: str | None) -> None:
    """A duration that is more than nothing.

    Raises:
        Fault: ``InvalidPropertyValue``.
    """
    if text is not None and ticks_of(text) <= 0:
        raise bad_property(name, text, "The value must be greater than zero.")


def fill_identity(identity: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """The identity a task runs as, complete; by default the pool's automatic user, no admin.

    Raises:
        Fault: both a name and an automatic user are given.
    """
    if not identity:
        return _IDENTITY
    if "username" in identity and "autoUser" in identity:
        raise bad_property(
            "userIdentity", None, "The username and autoUser properties are mutually exclusive."
        )
    if "username" in identity:
        return identity
    return {"autoUser": {**_IDENTITY["autoUser"], **identity.get("autoUser", {})}}


def fill_constraints(constraints: Mapping[str, Any] | None, max_retries: int) -> dict[str, Any]:
    """The constraints of a task, complete; ``max_retries`` is the job's, which it inherits.

    Raises:
        Fault: ``InvalidPropertyValue``.
    """
    given = constraints or {}
    check_retries("maxTaskRetryCount", given.get("maxTaskRetryCount"))
    check_positive("maxWallClockTime", given.get("maxWallClockTime"))
    retention = given.get("retentionTime", RETENTION)
    if ticks_of(retention) < 0:
        raise bad_property("retentionTime", retention, "The value cannot be negative.")
    return {
        "maxWallClockTime": given.get("maxWallClockTime", UNLIMITED),
        "retentionTime": retention,
        "maxTaskRetryCount": given.get("maxTaskRetryCount", max_retries),
    }


def fill_start_task(task: Mapping[str, Any]) -> dict[str, Any]:
    """A start task, complete, in the service's order.

    Raises:
        Fault: see the checks above.
    """
    check_resource_files(task.get("resourceFiles", ()))
    check_retries("maxTaskRetryCount", task.get("maxTaskRetryCount"))
    return in_order(
        {
            **task,
            "userIdentity": fill_identity(task.get("userIdentity")),
            "maxTaskRetryCount": task.get("maxTaskRetryCount", 0),
            "waitForSuccess": task.get("waitForSuccess", True),
        },
        (
            "commandLine",
            "containerSettings",
            "resourceFiles",
            "environmentSettings",
            "userIdentity",
            "maxTaskRetryCount",
            "waitForSuccess",
        ),
    )


def as_known(task: Mapping[str, Any], *, older: bool) -> Mapping[str, Any]:
    """A task's settings as an api-version knows them.

    Authentication tokens were retired on 2024-09-30. Since then they are not given out, but older
    clients are still shown that they asked for one (recorded in January 2025).
    """
    if older or "authenticationTokenSettings" not in task:
        return task
    return {name: value for name, value in task.items() if name != "authenticationTokenSettings"}


def in_order(body: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """``body`` with ``names`` first, in their order; empty lists are left out, as there."""
    ordered = {name: body[name] for name in names if name in body}
    ordered |= {name: value for name, value in body.items() if name not in ordered}
    return {name: value for name, value in ordered.items() if value != []}
