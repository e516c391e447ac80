"""Every property of a pool has the path and the spelling of Azure Resource Manager."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from batchspec.property_rules import arm_pool
from batchspec.spec import definition, resolved
from batchspec.spec.validator import Fragment, branches

ACCOUNT = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Batch/batchAccounts/lab"
REFERENCE = Path(__file__).parents[3] / "shared" / "arm"
AUTOSCALE = {"autoScaleFormula", "autoScaleEvaluationInterval"}


def sample(schema: Fragment, last: bool = False) -> Any:
    """A value with every property; of each enum the first value, or the ``last``."""
    schema = resolved(schema)
    known = [branch for branch in map(resolved, branches(schema)) if "enum" in branch]
    schema = known[0] if known else schema
    if "properties" in schema:
        members = schema["properties"].items()
        return {member.get("x-wire", name): sample(member, last) for name, member in members}
    if "enum" in schema:
        return schema["enum"][-1 if last else 0]
    match schema.get("type"):
        case "array":
            return [sample(schema["items"], last)]
        case "integer":
            return 1
        case "boolean":
            return True
        case "object":
            return {"username": "free form"}
    return "text"


def pools() -> Iterator[dict[str, Any]]:
    """Pools that together have every property."""
    for last in (False, True):
        complete = sample(definition("BatchPoolCreateOptions"), last)
        yield complete
        fixed = {key: value for key, value in complete.items() if key not in AUTOSCALE}
        yield {**fixed, "enableAutoScale": False, "enableInterNodeCommunication": False}


def paths(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every member by its path; lists add no segment."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield f"{path}/{key}".lstrip("/"), item
            yield from paths(item, f"{path}/{key}")
    elif isinstance(value, list):
        for item in value:
            yield from paths(item, path)


def spelled(schema: dict[str, Any], definitions: dict[str, Any], value: Any, at: str) -> None:
    """Check that a value has only properties and enum values of Resource Manager."""
    if "$ref" in schema:
        schema = definitions[schema["$ref"].rpartition("/")[2]]
    if "enum" in schema:
        assert value in schema["enum"], at
    if isinstance(value, list):
        for item in value:
            spelled(schema["items"], definitions, item, at)
    elif isinstance(value, dict) and "properties" in schema:
        for key, item in value.items():
            assert key in schema["properties"], f"{at}/{key}"
            spelled(schema["properties"][key], definitions, item, f"{at}/{key}")


@pytest.fixture(scope="module")
def reference() -> Path:
    if not REFERENCE.is_dir():
        pytest.skip("the reference of Azure Resource Manager is not in the repository")
    return REFERENCE


def test_every_property_exists_in_resource_manager(reference: Path) -> None:
    text = (reference / "sdk-azure-mgmt-batch-19.0.0.schema.json").read_text("utf-8")
    definitions = json.loads(text)["definitions"]
    for pool in pools():
        assert pool["taskSchedulingPolicy"]["nodeFillType"] in {"spread", "pack"}
        spelled({"$ref": "#/Pool"}, definitions, arm_pool(pool, ACCOUNT), "")


def test_every_property_has_its_path(reference: Path) -> None:
    found = {path for pool in pools() for path, _ in paths(arm_pool(pool, ACCOUNT))}
    with (reference / "pool-mapping.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["spec_key"]]
    expected = {row["arm_wire"] for row in rows if row["arm_wire"].startswith("properties/")}
    assert len(expected) > 200
    assert expected - found == set()


def test_every_property_that_is_written_in_a_spec_is_kept() -> None:
    """All values are sent except the id and the switch of automatic scaling."""
    for pool in pools():
        given = [item for _, item in paths(pool) if not isinstance(item, dict | list)]
        sent = [
            item for _, item in paths(arm_pool(pool, ACCOUNT)) if not isinstance(item, dict | list)
        ]
        left_out = 2 if pool["enableAutoScale"] is False else 2 + 3
        assert len(sent) == len(given) - left_out


def test_free_form_settings_of_an_extension_do_not_change() -> None:
    extension = {"settings": {"username": "ada", "caching": "none"}, "type": "none"}
    pool = {"virtualMachineConfiguration": {"extensions": [extension]}}
    machine = arm_pool(pool, ACCOUNT)["properties"]["deploymentConfiguration"]
    assert machine == pool


def test_identities_are_outside_the_properties() -> None:
    ids = [{"resourceId": "/a", "clientId": "1"}, {"resourceId": "/b"}]
    pool = {"identity": {"type": "UserAssigned", "userAssignedIdentities": ids}}
    assert arm_pool(pool, ACCOUNT) == {
        "properties": {},
        "identity": {"type": "UserAssigned", "userAssignedIdentities": {"/a": {}, "/b": {}}},
    }
    assert "identity" not in arm_pool({"taskSlotsPerNode": 2}, ACCOUNT)
