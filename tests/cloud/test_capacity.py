"""Recorded quotas and VM sizes of an account, and the reason if they cannot be read."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from batchspec.account import read_capacity
from batchspec.catalog import vm_sizes
from batchspec.cloud import AccountClient
from batchspec.cloud.facts import account_resource, vm_size
from batchspec.diagnostics import ServiceError
from batchspec.plan.capacity import Capacity, core_limits, quota_numbers
from batchspec.plan.observed import PoolFacts
from batchspec.spec import Record
from tests.cloud.resource_manager import RECORDINGS, SUBSCRIPTION, denied, recorded
from tests.cloud.scripted import Reply, Scripted

ACCOUNT = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/batchspec/providers/Microsoft.Batch.*/acct"
SIZES = f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Batch/locations/(.*)/virtualMachineSkus"


def an_account(**properties: object) -> Reply:
    return Reply(200, {"id": "/x", "location": "westeurope", "properties": properties})


def pool(name: str, size: str, now: int, target: int, spot: int = 0) -> PoolFacts:
    return PoolFacts(name, "active", "steady", Record(vmSize=size), {}, now, 0, target, spot)


def test_a_recorded_account() -> None:
    bodies = [each["res"] for each in recorded(flow=1, method="GET", status=200)]
    [body, *_] = [each for each in bodies if each and "batchAccounts/acct1" in each.get("id", "")]
    found = account_resource(body)
    assert (found.region, found.state, found.user_subscription) == ("eastus2", "Succeeded", False)
    assert found.pools == body["properties"]["poolQuota"] == 100
    assert found.dedicated_cores == body["properties"]["dedicatedCoreQuota"]
    assert found.storage.endswith("/storageAccounts/stor1")
    assert found.storage_authentication == "StorageKeys"
    assert found.families_enforced
    families = body["properties"]["dedicatedCoreQuotaPerVMFamily"]
    # The numbers are found without regard to the case of the names.
    for family in families:
        key = vm_sizes.family_key(family["name"].upper())
        assert found.family_cores[key] == family["coreQuota"]


def test_a_recorded_account_of_a_user_subscription_has_no_core_quota() -> None:
    bodies = [each["res"] for each in recorded(flow=4, method="GET", status=200)]
    [body, *_] = [
        each
        for each in bodies
        if each and each.get("properties", {}).get("poolAllocationMode") == "UserSubscription"
    ]
    found = account_resource(body)
    assert found.user_subscription
    assert (found.dedicated_cores, found.spot_cores, dict(found.family_cores)) == (None, None, {})
    assert "SharedKey" not in found.authentication
    assert found.jobs is not None
    assert core_limits(Capacity(found), "standard_d2s_v3", spot=False) == ()


def test_recorded_sizes() -> None:
    path = RECORDINGS.parent / "skus-eastus2-2025-01-16.json"
    if not path.exists():
        pytest.skip("the recordings of Resource Manager are not on this machine")
    body = json.loads(path.read_text(encoding="utf-8"))
    sizes = {each.name: each for each in map(vm_size, body.get("value", body))}
    t4 = sizes["Standard_NC16as_T4_v3"]
    assert (t4.cores, t4.memory, t4.gpus, t4.generations) == (16, 110.0, 1, (1, 2))
    assert t4.words == "standard_nc16as_t4_v3 (16 cores, 110 GB, 1 GPU)"
    assert t4.disks == 32
    assert t4.lacks == {"MemoryPreservingMaintenanceSupported", "RdmaEnabled"}
    a1 = sizes["Basic_A1"]
    assert a1.lacks >= {"PremiumIO", "EphemeralOSDiskSupported", "EncryptionAtHostSupported"}
    assert (a1.spot, a1.ends) == (False, datetime(2024, 8, 31, tzinfo=UTC))
    assert all(size.cores and size.family and size.generations for size in sizes.values())


def test_a_constrained_size_has_fewer_cores_than_vcpus() -> None:
    values = {"vCPUs": "8", "vCPUsAvailable": "2"}
    listed = [{"name": name, "value": value} for name, value in values.items()]
    assert vm_size({"name": "Standard_DS13-2_v2", "capabilities": listed}).cores == 2


def test_missing_features_of_a_size() -> None:
    values = {"PremiumIO": "False", "RdmaEnabled": "True", "TrustedLaunchDisabled": "True"}
    listed = [{"name": name, "value": value} for name, value in values.items()]
    found = vm_size({"name": "S", "capabilities": listed})
    assert found.lacks == {"PremiumIO", "TrustedLaunchDisabled"}
    listed = [{"name": "TrustedLaunchDisabled", "value": "False"}]
    assert not vm_size({"name": "S", "capabilities": listed}).lacks


def test_a_retirement_date_is_not_iso() -> None:
    body = {"name": "S", "capabilities": [{"name": "RetirementDateUtc", "value": "9/6/2023"}]}
    assert vm_size(body).ends == datetime(2023, 9, 6, tzinfo=UTC)
    body = {"name": "S", "capabilities": [{"name": "RetirementDateUtc", "value": "soon"}]}
    assert vm_size(body).ends is None


def test_cores_of_pools_are_the_present_or_the_requested_ones() -> None:
    found = Capacity(
        pools=(
            pool("growing", "standard_d4s_v3", 1, 3),
            pool("shrinking", "STANDARD_D4S_V3", 5, 0),
            pool("spot", "standard_e8s_v5", 0, 0, 2),
            pool("idle", "standard_e8s_v5", 0, 0),
            pool("odd", "a size", 3, 3),
            pool("mine", "standard_d2s_v3", 9, 9),
        )
    )
    used = [(each.pool, each.dedicated, each.spot) for each in found.used(without="MINE")]
    assert used == [("shrinking", 20, 0), ("spot", 0, 16), ("growing", 12, 0)]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (
            "AccountCoreQuotaReached",
            "the quota of dedicated cores is 30, and pools have or request",
        ),
        (
            "AccountVMSeriesCoreQuotaReached",
            "the quota of dedicated cores of standardDSv3Family is",
        ),
        ("AccountLowPriorityCoreQuotaReached", "the quota of Spot cores is 8"),
        ("AccountSpotCoreQuotaReached", "the quota of Spot cores is 8"),
        ("AllocationFailed", ""),
    ],
)
def test_the_numbers_of_a_resize_error(code: str, words: str) -> None:
    account = account_resource(
        {
            "properties": {
                "dedicatedCoreQuota": 30,
                "lowPriorityCoreQuota": 8,
                "dedicatedCoreQuotaPerVMFamilyEnforced": True,
                "dedicatedCoreQuotaPerVMFamily": [{"name": "STANDARDDSV3FAMILY", "coreQuota": 20}],
            }
        }
    )
    mine = pool("p", "standard_d4s_v3", 5, 9)
    found = quota_numbers(Capacity(account, None, (mine,)), mine, code)
    assert found.startswith(words)
    assert bool(found) == bool(words)
    if "dedicated" in words:
        assert found.endswith("36 (p 36)")


async def test_quotas_and_sizes_are_two_requests_and_the_pools_one(
    cloud: AccountClient, server: Scripted
) -> None:
    server.on("GET", "/pools", Reply(200, {"value": []}))
    server.on("GET", ACCOUNT, an_account(poolQuota=7))
    server.on("GET", SIZES, Reply(200, {"value": [{"name": "Standard_X1"}]}))
    found = await read_capacity(cloud, always=True)
    assert (found.problem, found.resource and found.resource.pools) == (None, 7)
    assert found.size("STANDARD_x1") is not None
    assert [asked.method for asked in server.asked] == ["GET"] * 3
    assert server.requests(path=SIZES)[0].path.count("westeurope") == 1


async def test_no_request_is_sent_if_plans_do_not_read_the_account(
    cloud: AccountClient, server: Scripted
) -> None:
    assert not cloud.control_plane.in_plans
    found = await read_capacity(cloud)
    assert found.problem is not None
    assert "AZURE_SUBSCRIPTION_ID is not set" in found.problem.summary
    assert not server.asked


async def test_without_permission_the_cause_is_kept(cloud: AccountClient, server: Scripted) -> None:
    server.on("GET", "/pools", Reply(200, {"value": []}))
    server.on("GET", ACCOUNT, denied(403, "AuthorizationFailed"))
    found = await read_capacity(cloud, always=True)
    assert (found.resource, found.sizes) == (None, None)
    assert found.problem is not None
    assert found.problem.code == "authorization-failed"


async def test_permission_on_the_account_alone_returns_quotas(
    cloud: AccountClient, server: Scripted
) -> None:
    server.on("GET", "/pools", Reply(200, {"value": []}))
    server.on("GET", ACCOUNT, an_account(poolQuota=7))
    server.on("GET", SIZES, denied(403, "AuthorizationFailed"))
    found = await read_capacity(cloud, always=True)
    assert (found.sizes, found.problem is None) == (None, False)
    assert found.resource is not None


async def test_an_error_of_the_batch_service_is_an_error(
    cloud: AccountClient, server: Scripted
) -> None:
    server.on("GET", "/pools", denied(403, "AuthenticationFailed"))
    server.on("GET", ACCOUNT, an_account())
    server.on("GET", SIZES, Reply(200, {"value": []}))
    with pytest.raises(ServiceError):
        await read_capacity(cloud, always=True)
