"""The account of the service as Resource Manager shows it, and facts about its region.

Properties and their order are those of recorded replies. Quotas are those of fault injection
(``--chaos quota=4``); a quota that is not set is :data:`NO_LIMIT`, since nothing enforces it.
"""

from __future__ import annotations

from functools import cache
from typing import Any
from urllib.parse import urlsplit

from batchspec.catalog import vm_sizes
from batchspec.local.api import Context, filtered
from batchspec.local.control_plane.arm import (
    PROVIDER,
    account_id,
    resource_id,
)
from batchspec.local.fault_injection import FaultInjection, QuotaKind
from batchspec.local.settings import REGION
from batchspec.local.wire import FieldType, Reply, Request, etag_of, write_http_date, write_time

NO_LIMIT = 1_000_000
"""What the control plane shows for a quota that is not set."""
ACCOUNTS_OF_REGION = 1


def get_account(context: Context, _request: Request) -> Reply:
    """``GET .../batchAccounts/{accountName}``."""
    headers = {
        "ETag": f'"{etag_of(context.started)}"',
        "Last-Modified": write_http_date(context.started),
    }
    return Reply(200, _account(context), headers=headers)


def list_accounts(context: Context, _request: Request) -> Reply:
    """``GET .../batchAccounts``, of the subscription or of the resource group."""
    return Reply(200, {"value": [_account(context)]})


def get_quotas(_context: Context, _request: Request) -> Reply:
    """``GET .../locations/{locationName}/quotas``: the number of accounts."""
    return Reply(200, {"accountQuota": ACCOUNTS_OF_REGION})


def list_skus(_context: Context, request: Request) -> Reply:
    """``GET .../locations/{locationName}/virtualMachineSkus``."""
    items, link = request.numbered_page(
        filtered(request, {"familyName": FieldType.TEXT}, list(_skus()))
    )
    return Reply(200, {"value": list(items), **({} if link is None else {"nextLink": link})})


def _account(context: Context) -> dict[str, Any]:
    storage = context.storage
    auto_storage = (
        {}
        if storage is None
        else {
            "autoStorage": {
                "storageAccountId": resource_id(
                    "Microsoft.Storage", "storageAccounts", storage.name
                ),
                "lastKeySync": write_time(context.started),
                "authenticationMode": "StorageKeys",
            }
        }
    )
    endpoint = urlsplit(context.base_url).netloc
    return {
        "id": account_id(context.account),
        "name": context.account,
        "type": f"{PROVIDER}/batchAccounts",
        "location": REGION,
        "properties": {
            "accountEndpoint": endpoint,
            "nodeManagementEndpoint": endpoint,
            "provisioningState": "Succeeded",
            **_quotas(context.faults),
            **auto_storage,
            "poolAllocationMode": "BatchService",
            "publicNetworkAccess": "Enabled",
            "privateEndpointConnections": [],
            "encryption": {"keySource": "Microsoft.Batch"},
            "allowedAuthenticationModes": ["SharedKey"],
        },
        "identity": {"type": "None"},
    }


def _quotas(faults: FaultInjection) -> dict[str, Any]:
    limited = faults.family_quotas()
    families = [
        {"name": name, "coreQuota": limited.get(vm_sizes.family_key(name), NO_LIMIT)}
        for name in _families()
    ]

    def quota(kind: QuotaKind) -> int:
        limit = faults.quota(kind)
        return NO_LIMIT if limit is None else limit

    return {
        "dedicatedCoreQuota": quota(QuotaKind.QUOTA),
        "dedicatedCoreQuotaPerVMFamily": families,
        "dedicatedCoreQuotaPerVMFamilyEnforced": True,
        "lowPriorityCoreQuota": quota(QuotaKind.SPOT_QUOTA),
        "poolQuota": quota(QuotaKind.POOL_QUOTA),
        "activeJobAndJobScheduleQuota": quota(QuotaKind.JOB_QUOTA),
    }


@cache
def _families() -> tuple[str, ...]:
    """The families of all sizes, each in one spelling."""
    names = {vm_sizes.family_key(name): name for name in map(vm_sizes.family, _sizes())}
    return tuple(names[key] for key in sorted(names))


@cache
def _sizes() -> tuple[str, ...]:
    return tuple(sorted(vm_sizes.names()))


@cache
def _skus() -> tuple[dict[str, Any], ...]:
    return tuple(map(_sku, _sizes()))


def _sku(size: str) -> dict[str, Any]:
    """A size with those of the recorded capabilities that the catalog of sizes has."""
    cores = str(vm_sizes.cores(size))
    generations = ",".join(f"V{number}" for number in (1, 2) if vm_sizes.boots(size, number))
    capabilities = {"vCPUs": cores, "HyperVGenerations": generations, "vCPUsAvailable": cores}
    shown: dict[str, Any] = {
        "name": vm_sizes.arm_name(size),
        "familyName": vm_sizes.family(size),
        "capabilities": [{"name": name, "value": value} for name, value in capabilities.items()],
    }
    end = vm_sizes.retirement(size)
    if end is not None:
        shown["batchSupportEndOfLife"] = write_time(end)
    return shown
