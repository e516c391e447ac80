"""Api-versions: each request and reply has the names of its version."""

from __future__ import annotations

from typing import Any

import pytest

from batchspec.local.former_clients import FormerClient, product, read_former_clients
from batchspec.local.wire import (
    NEWEST_VERSION,
    OPERATIONS,
    VERSIONS,
    in_versions,
    is_retiring,
    model_names,
    parse_body,
    properties,
    write_model,
)
from batchspec.local.wire.models import (
    DIFFERENCES,
    Added,
    EnumSpelling,
    Former,
    Removed,
    Values,
    all_properties,
)
from tests.local.engine_stub import NOW, finish, idle_node, start
from tests.local.running import Service

NEWEST = NEWEST_VERSION
FUTURE = "2026-10-01"
POOL: dict[str, Any] = {
    "id": "p",
    "vmSize": "standard_d2s_v3",
    "virtualMachineConfiguration": {
        "imageReference": {"publisher": "canonical", "offer": "ubuntu", "sku": "24_04"},
        "nodeAgentSKUId": "batch.node.ubuntu 24.04",
    },
}
MACHINE = POOL["virtualMachineConfiguration"]


def get(service: Service, path: str, version: str, query: str = "") -> Any:
    answer = service.request("GET", path, version=version, query=query)
    assert answer.status == 200, answer.body
    return answer.json


def refusal(service: Service, path: str, body: Any, version: str) -> tuple[int, str, str]:
    answer = service.request("POST", path, body, version=version)
    return answer.status, answer.code, next(iter(answer.values.values()), "")


def test_every_version_is_accepted(service: Service) -> None:
    for version in VERSIONS:
        assert get(service, "/pools", version)["value"] == []
    assert len(VERSIONS) == 17


@pytest.mark.parametrize("version", ["2025-06-01.21.0", "2017-09-01.6.0", "2025-6-1", "latest"])
def test_an_unknown_version_is_refused(service: Service, version: str) -> None:
    answer = service.request("GET", "/pools", version=version, checked=False)
    assert (answer.status, answer.code) == (400, "InvalidQueryParameterValue")
    assert answer.values == {
        "QueryParameterName": "api-version",
        "QueryParameterValue": version,
        "Reason": "The specified api version string is invalid",
    }


def test_versions_before_the_newest_retire() -> None:
    assert [version for version in VERSIONS if not is_retiring(version)] == [NEWEST, FUTURE]


def test_clients_of_retiring_versions_are_recorded_once(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    python = (
        "python/3.11.7 (Linux) requests/2.32 msrest/0.7.1 azure-batch/8.0.0 Azure-SDK-For-Python"
    )
    for version in ("2019-08-01.10.0", NEWEST, "2019-08-01.10.0", "2024-02-01.19.0"):
        for agent in (python, f"{python} again"):
            headers = {"user-agent": agent}
            assert service.request("GET", "/pools", version=version, headers=headers).status == 200
    assert read_former_clients(service.data) == (
        FormerClient("azure-batch/8.0.0", "2019-08-01.10.0"),
        FormerClient("azure-batch/8.0.0", "2024-02-01.19.0"),
    )
    assert caplog.messages == [
        f"azure-batch/8.0.0 uses api-version {version}, which Azure Batch will retire"
        for version in ("2019-08-01.10.0", "2024-02-01.19.0")
    ]


@pytest.mark.parametrize(
    ("agent", "name"),
    [
        ("python/3.11 AZURECLI/2.58.0 (PIP) azsdk-python-azure-batch/14.1", "AZURECLI/2.58.0"),
        ("azsdk-python-batch/15.1.0 Python/3.11.7", "azsdk-python-batch/15.1.0"),
        ("Mozilla/5.0 something", "Mozilla/5.0"),
        ("", "a client without a name"),
    ],
)
def test_a_client_has_the_name_of_its_product(agent: str, name: str) -> None:
    assert product(agent) == name


def test_task_slots_were_tasks_per_node_before(service: Service) -> None:
    old, new = "2020-03-01.11.0", "2020-09-01.12.0"
    body = {**POOL, "maxTasksPerNode": 3}
    assert refusal(service, "/pools", body, new)[:2] == (400, "InvalidRequestBody")
    assert service.request("POST", "/pools", body, version=old).status == 201
    shown = get(service, "/pools/p", old)
    assert (shown["maxTasksPerNode"], "taskSlotsPerNode" in shown) == (3, False)
    shown = get(service, "/pools/p", new)
    assert (shown["taskSlotsPerNode"], "maxTasksPerNode" in shown) == (3, False)
    selected = get(service, "/pools", old, "$select=id,maxTasksPerNode")["value"]
    assert selected == [{"id": "p", "maxTasksPerNode": 3}]
    answer = service.request("GET", "/pools", version=old, query="$select=taskSlotsPerNode")
    assert answer.code == "InvalidQueryParameterValue"


def test_an_error_names_a_property_as_the_request_does(service: Service) -> None:
    for name, version in (("maxTasksPerNode", "2019-06-01.9.0"), ("taskSlotsPerNode", NEWEST)):
        answer = service.request("POST", "/pools", {**POOL, name: 0}, version=version)
        assert (answer.code, answer.values["PropertyName"]) == ("InvalidPropertyValue", name)


def test_settings_of_an_auto_pool_have_the_names_of_their_version(service: Service) -> None:
    old = "2018-08-01.7.0"
    pool = {name: value for name, value in POOL.items() if name != "id"} | {"maxTasksPerNode": 2}
    auto = {"poolLifetimeOption": "job", "pool": pool}
    body = {"id": "j", "poolInfo": {"autoPoolSpecification": auto}}
    assert service.request("POST", "/jobs", body, version=old).status == 201
    for version, name in ((old, "maxTasksPerNode"), (NEWEST, "taskSlotsPerNode")):
        shown = get(service, "/jobs/j", version)["poolInfo"]["autoPoolSpecification"]["pool"]
        assert [key for key in shown if key.endswith("PerNode")] == [name]
        assert shown[name] == 2


def test_a_blob_source_is_a_url_since_2018_12(service: Service) -> None:
    old = "2018-03-01.6.1"
    source = {"blobSource": "https://x/y", "filePath": "y"}
    start_task = {"commandLine": "/bin/true", "resourceFiles": [source]}
    assert service.request("POST", "/pools", {**POOL, "startTask": start_task}, version=old).status
    assert get(service, "/pools/p", old)["startTask"]["resourceFiles"] == [source]
    newer = get(service, "/pools/p", "2018-12-01.8.0")["startTask"]["resourceFiles"]
    assert newer == [{"httpUrl": "https://x/y", "filePath": "y"}]
    del source["filePath"]
    body = {**POOL, "id": "q", "startTask": start_task}
    assert refusal(service, "/pools", body, old) == (400, "MissingRequiredProperty", "filePath")


def test_public_addresses_and_storage_types_moved(service: Service) -> None:
    address = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/publicIPAddresses/n"
    network = {"publicIPs": [address]}
    disk = {"lun": 0, "diskSizeGB": 10, "storageAccountType": "premium_lrs"}
    machine = {**MACHINE, "dataDisks": [disk]}
    body = {**POOL, "networkConfiguration": network, "virtualMachineConfiguration": machine}
    old = "2019-08-01.10.0"
    assert service.request("POST", "/pools", body, version=old).status == 201
    shown = get(service, "/pools/p", old)
    assert shown["networkConfiguration"]["publicIPs"] == network["publicIPs"]
    assert "publicIPAddressConfiguration" not in shown["networkConfiguration"]
    (kept,) = shown["virtualMachineConfiguration"]["dataDisks"]
    assert (kept["storageAccountType"], "managedDisk" in kept) == ("premium_lrs", False)
    shown = get(service, "/pools/p", NEWEST)
    addresses = shown["networkConfiguration"]["publicIPAddressConfiguration"]
    assert addresses == {"ipAddressIds": network["publicIPs"]}
    (kept,) = shown["virtualMachineConfiguration"]["dataDisks"]
    assert "storageAccountType" not in kept
    assert kept["managedDisk"] == {"storageAccountType": "premium_lrs"}
    assert "publicIPs" not in get(service, "/pools/p", "2019-06-01.9.0")["networkConfiguration"]


def test_the_caching_of_a_system_disk_left_and_returned(service: Service) -> None:
    machine = {**MACHINE, "osDisk": {"caching": "readonly"}}
    body = {**POOL, "virtualMachineConfiguration": machine}
    assert service.request("POST", "/pools", body, version="2018-08-01.7.0").status == 201
    for version in VERSIONS:
        disk = get(service, "/pools/p", version)["virtualMachineConfiguration"].get("osDisk")
        if version in ("2018-03-01.6.1", "2018-08-01.7.0"):
            assert disk == {"caching": "ReadOnly"}
        elif version < "2021-06":
            assert disk is None
        else:
            assert ("caching" in disk) == (version >= "2023-11")


def test_task_counts_have_slots_since_2020_09(service: Service) -> None:
    service.request("POST", "/jobs", {"id": "j", "poolInfo": {"poolId": "p"}})
    counts = {"active": 0, "running": 0, "completed": 0, "succeeded": 0, "failed": 0}
    for version in VERSIONS:
        shown = get(service, "/jobs/j/taskcounts", version)
        metadata = shown.pop("odata.metadata").partition("#")[2]
        if version < "2020-09":
            extra = {"validationStatus": "validated"} if version < "2018-08" else {}
            assert (shown, metadata) == ({**counts, **extra}, "taskcounts/@Element")
        else:
            assert shown == {"taskCounts": counts, "taskSlotCounts": counts}
            assert metadata == "taskcountsresult/@Element"


def test_results_were_capitalised_until_2018_08(service: Service) -> None:
    node = idle_node(service)
    service.request("POST", "/jobs", {"id": "j", "poolInfo": {"poolId": "p"}})
    service.request("POST", "/jobs/j/tasks", {"id": "t", "commandLine": "/bin/true"})
    finish(service, start(service, node, "t"))
    for version in VERSIONS:
        shown = get(service, "/jobs/j/tasks/t", version)
        expected = "Success" if version < "2018-12" else "success"
        assert shown["executionInfo"]["result"] == expected
        assert ("requiredSlots" in shown) == (version >= "2020-09")


def test_a_pool_update_resets_the_communication_mode(service: Service) -> None:
    old = "2022-10-01.16.0"
    body = {**POOL, "targetNodeCommunicationMode": "simplified"}
    assert refusal(service, "/pools", body, "2022-06-01.15.0")[1] == "InvalidRequestBody"
    assert refusal(service, "/pools", body, NEWEST)[1] == "InvalidRequestBody"
    assert service.request("POST", "/pools", body, version=old).status == 201
    assert get(service, "/pools/p", old)["targetNodeCommunicationMode"] == "simplified"
    assert "targetNodeCommunicationMode" not in get(service, "/pools/p", NEWEST)
    update = {"certificateReferences": [], "applicationPackageReferences": [], "metadata": []}
    answer = service.request("POST", "/pools/p/updateproperties", update, version=old)
    assert answer.status == 204
    assert get(service, "/pools/p", old)["targetNodeCommunicationMode"] == "default"


def test_an_enum_value_belongs_to_its_versions(service: Service) -> None:
    service.request("POST", "/pools", POOL)
    path, body = "/pools/p/resize", {"targetDedicatedNodes": 1}
    body |= {"nodeDeallocationOption": "retaineddata"}
    assert refusal(service, path, body, FUTURE)[:2] == (400, "InvalidPropertyValue")


def test_an_operation_belongs_to_its_versions(service: Service) -> None:
    agents = get(
        service, "/nodeagentskus", "2018-12-01.8.0", "$filter=osType eq 'linux'".replace(" ", "%20")
    )["value"]
    assert {agent["osType"] for agent in agents} == {"linux"}
    assert all(agent["verifiedImageReferences"] is not None for agent in agents)
    for path, version, status, code in (
        ("/nodeagentskus", "2019-06-01.9.0", 400, "InvalidUri"),
        ("/supportedimages", "2018-12-01.8.0", 400, "InvalidUri"),
        ("/lifetimejobstats", "2022-10-01.16.0", 501, "NotImplemented"),
        ("/lifetimejobstats", "2023-05-01.17.0", 400, "InvalidUri"),
        ("/pools/p/nodes/n/rdp", "2024-02-01.19.0", 501, "NotImplemented"),
        ("/pools/p/nodes/n/rdp", "2024-07-01.20.0", 400, "InvalidUri"),
        ("/poolusagemetrics", NEWEST, 400, "PoolUsageMetricAPIRetired"),
        ("/poolusagemetrics", FUTURE, 400, "InvalidUri"),
        ("/certificates(thumbprintAlgorithm=sha1,thumbprint=ab)", "2024-07-01.20.0", 404,
         "CertificateNotFound"),
        ("/certificates(thumbprintAlgorithm=sha1,thumbprint=ab)", NEWEST, 400, "InvalidUri"),
    ):  # fmt: skip
        answer = service.request("GET", path, version=version, checked=False)
        assert (answer.status, answer.code) == (status, code), (path, version)
    assert get(service, "/certificates", "2018-03-01.6.1")["value"] == []


def test_pools_of_2026_10_have_a_profile_of_sizes(service: Service) -> None:
    sizes: list[dict[str, Any]] = [
        {"name": "standard_d2s_v3", "rank": 0},
        {"name": "standard_d2s_v5"},
    ]
    profile = {"vmSizes": sizes}
    body = {**POOL, "vmSize": "Mix", "vmSkuProfile": profile}
    assert refusal(service, "/pools", body, NEWEST)[:2] == (400, "InvalidRequestBody")
    assert refusal(service, "/pools", body, FUTURE)[2] == "rank"
    for size in sizes:
        size.pop("rank", None)
    for wrong, name in (
        ({**body, "vmSize": "standard_d2s_v3"}, "vmSize"),
        ({**POOL, "vmSize": "mix"}, "vmSize"),
        ({**body, "vmSkuProfile": {}}, "vmSizes"),
        ({**body, "vmSkuProfile": {**profile, "allocationStrategy": "prioritized"}}, "rank"),
    ):
        assert refusal(service, "/pools", wrong, FUTURE)[2] == name
    assert service.request("POST", "/pools", body, version=FUTURE).status == 201
    shown = get(service, "/pools/p", FUTURE)
    assert (shown["vmSize"], shown["vmSkuProfile"]) == ("mix", profile)
    assert "vmSkuProfile" not in get(service, "/pools/p", NEWEST)
    pool = service.store.pools.get("p")
    assert pool is not None
    node = "tvmps_a_d"
    service.store.nodes.add(pool, [node], NOW, dedicated=True, slots=1)
    shown = get(service, f"/pools/p/nodes/{node}", FUTURE)
    assert (shown["vmSize"], shown["publicIPAddress"]) == ("standard_d2s_v3", "127.0.0.1")
    assert "publicIPAddress" not in get(service, f"/pools/p/nodes/{node}", NEWEST)


def test_an_update_keeps_the_placement_in_zones(service: Service) -> None:
    policy = {"zoneAllocationPolicy": {"maxZoneCount": 2}}
    placed = {**MACHINE, "placement": {"zonePlacementPolicy": "Auto"}, "resiliencyPolicy": policy}
    alone = {**MACHINE, "resiliencyPolicy": policy}
    both = {**placed, "nodePlacementConfiguration": {"policy": "regional"}}
    for machine, name in ((alone, "resiliencyPolicy"), (both, "placement")):
        body = {**POOL, "virtualMachineConfiguration": machine}
        assert refusal(service, "/pools", body, FUTURE)[2] == name
    body = {**POOL, "virtualMachineConfiguration": placed}
    assert service.request("POST", "/pools", body, version=FUTURE).status == 201
    pool = service.store.pools.get("p")
    assert pool is not None
    service.store.pools.complete_resize(pool, NOW)
    change = {"virtualMachineConfiguration": MACHINE}
    assert service.request("PATCH", "/pools/p", change, version=FUTURE).status == 200
    shown = get(service, "/pools/p", FUTURE)["virtualMachineConfiguration"]
    assert (shown["placement"], shown["resiliencyPolicy"]) == (placed["placement"], policy)
    shown = get(service, "/pools/p", NEWEST)["virtualMachineConfiguration"]
    assert not {"placement", "resiliencyPolicy"} & shown.keys()


def test_a_new_pool_has_the_defaults_of_its_version(service: Service) -> None:
    machine = {**MACHINE, "osDisk": {"diskSizeGB": 40}}
    service.request("POST", "/pools", {**POOL, "virtualMachineConfiguration": machine})
    for version in ("2024-07-01.20.0", NEWEST, FUTURE):
        shown = get(service, "/pools/p", version)
        order = shown["taskSchedulingPolicy"].get("jobDefaultOrder")
        assert order == (None if version < NEWEST else "none")
        disk = shown["virtualMachineConfiguration"]["osDisk"]
        assert disk == {"diskSizeGB": 40, "caching": "None", "ephemeralOSDiskSettings": {}}


def test_every_row_of_the_table_changes_something() -> None:
    for row in DIFFERENCES:
        match row:
            case Added(since, models, names, kind):
                for model in models.split():
                    for name in names.split():
                        before = VERSIONS[VERSIONS.index(since) - 1]
                        assert name in properties(model, since)
                        former = any(
                            isinstance(other, Former) and other.name == name
                            for other in DIFFERENCES
                        )
                        assert former or name not in properties(model, before)
                        assert bool(kind) == (name not in properties(model))
            case Removed(since, models, names):
                for model in models.split():
                    assert not set(names.split()) & set(properties(model, since))
            case Former(until, models, name, kind):
                for model in models.split():
                    assert properties(model, until)[name] == kind
                    if until != VERSIONS[-1]:
                        after = VERSIONS[VERSIONS.index(until) + 1]
                        assert properties(model, after).get(name) != kind
            case Values(enum, _, since, until):
                assert bool(since) != bool(until), enum
            case EnumSpelling(_, _, words):
                assert all(key.lower() == word.lower() for key, word in words.items())


@pytest.mark.parametrize("version", VERSIONS)
def test_a_written_model_has_the_properties_of_its_version(version: str) -> None:
    for model in model_names():
        empty = {"[": [], "@": {}, "{": {}}
        body = {n: empty.get(k.strip("-")[0], "") for n, k in all_properties(model).items()}
        assert set(write_model(model, version, body)) == set(properties(model, version)), model


@pytest.mark.parametrize("version", VERSIONS)
def test_a_version_writes_the_properties_that_it_reads(version: str) -> None:
    samples = {"string": "x", "int": 1, "bool": True, "long": 1, "any": {}}
    for model in model_names():
        shape = {
            name: kind.strip("!")
            for name, kind in properties(model, version).items()
            if not kind.startswith("-")
        }
        body = {name: samples[kind] for name, kind in shape.items() if kind in samples}
        required = {n for n, k in properties(model, version).items() if k.endswith("!")}
        if required - {n for n, k in properties(model, version).items() if k[0] == "-"} <= set(
            body
        ):
            written = write_model(model, version, parse_body(model, body, version))
            assert {name: written[name] for name in body} == body, model


def test_the_versions_of_operations_are_versions() -> None:
    for since, until in OPERATIONS.values():
        assert in_versions(since or until, since, until)
