"""The table of changeable properties, compared with the SDK and the service's documentation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from azure.batch import models

from batchspec.plan.changes import JOB, POOL, SCHEDULE, ChangeMethod

UPDATED = {ChangeMethod.NOW, ChangeMethod.REBOOT, ChangeMethod.EMPTY}
"""What goes by an update of the thing itself."""


def names(model: Any) -> dict[str, str]:
    """The properties of a model of the SDK, with their names on the wire."""
    # The class learns of its fields when the first of it is made.
    return {name: field._rest_name for name, field in type(model({}))._attr_to_rest_field.items()}


def wire(model: Any) -> set[str]:
    return set(names(model).values())


BATCH_POOL = {name: how for name, how in POOL.items() if name != "identity"}
"""What the Batch service changes; identities are of Azure Resource Manager."""


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
    # `poolInfo` is taken of a job that is disabled alone.
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
    """Those of the pool's properties that its nodes have from their start."""
    described = SHARED / "BatchService-2025-06-01.derived.json"
    if not described.exists():
        pytest.skip("the description of the service is not next to the project")
    pool = json.loads(described.read_text("utf-8"))["definitions"]["PoolUpdatePropertiesParameter"]
    assert {name for name, how in POOL.items() if how is ChangeMethod.REBOOT} == set(
        pool["properties"]
    ) - {"metadata"}
