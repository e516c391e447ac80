"""The published rules of properties, as the embedded service enforces them."""

from __future__ import annotations

from typing import Any

import pytest

from batchspec.local.wire import FAULTS, Fault, check_rules, model_names, parse_body, properties
from batchspec.property_rules import PROPERTY_RULES
from tests.local.running import Service

MACHINE: dict[str, Any] = {
    "imageReference": {"publisher": "canonical", "offer": "ubuntu-24_04-lts", "sku": "server"},
    "nodeAgentSKUId": "batch.node.ubuntu 24.04",
}
POOL: dict[str, Any] = {
    "id": "p",
    "vmSize": "standard_d2s_v5",
    "targetDedicatedNodes": 0,
    "virtualMachineConfiguration": MACHINE,
}
JOB: dict[str, Any] = {"id": "j", "poolInfo": {"poolId": "p"}}
TASK: dict[str, Any] = {"id": "t", "commandLine": "true"}

BODIES = {
    "BatchPoolCreateOptions": POOL,
    "BatchJobCreateOptions": JOB,
    "BatchTaskCreateOptions": TASK,
}
INVALID, MISSING = "InvalidPropertyValue", "MissingRequiredProperty"
SUBSCRIPTION = "/subscriptions/s/resourceGroups/g/providers"
PORTS = {"frontendPortRangeStart": 1000, "frontendPortRangeEnd": 1039}


def nat(*pools: dict[str, Any]) -> dict[str, Any]:
    """A pool with these NAT pools, each with ports that do not overlap by default."""
    filled = [
        {
            "name": f"n{number}",
            "protocol": "tcp",
            "backendPort": 5000 + number,
            "frontendPortRangeStart": 1000 + 100 * number,
            "frontendPortRangeEnd": 1050 + 100 * number,
            **pool,
        }
        for number, pool in enumerate(pools)
    ]
    return {"networkConfiguration": {"endpointConfiguration": {"inboundNATPools": filled}}}


def security(*rules: dict[str, Any]) -> dict[str, Any]:
    """A NAT pool with these security rules."""
    default = {"access": "allow", "sourceAddressPrefix": "*"}
    filled = [{"priority": 150 + n, **default, **rule} for n, rule in enumerate(rules)]
    return nat({"networkSecurityGroupRules": filled})


def machine(**settings: Any) -> dict[str, Any]:
    return {"virtualMachineConfiguration": {**MACHINE, **settings}}


def blob(**settings: Any) -> dict[str, Any]:
    kind = {"accountName": "a", "containerName": "c", "relativeMountPath": "m", **settings}
    return {"azureBlobFileSystemConfiguration": kind}


def file(**settings: Any) -> dict[str, Any]:
    return {"resourceFiles": [settings]}


NFS = {"nfsMountConfiguration": {"source": "h:/x", "relativeMountPath": "m"}}
URL = "https://example.com/x"
USER = {"name": "u", "password": "secret-1"}

REFUSED: list[tuple[str, dict[str, Any], str, str]] = [
    ("BatchPoolCreateOptions", {"displayName": "x" * 1025}, INVALID, "displayName"),
    ("BatchPoolCreateOptions", {"taskSlotsPerNode": 9}, INVALID, "taskSlotsPerNode"),
    ("BatchPoolCreateOptions", {"resizeTimeout": "PT4M"}, INVALID, "resizeTimeout"),
    ("BatchPoolCreateOptions", nat({"backendPort": 29876}), INVALID, "backendPort"),
    ("BatchPoolCreateOptions", nat({}, {"backendPort": 5000}), INVALID, "backendPort"),
    ("BatchPoolCreateOptions", nat({"name": "-"}), INVALID, "name"),
    ("BatchPoolCreateOptions", nat({}, {"name": "N0"}), INVALID, "name"),
    (
        "BatchPoolCreateOptions",
        nat({**PORTS, "frontendPortRangeEnd": 999}),
        INVALID,
        "frontendPortRangeEnd",
    ),
    (
        "BatchPoolCreateOptions",
        nat({**PORTS, "frontendPortRangeEnd": 1038}),
        INVALID,
        "frontendPortRangeEnd",
    ),
    (
        "BatchPoolCreateOptions",
        nat({**PORTS, "frontendPortRangeEnd": 50000}),
        INVALID,
        "frontendPortRangeStart",
    ),
    ("BatchPoolCreateOptions", nat({}, PORTS), INVALID, "frontendPortRangeStart"),
    ("BatchPoolCreateOptions", nat({}, {}, {}, {}, {}, {}), INVALID, "inboundNATPools"),
    ("BatchPoolCreateOptions", security({"priority": 149}), INVALID, "priority"),
    ("BatchPoolCreateOptions", security({"priority": 200}, {"priority": 200}), INVALID, "priority"),
    ("BatchPoolCreateOptions", security(*[{}] * 26), INVALID, "networkSecurityGroupRules"),
    (
        "BatchPoolCreateOptions",
        security({"sourceAddressPrefix": "10.0.0.0/33"}),
        INVALID,
        "sourceAddressPrefix",
    ),
    (
        "BatchPoolCreateOptions",
        security({"sourcePortRanges": ["2-1"]}),
        INVALID,
        "sourcePortRanges",
    ),
    ("BatchPoolCreateOptions", {"networkConfiguration": {"subnetId": "x"}}, INVALID, "subnetId"),
    (
        "BatchPoolCreateOptions",
        {"networkConfiguration": {"publicIPAddressConfiguration": {"ipAddressIds": ["x"]}}},
        INVALID,
        "ipAddressIds",
    ),
    (
        "BatchPoolCreateOptions",
        {"networkConfiguration": {"publicIPAddressConfiguration": {"ipFamilies": ["IPv6"]}}},
        INVALID,
        "ipFamilies",
    ),
    (
        "BatchPoolCreateOptions",
        {"mountConfiguration": [{}]},
        MISSING,
        "azureBlobFileSystemConfiguration",
    ),
    (
        "BatchPoolCreateOptions",
        {"mountConfiguration": [blob(accountKey="k") | NFS]},
        INVALID,
        "relativeMountPath",
    ),
    ("BatchPoolCreateOptions", {"mountConfiguration": [blob()]}, MISSING, "accountKey"),
    (
        "BatchPoolCreateOptions",
        {"mountConfiguration": [blob(accountKey="k", sasKey="k")]},
        INVALID,
        "sasKey",
    ),
    ("BatchPoolCreateOptions", {"mountConfiguration": [NFS, NFS]}, INVALID, "relativeMountPath"),
    ("BatchPoolCreateOptions", {"userAccounts": [USER, USER]}, INVALID, "name"),
    ("BatchPoolCreateOptions", {"userAccounts": [{**USER, "name": "u" * 21}]}, INVALID, "name"),
    (
        "BatchPoolCreateOptions",
        {"userAccounts": [{**USER, "linuxUserConfiguration": {"uid": 1}}]},
        MISSING,
        "gid",
    ),
    (
        "BatchPoolCreateOptions",
        {"userAccounts": [{**USER, "windowsUserConfiguration": {}}]},
        INVALID,
        "windowsUserConfiguration",
    ),
    ("BatchPoolCreateOptions", machine(windowsConfiguration={}), INVALID, "windowsConfiguration"),
    (
        "BatchPoolCreateOptions",
        machine(securityProfile={"uefiSettings": {}}),
        MISSING,
        "securityType",
    ),
    (
        "BatchPoolCreateOptions",
        machine(securityProfile={"securityType": "ConfidentialVM"}),
        MISSING,
        "securityEncryptionType",
    ),
    ("BatchPoolCreateOptions", machine(dataDisks=[{"lun": 64, "diskSizeGB": 1}]), INVALID, "lun"),
    (
        "BatchPoolCreateOptions",
        machine(dataDisks=[{"lun": 1, "diskSizeGB": 1}] * 2),
        INVALID,
        "lun",
    ),
    (
        "BatchPoolCreateOptions",
        machine(diskEncryptionConfiguration={"targets": ["osdisk"]}),
        INVALID,
        "targets",
    ),
    (
        "BatchPoolCreateOptions",
        {
            "upgradePolicy": {
                "mode": "rolling",
                "rollingUpgradePolicy": {"maxBatchInstancePercent": 4},
            }
        },
        INVALID,
        "maxBatchInstancePercent",
    ),
    (
        "BatchPoolCreateOptions",
        machine(
            containerConfiguration={
                "type": "dockerCompatible",
                "containerRegistries": [{"username": "u"}],
            }
        ),
        MISSING,
        "password",
    ),
    ("BatchPoolCreateOptions", {"metadata": [{"name": "", "value": ""}]}, "EmptyMetadataKey", ""),
    ("BatchJobCreateOptions", {"priority": 1001}, INVALID, "priority"),
    (
        "BatchJobCreateOptions",
        {"constraints": {"maxTaskRetryCount": -2}},
        INVALID,
        "maxTaskRetryCount",
    ),
    (
        "BatchJobCreateOptions",
        {"jobReleaseTask": {"commandLine": "x"}},
        MISSING,
        "jobPreparationTask",
    ),
    (
        "BatchTaskCreateOptions",
        {"requiredSlots": 2, "multiInstanceSettings": {"coordinationCommandLine": "x"}},
        INVALID,
        "requiredSlots",
    ),
    (
        "BatchTaskCreateOptions",
        {"userIdentity": {"username": "u", "autoUser": {}}},
        INVALID,
        "autoUser",
    ),
    (
        "BatchTaskCreateOptions",
        {"dependsOn": {"taskIdRanges": [{"start": 4, "end": 1}]}},
        INVALID,
        "end",
    ),
    (
        "BatchTaskCreateOptions",
        {"exitConditions": {"exitCodeRanges": [{"start": 4, "end": 1, "exitOptions": {}}]}},
        INVALID,
        "end",
    ),
    ("BatchTaskCreateOptions", file(httpUrl=URL), MISSING, "filePath"),
    ("BatchTaskCreateOptions", file(httpUrl=URL, filePath="../x"), INVALID, "filePath"),
    (
        "BatchTaskCreateOptions",
        file(httpUrl=URL, filePath="x", fileMode="888"),
        INVALID,
        "fileMode",
    ),
    (
        "BatchTaskCreateOptions",
        file(httpUrl=URL, filePath="x", storageContainerUrl=URL),
        INVALID,
        "storageContainerUrl",
    ),
    (
        "BatchTaskCreateOptions",
        {"constraints": {"maxWallClockTime": "PT0S"}},
        INVALID,
        "maxWallClockTime",
    ),
]


@pytest.mark.parametrize(("model", "extra", "code", "name"), REFUSED)
def test_a_body_that_breaks_a_rule_is_refused(
    model: str, extra: dict[str, Any], code: str, name: str
) -> None:
    body = parse_body(model, {**BODIES[model], **extra})
    with pytest.raises(Fault) as refused:
        check_rules(model, body)
    values = dict(refused.value.values)
    assert (refused.value.code, values.get("PropertyName", "")) == (code, name)
    assert ("Reason" in values) == (code == INVALID)
    assert "secret-1" not in str(values)
    assert any(code in rule.faults for rule in PROPERTY_RULES if name in str(rule.properties))


@pytest.mark.parametrize("model", BODIES)
def test_a_body_without_settings_is_accepted(model: str) -> None:
    check_rules(model, parse_body(model, BODIES[model]))


def test_the_ends_of_ranges_are_accepted() -> None:
    ports = {"frontendPortRangeStart": 49_961, "frontendPortRangeEnd": 49_999}
    lowest = nat({"backendPort": 1, "frontendPortRangeStart": 1, "frontendPortRangeEnd": 40})
    highest = nat({"backendPort": 65_535, **ports, "frontendPortRangeStart": 49_960})
    percent = {"maxBatchInstancePercent": 5, "maxUnhealthyInstancePercent": 5}
    upgrade = {"mode": "rolling", "rollingUpgradePolicy": percent}
    for extra in (
        lowest,
        highest,
        security({"priority": 150}, {"priority": 4096, "sourcePortRanges": ["0-65535"]}),
        {"displayName": "x" * 1024, "taskSlotsPerNode": 8, "resizeTimeout": "PT5M"},
        {"upgradePolicy": upgrade, "resizeTimeout": "P7D"},
        machine(dataDisks=[{"lun": 0, "diskSizeGB": 1}, {"lun": 63, "diskSizeGB": 1}]),
        {"userAccounts": [{**USER, "linuxUserConfiguration": {"uid": 1, "gid": 1}}]},
    ):
        check_rules("BatchPoolCreateOptions", parse_body("BatchPoolCreateOptions", POOL | extra))


def test_every_rule_names_models_and_properties_of_the_protocol() -> None:
    """The service looks into an object only if a rule names a property of it."""
    for rule in PROPERTY_RULES:
        for model in rule.models:
            assert model in model_names()
            for path in rule.properties:
                current = model
                for name in path.split("."):
                    assert name in properties(current), (rule.name, model, path)
                    kind = properties(current)[name].strip("-![]")
                    current = kind.removeprefix("@") if kind.startswith("@") else ""
        assert rule.accepted or set(rule.faults) <= set(FAULTS)
    names = [rule.name for rule in PROPERTY_RULES]
    assert len(names) == len(set(names))


def test_the_reply_names_property_value_and_reason(service: Service) -> None:
    answer = service.request("POST", "/pools", POOL | nat({"backendPort": 29877}))
    assert (answer.status, answer.code) == (400, INVALID)
    assert answer.values == {
        "PropertyName": "backendPort",
        "PropertyValue": "29877",
        "Reason": "BackendPort must be from 1 to 65535, except 29876 and 29877, not 29877.",
    }


def test_of_many_tasks_only_those_that_break_a_rule_are_refused(service: Service) -> None:
    service.client.create_job(JOB)
    wrong = {**TASK, "id": "u", "userIdentity": {"username": "u", "autoUser": {}}}
    answer = service.request("POST", "/jobs/j/addtaskcollection", {"value": [TASK, wrong]})
    assert answer.status == 200
    found = [(one["status"], one.get("error", {}).get("code")) for one in answer.json["value"]]
    assert found == [("Success", None), ("ClientError", INVALID)]
