"""From the JSON of Azure Resource Manager to facts."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from batchspec.catalog.vm_sizes import family_key
from batchspec.cloud.facts import Json, parse_timestamp
from batchspec.plan.capacity import AccountResource, VmSize


def account_resource(body: Json) -> AccountResource:
    """The answer of Get Batch Account.

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
    )


def _number(text: str | None, kind: Any) -> Any:
    with suppress(TypeError, ValueError):
        return kind(text)
    return None


def _us_date(text: str) -> list[datetime]:
    """A date such as ``08/31/2023`` or ``9/6/2023`` (recorded); none if it is not one."""
    with suppress(ValueError):
        return [datetime.strptime(text, "%m/%d/%Y").replace(tzinfo=UTC)]
    return []
