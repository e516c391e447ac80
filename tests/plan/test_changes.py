"""The table of changeable properties, compared with the SDK and the service's documentation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from azure.batch import models

from batchspec.plan.changes import JOB, POOL, SCHEDULE, ChangeMethod

UPDATED = {ChangeMethod.NOW, ChangeMethod.REBOOT, ChangeMethod.EMPTY}
"""The change methods that are an update of the resource."""


def names(model: Any) -> dict[str, str]:
    """The properties of a model of the SDK, with their REST names."""
    # The class registers its fields when its first instance is created.
    return {name: field._rest_name for name, field in type(model({}))._attr_to_rest_field.items()}


def wire(model: Any) -> set[str]:
    return set(names(model).values())


BATCH_POOL = {name: how for name, how in POOL.items() if name != "identity"}
"""The properties that the Batch service changes; Azure Resource Manager changes identities."""


@pytest.mark.parametrize(
    ("table", "created"),
    [
        (BATCH_POOL, models.BatchPoolCreateOptions),
        (JOB, models.BatchJobCreateOptions),
        (SCHEDULE, models.BatchJobScheduleCreateOptions),
    ],
    ids=["pool", "job", "schedule"],
)
def test_every_property_has_a_row(table: dict[str, ChangeMethod], created: Any) -> None:
    assert set(table) == wire(created)


def test_updated_properties_are_those_of_the_sdk() -> None:
    for table, model in (
        (BATCH_POOL, models.BatchPoolUpdateOptions),
        (SCHEDULE, models.BatchJobScheduleUpdateOptions),
    ):
        assert {name for name, how in table.items() if how in UPDATED} == wire(model)
    # `poolInfo` can be changed only while the job is disabled.
    updated = {name for name, how in JOB.items() if how in UPDATED}
    assert updated == wire(models.BatchJobUpdateOptions) - {"poolInfo"}


def test_properties_of_empty_pools_are_documented_in_the_sdk() -> None:
    text = " ".join((models.BatchPoolUpdateOptions.__doc__ or "").split())
    for name, on_wire in names(models.BatchPoolUpdateOptions).items():
        said = text.partition(f":ivar {name}: ")[2].partition(":ivar ")[0]
        only_empty = "updated only when the pool is empty" in said
        assert only_empty == (POOL[on_wire] is ChangeMethod.EMPTY), name


SHARED = Path(__file__).parents[3] / "shared" / "openapi"


@pytest.mark.parametrize(
    ("table", "definition", "more"),
    [(BATCH_POOL, "PoolPatchParameter", set()), (JOB, "JobPatchParameter", {"poolInfo"})],
    ids=["pool", "job"],
)
def test_updated_properties_are_documented_by_the_service(
    table: dict[str, ChangeMethod], definition: str, more: set[str]
) -> None:
    described = SHARED / "BatchService-2025-06-01.derived.json"
    if not described.exists():
        pytest.skip("the description of the service is not next to the project")
    found = json.loads(described.read_text("utf-8"))["definitions"][definition]["properties"]
    assert {name for name, how in table.items() if how in UPDATED} == set(found) - more


def test_nodes_restart_for_documented_properties() -> None:
    """The properties of the pool that a node gets when it starts."""
    described = SHARED / "BatchService-2025-06-01.derived.json"
    if not described.exists():
        pytest.skip("the description of the service is not next to the project")
    pool = json.loads(described.read_text("utf-8"))["definitions"]["PoolUpdatePropertiesParameter"]
    assert {name for name, how in POOL.items() if how is ChangeMethod.REBOOT} == set(
        pool["properties"]
    ) - {"metadata"}
