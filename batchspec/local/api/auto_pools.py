"""Auto pools: validation and defaults of ``poolInfo``, and the scheduling error of invalid ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from batchspec.local.api.account import check_references
from batchspec.local.api.autoscale import read_autoscale
from batchspec.local.api.pools import DEFAULT_RESIZE_TIMEOUT, check_containers, read_pool
from batchspec.local.api.resources import Context
from batchspec.local.wire import Fault, bad_property, check_rules

_TARGETS = ("targetDedicatedNodes", "targetLowPriorityNodes")
_ERRORS = {
    "AutoScalingFormulaSyntaxError": "InvalidAutoScaleFormulaInAutoPool",
    "AutoScalingFormulaTooLong": "InvalidAutoScaleFormulaInAutoPool",
    "InvalidAutoScalingSettings": "InvalidAutoScaleFormulaInAutoPool",
    "InvalidApplicationPackageReferences": "InvalidApplicationPackageReferencesInAutoPool",
}
_SENTENCES = {
    "InvalidAutoScaleFormulaInAutoPool": "The specified auto-scaling settings are not valid.",
    "InvalidApplicationPackageReferencesInAutoPool": (
        "One or more application packages specified for the pool are invalid."
    ),
    "InvalidAutoPoolSettings": "The specified autopool settings are not valid.",
}


class AutoPoolFault(Fault):
    """The settings of the pool itself are invalid.

    The service accepts the job nevertheless and completes it with ``scheduling_error``.
    """

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.code, *fault.values, status=fault.status)
        code = _ERRORS.get(fault.code, "InvalidAutoPoolSettings")
        self.scheduling_error = {
            "category": "UserError",
            "code": code,
            "message": _SENTENCES[code],
            "details": [{"name": name, "value": value} for name, value in fault.values],
        }


def complete_pool_info(info: Mapping[str, Any], *, scheduled: bool) -> dict[str, Any]:
    """``poolInfo`` with defaults; ``scheduled`` if it belongs to a job schedule.

    Raises:
        Fault: the lifetime is invalid.
        AutoPoolFault: the settings of the pool of an auto pool are invalid.
    """
    auto = info.get("autoPoolSpecification")
    if auto is None:
        return dict(info)
    if auto["poolLifetimeOption"] == "jobschedule" and not scheduled:
        raise bad_property(
            "poolLifetimeOption", "jobschedule", "The value applies to job schedules alone."
        )
    complete = {**auto, "keepAlive": auto.get("keepAlive", False)}
    try:
        complete["pool"] = _complete(auto.get("pool"))
    except Fault as fault:
        if fault.code == "NotImplemented":
            raise
        raise AutoPoolFault(fault) from None
    return {"autoPoolSpecification": complete}


def check_auto_pool(context: Context, info: Mapping[str, Any]) -> None:
    """Check that the packages of an auto pool and a container engine for it exist.

    Raises:
        AutoPoolFault: a package does not exist.
        Fault: no container engine is available.
    """
    references = info.get("autoPoolSpecification", {}).get("pool", {})
    check_containers(context, references)
    try:
        check_references(
            context, references.get("applicationPackageReferences", ()), needs_default=True
        )
    except Fault as fault:
        raise AutoPoolFault(fault) from None


def _complete(given: Mapping[str, Any] | None) -> dict[str, Any]:
    if given is None:
        raise Fault("MissingRequiredProperty", ("PropertyName", "pool"))
    check_rules("BatchPoolSpecification", given)
    scaling = read_autoscale(given)
    targets = {} if scaling else {name: given.get(name, 0) for name in _TARGETS}
    settings = read_pool(given)
    return {
        **settings,
        "resizeTimeout": given.get("resizeTimeout", DEFAULT_RESIZE_TIMEOUT),
        **targets,
        "enableAutoScale": scaling is not None,
        **(scaling or {}),
    }
