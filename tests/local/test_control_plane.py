"""The control plane of the service: accounts, quotas, sizes, the access token, errors.

The client is azure-mgmt-batch itself; plain requests are those that it cannot send.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from azure.core.exceptions import ResourceNotFoundError
from azure.mgmt.batch import BatchManagementClient

from batchspec.catalog import vm_sizes
from batchspec.local.control_plane import CONTROL_PLANE_ROUTES
from batchspec.local.fault_injection import parse_fault_injection
from tests.local.management import GROUP, Management, management_client
from tests.local.running import ACCOUNT, KEY, Service, running

STORAGE = (
    "DefaultEndpointsProtocol=http;AccountName=stor1;AccountKey=a2V5;"
    "BlobEndpoint=http://127.0.0.1:1/stor1;"
)


def test_the_account_is_found_by_its_name_and_in_the_lists(
    service: Service, arm: BatchManagementClient
) -> None:
    found = arm.batch_account.get(GROUP, ACCOUNT)
    assert found.id is not None and found.id.endswith(f"/batchAccounts/{ACCOUNT}")
    assert found.location == "local"
    assert found.account_endpoint == service.url.removeprefix("http://")
    assert found.provisioning_state == "Succeeded"
    assert found.pool_allocation_mode == "BatchService"
    assert found.public_network_access == "Enabled"
    assert found.allowed_authentication_modes == ["SharedKey", "AAD"]
    assert found.auto_storage is None
    assert [each.id for each in arm.batch_account.list()] == [found.id]
    assert [each.id for each in arm.batch_account.list_by_resource_group(GROUP)] == [found.id]


def test_the_account_shows_its_storage_and_the_quotas_of_fault_injection(tmp_path: Path) -> None:
    faults = parse_fault_injection("quota=8,quota@DSv3=4,spot-quota=2,pool-quota=3,job-quota=5")
    with (
        running(tmp_path / "batch", storage=STORAGE, faults=faults) as service,
        management_client(service) as client,
    ):
        found = client.batch_account.get(GROUP, ACCOUNT)
    assert found.auto_storage is not None
    assert found.auto_storage.storage_account_id.endswith("/storageAccounts/stor1")
    assert found.auto_storage.authentication_mode == "StorageKeys"
    assert (found.dedicated_core_quota, found.low_priority_core_quota) == (8, 2)
    assert (found.pool_quota, found.active_job_and_job_schedule_quota) == (3, 5)
    assert found.dedicated_core_quota_per_vm_family_enforced
    families = {each.name: each.core_quota for each in found.dedicated_core_quota_per_vm_family}
    assert families["standardDSv3Family"] == 4
    assert {count for name, count in families.items() if name != "standardDSv3Family"} == {
        1_000_000
    }


def test_every_size_is_in_the_list_and_its_family_in_the_quotas(
    arm: BatchManagementClient,
) -> None:
    account = arm.batch_account.get(GROUP, ACCOUNT)
    families = {each.name.lower() for each in account.dedicated_core_quota_per_vm_family}
    sizes = list(arm.location.list_supported_virtual_machine_skus("local"))
    assert {each.name.lower() for each in sizes} == vm_sizes.names()
    assert {each.family_name.lower() for each in sizes} <= families
    one = next(each for each in sizes if each.name == "Standard_D2s_v3")
    assert {each.name: each.value for each in one.capabilities} == {
        "vCPUs": "2",
        "HyperVGenerations": "V1,V2",
        "vCPUsAvailable": "2",
    }
    assert one.batch_support_end_of_life is not None
    assert one.batch_support_end_of_life.year == 2029
    assert arm.location.get_quotas("LOCAL").account_quota == 1


def test_sizes_are_listed_page_by_page_and_by_family(arm: BatchManagementClient) -> None:
    pages = arm.location.list_supported_virtual_machine_skus(
        "local", maxresults=2, filter="familyName eq 'standardDSv3Family'"
    ).by_page()
    lengths = [len(list(page)) for page in pages]
    assert len(lengths) > 1
    assert all(length == 2 for length in lengths[:-1])


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"authorization": ""}, "AuthenticationFailed"),
        ({"authorization": "Bearer x"}, "InvalidAuthenticationToken"),
        ({"authorization": "Basic x"}, "InvalidAuthenticationToken"),
        ({"authorization": f"Bearer {KEY}"}, "InvalidAuthenticationToken"),
    ],
)
def test_a_request_without_the_token_is_refused(
    management: Management, headers: dict[str, str], code: str
) -> None:
    answer = management.request("GET", "", headers=headers)
    assert answer.status == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json["error"]["code"] == code
    assert management.place.token not in answer.body.decode()


def test_a_signature_of_the_data_plane_is_refused(service: Service) -> None:
    path = f"/subscriptions/x/providers/Microsoft.Batch/batchAccounts/{service.account}"
    answer = service.request("GET", path, checked=False)
    assert answer.status == 401


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/subscriptions/1/providers/Microsoft.Batch/batchAccounts", 404, "SubscriptionNotFound"),
        (
            "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/other/providers"
            "/Microsoft.Batch/batchAccounts",
            404,
            "ResourceGroupNotFound",
        ),
        (
            "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/batchspec/providers"
            "/Microsoft.Batch/batchAccounts/other",
            404,
            "ResourceNotFound",
        ),
        (
            "/subscriptions/00000000-0000-0000-0000-000000000000/providers/Microsoft.Batch"
            "/locations/westeurope/quotas",
            400,
            "NoRegisteredProviderFound",
        ),
        ("/subscriptions/1/other", 404, "InvalidResourceType"),
        ("/providers/Microsoft.Batch/operations", 404, "InvalidResourceType"),
    ],
)
def test_a_scope_that_does_not_exist(
    management: Management, path: str, status: int, code: str
) -> None:
    answer = management.request("GET", path)
    assert (answer.status, answer.json["error"]["code"]) == (status, code)
    assert "target" not in answer.json["error"]


def test_names_of_a_scope_are_compared_without_case(management: Management) -> None:
    path = (
        "/SUBSCRIPTIONS/00000000-0000-0000-0000-000000000000/resourcegroups/BatchSpec/providers"
        f"/microsoft.batch/batchaccounts/{ACCOUNT.upper()}"
    )
    assert management.request("GET", path).json["name"] == ACCOUNT


@pytest.mark.parametrize("version", ["2024-02-01", "2024-07-01", "2025-06-01"])
def test_api_versions(management: Management, version: str) -> None:
    assert management.request("GET", "", query=f"api-version={version}").status == 200


@pytest.mark.parametrize(
    ("query", "code"),
    [("", "MissingApiVersionParameter"), ("api-version=2017-09-01", "NoRegisteredProviderFound")],
)
def test_other_api_versions_are_refused(management: Management, query: str, code: str) -> None:
    answer = management.request("GET", "", query=query)
    assert (answer.status, answer.json["error"]["code"]) == (400, code)


def test_errors_of_batch_have_the_recorded_form(management: Management) -> None:
    answer = management.request(
        "GET",
        "/subscriptions/00000000-0000-0000-0000-000000000000/providers/Microsoft.Batch"
        "/locations/local/virtualMachineSkus",
        query="api-version=2025-06-01&maxresults=x",
    )
    error = answer.json["error"]
    assert answer.status == 400
    assert error["code"] == "InvalidQueryParameterValue"
    assert error["target"] == "BatchAccount"
    assert error["message"].splitlines()[1] == f"RequestId:{answer.headers['x-ms-request-id']}"
    assert error["message"].splitlines()[2].startswith("Time:")
    assert {"code": "QueryParameterName", "message": "maxresults"} in error["details"]
    assert answer.headers["content-type"] == "application/json; charset=utf-8"


@pytest.mark.parametrize(
    "route",
    [route for route in CONTROL_PLANE_ROUTES if route.handler is None],
    ids=lambda route: route.operation,
)
def test_an_operation_that_is_not_supported_is_named(management: Management, route: object) -> None:
    method, path = route.method, route.path.partition("{accountName}")[2].lstrip("/")  # type: ignore[attr-defined]
    answer = management.request(method, path)
    assert answer.status == 501
    assert answer.json["error"]["code"] == "NotImplemented"
    assert route.operation in answer.json["error"]["details"][0]["message"]  # type: ignore[attr-defined]


def test_another_method_of_a_path_is_refused(management: Management) -> None:
    answer = management.request("POST", "")
    assert (answer.status, answer.json["error"]["code"]) == (405, "HttpMethodNotAllowed")


def test_the_client_maps_the_errors(arm: BatchManagementClient) -> None:
    with pytest.raises(ResourceNotFoundError) as caught:
        arm.batch_account.get(GROUP, "other")
    assert caught.value.error is not None
    assert caught.value.error.code == "ResourceNotFound"


def test_faults_are_injected_by_the_name_of_the_operation(tmp_path: Path) -> None:
    faults = parse_fault_injection("throttle@batch_account.get=100%:2s")
    with running(tmp_path / "batch", faults=faults) as service:
        management = Management(service)
        answer = management.request("GET", "")
        assert (answer.status, answer.headers["retry-after"]) == (429, "2")
        assert answer.json["error"]["code"] == "TooManyRequests"
        listed = "/subscriptions/00000000-0000-0000-0000-000000000000"
        listed += "/providers/Microsoft.Batch/batchAccounts"
        assert management.request("GET", listed).status == 200
