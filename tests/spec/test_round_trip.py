"""Every property of every create model can be written in a spec, and reaches the wire unchanged.

The models are the SDK's own. Each is filled in completely, once in the form of the SDK and once in
the form of a spec; both must be the same JSON. Members that cannot be combined (two sources of one
file, targets of a pool with a formula) are tested in turn.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from azure.batch import models
from azure.batch._utils.model_base import SdkJSONEncoder

from batchspec.spec import (
    BlobUrl,
    Value,
    ValueSources,
    definition,
    duration,
    iso,
    load_schema,
    read_spec,
    resolved,
    thaw,
)

SECRET = "hunter2"

TURNS: tuple[frozenset[str], ...] = (
    frozenset({"http_url", "target_dedicated_nodes", "target_low_priority_nodes"}),
    frozenset({"storage_container_url", "enable_auto_scale", "auto_scale_formula"})
    | {"auto_scale_evaluation_interval"},
    frozenset({"auto_storage_container_name", "target_dedicated_nodes"}),
)
"""Members of which only one set can be used at a time."""

EXCLUSIVE = frozenset().union(*TURNS)

NO_IDENTITY = frozenset({"identity_reference"})
"""A pool that the data plane creates has no identity."""

NOT_WRITTEN = {
    ("BatchJobCreateOptions", "pool_info"): "a job runs on the pool of its spec",
    ("BatchJobSpecification", "pool_info"): "a job runs on the pool of its spec",
    ("BatchTaskCreateOptions", "command_line"): "a stage's command, see test_command_line",
    ("BatchTaskCreateOptions", "id"): "a stage's template of ids, see test_read",
}


@pytest.fixture(autouse=True)
def _without_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    """The values here are placeholders of each type, which the rules of properties refuse."""
    for rules in ("property_rules", "task_rules"):
        monkeypatch.setattr(f"batchspec.spec.read.{rules}", lambda _: ())


@dataclass
class Filled:
    """Instances of SDK models with every member set, and the same in the form of a spec."""

    turn: frozenset[str]
    without: frozenset[str] = frozenset()
    seen: set[tuple[str, str]] = field(default_factory=set)

    def model(self, name: str) -> tuple[Any, dict[str, object]]:
        members, written = {}, {}
        for attribute, schema in definition(name)["properties"].items():
            if (name, attribute) in NOT_WRITTEN:
                continue
            if attribute in EXCLUSIVE and attribute not in self.turn:
                continue
            if attribute in self.without:
                continue
            self.seen.add((name, attribute))
            members[attribute], written[attribute] = self.value(attribute, schema)
        return getattr(models, name)(**members), written

    def value(self, attribute: str, schema: Any) -> tuple[Any, Any]:
        if (special := SPECIAL.get(attribute)) is not None:
            return special, special
        if schema.get("x-secret") and schema.get("type") == "object":
            return {"k": SECRET}, {"k": "{{ password }}"}
        if schema.get("x-secret"):
            return SECRET, "{{ password }}"
        name = reference(schema)
        if name is not None:
            return self.model(name)
        schema = resolved(schema)
        if schema.get("x-unit") == "duration":
            return timedelta(minutes=90), "1h30m"
        if schema.get("x-unit") == "time":
            day = 1 if attribute == "do_not_run_until" else 2
            return datetime(2026, 12, day, 6, tzinfo=UTC), f"2026-12-{day:02}T07:00:00+01:00"
        if "anyOf" in schema:
            last = schema["anyOf"][0]["enum"][-1]
            return last, last
        kind = schema["type"]
        if kind == "array":
            value, text = self.value(attribute, schema["items"])
            return [value], [text]
        if kind == "object":
            return {"k": "v"}, {"k": "v"}
        if "integer" in kind:
            return 7, 7
        if "boolean" in kind:
            return True, True
        return f"text of {attribute}", f"text of {attribute}"


SPECIAL: dict[str, object] = {
    "task_slots_per_node": 8,
    "auto_scale_formula": "$TargetDedicatedNodes = 1;",
    "file_path": "folder/file.txt",
    "id": "an-id",
    "required_slots": 2,
    "max_wall_clock_time": timedelta(minutes=10),
}


def reference(schema: Any) -> str | None:
    """The model that a fragment refers to."""
    found = schema.get("$ref") or schema.get("allOf", [{}])[0].get("$ref", "")
    name = found.rpartition("/")[2]
    return name if hasattr(models, name) else None


def plain(value: object) -> object:
    """A spec's text for a value of the SDK."""
    if isinstance(value, timedelta):
        return iso(value)
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value


def same(value: object) -> object:
    """JSON with its durations in one form: ``PT01H30M00S`` is ``PT1H30M``."""
    if isinstance(value, dict):
        return {key: same(item) for key, item in value.items()}
    if isinstance(value, list):
        return [same(item) for item in value]
    if isinstance(value, str) and re.match(r"P[T\d]", value):
        length = duration(value)
        return iso(length) if length is not None else value
    if isinstance(value, str) and re.match(r"\d{4}-\d\d-\d\dT", value):
        return value.replace("+00:00", "Z").replace(".000000Z", "Z")
    return value


def sent_by_sdk(model: Any) -> object:
    return same(json.loads(json.dumps(model, cls=SdkJSONEncoder, exclude_readonly=True)))


def sent_by_us(value: Value) -> object:
    return same(thaw(value, lambda text: text.resolve(_no_url)))


def _no_url(url: BlobUrl) -> str:
    return f"https://account/{url.container}?{url.permissions}"


def read(tmp_path: Path, **parts: object) -> Any:
    """A spec of these parts, with as few other parts as possible."""
    spec: dict[str, object] = {
        "version": 1,
        "name": "whole",
        "parameters": {"password": {"type": "string", "secret": True}},
        "pool": {"existing": "there"},
        "job": {"max_wall_clock_time": "10m"},
        "tasks": {"one": {"command": "exit 0", "logs": False}},
    }
    path = tmp_path / "whole.yaml"
    path.write_text(yaml.safe_dump({**spec, **parts}, sort_keys=False))
    return read_spec(path, ValueSources({"password": SECRET}))


@pytest.mark.parametrize("turn", TURNS, ids=range(len(TURNS)))
def test_pool(tmp_path: Path, turn: frozenset[str]) -> None:
    model, written = Filled(turn, NO_IDENTITY).model("BatchPoolCreateOptions")
    spec = read(tmp_path, pool=plain(written))
    assert sent_by_us(spec.pool.properties) == sent_by_sdk(model)


@pytest.mark.parametrize("turn", TURNS, ids=range(len(TURNS)))
def test_auto_pool(tmp_path: Path, turn: frozenset[str]) -> None:
    model, written = Filled(turn, NO_IDENTITY).model("BatchPoolSpecification")
    pool = {"id": "prefix", "lifetime": "job", "keep_alive": True, **written}
    spec = read(tmp_path, pool=plain(pool))
    assert sent_by_us(spec.pool.properties) == sent_by_sdk(model)
    assert dict(spec.pool.auto) == {
        "poolLifetimeOption": "job",
        "keepAlive": True,
        "autoPoolIdPrefix": "prefix",
    }


@pytest.mark.parametrize("turn", TURNS, ids=range(len(TURNS)))
def test_job(tmp_path: Path, turn: frozenset[str]) -> None:
    model, written = Filled(turn).model("BatchJobCreateOptions")
    spec = read(tmp_path, job=plain(written))
    assert sent_by_us(spec.job.properties) == sent_by_sdk(model)


def test_job_schedule(tmp_path: Path) -> None:
    """The schedule is a part of the job, and the properties of the schedule are written in it."""
    filled = Filled(TURNS[0])
    schedule, written = filled.model("BatchJobScheduleConfiguration")
    metadata, pairs = filled.value("metadata", {"type": "array", "items": METADATA})
    job = {"max_wall_clock_time": "10m", "schedule": {**written, "metadata": pairs}}
    job["schedule"]["display_name"] = "named"
    spec = read(tmp_path, job=plain(job))
    assert sent_by_us(spec.job.schedule) == sent_by_sdk(schedule)
    whole = models.BatchJobScheduleCreateOptions(display_name="named", metadata=metadata)
    assert sent_by_us(spec.job.schedule_properties) == sent_by_sdk(whole)


METADATA = {"$ref": "#/definitions/BatchMetadataItem"}


@pytest.mark.parametrize("turn", TURNS, ids=range(len(TURNS)))
def test_task(tmp_path: Path, turn: frozenset[str]) -> None:
    model, written = Filled(turn).model("BatchTaskCreateOptions")
    stage = {"command": "exit 0", "logs": False, **written}
    spec = read(tmp_path, tasks={"one": plain(stage)})
    assert sent_by_us(spec.stages[0].body) == sent_by_sdk(model)


def test_every_member_is_tested() -> None:
    """Every member of every model that a create model leads to was set by a test above."""
    seen: set[tuple[str, str]] = set()
    for turn in TURNS:
        filled = Filled(turn)
        for root in ROOTS:
            filled.model(root)
        seen |= filled.seen
    all_members = {
        (name, attribute)
        for name, schema in load_schema()["definitions"].items()
        if hasattr(models, name)
        for attribute in schema["properties"]
    }
    by_hand = {("BatchJobScheduleCreateOptions", key) for key in ("schedule", "job_specification")}
    by_hand |= {
        ("BatchJobScheduleCreateOptions", key) for key in ("id", "display_name", "metadata")
    }
    assert all_members - seen - by_hand - set(NOT_WRITTEN) == set(_below_pool_info(all_members))


ROOTS = (
    "BatchPoolCreateOptions",
    "BatchPoolSpecification",
    "BatchJobCreateOptions",
    "BatchJobSpecification",
    "BatchJobScheduleConfiguration",
    "BatchTaskCreateOptions",
)


def _below_pool_info(members: set[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """The properties in the spec's ``pool``; see test_auto_pool."""
    return (m for m in members if m[0] in ("BatchPoolInfo", "BatchAutoPoolSpecification"))
