"""The published schema is up to date, valid, and complete for editors."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from batchspec.spec import load_schema, schema_text

ROOT = Path(__file__).parents[2]
SCHEMA = load_schema()


def test_up_to_date() -> None:
    """After a change of the language or the SDK, run ``python tools/generate_schema.py``."""
    done = subprocess.run(
        [sys.executable, "tools/generate_schema.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_published_file_is_the_shipped_one() -> None:
    published = ROOT / "schemas" / "batchspec.schema.json"
    assert published.read_text("utf-8") == schema_text()


def test_valid_against_its_meta_schema() -> None:
    Draft7Validator.check_schema(SCHEMA)


def fragments(schema: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every subschema that describes a member, with its path."""
    if isinstance(schema, list):
        for number, item in enumerate(schema):
            yield from fragments(item, f"{path}/{number}")
    elif isinstance(schema, dict):
        for name, member in schema.get("properties", {}).items():
            yield f"{path}/{name}", member
            yield from fragments(member, f"{path}/{name}")
        for name, definition in schema.get("definitions", {}).items():
            yield from fragments(definition, name)
        for key in ("items", "additionalProperties", "oneOf", "anyOf", "allOf"):
            yield from fragments(schema.get(key), f"{path}/{key}")


def test_every_member_has_a_description() -> None:
    """Editors show the description of a key."""
    references = {name for name, d in SCHEMA["definitions"].items() if d.get("description")}
    lacking = [
        path
        for path, member in fragments(SCHEMA)
        if not member.get("description")
        and member.get("$ref", "").rpartition("/")[2] not in references
    ]
    assert not lacking


def test_every_reference_can_be_resolved() -> None:
    text = json.dumps(SCHEMA)
    names = {part.partition('"')[0] for part in text.split('"#/definitions/')[1:]}
    assert names <= SCHEMA["definitions"].keys()


def test_every_definition_is_used() -> None:
    text = json.dumps(SCHEMA)
    roots = {"BatchPoolCreateOptions", "BatchJobCreateOptions", "BatchTaskCreateOptions"}
    roots |= {"BatchPoolSpecification", "BatchJobScheduleCreateOptions", "BatchJobSpecification"}
    roots |= {"BatchStartTask", "BatchJobPreparationTask", "BatchJobReleaseTask"}
    roots |= {"BatchJobScheduleConfiguration", "VirtualMachineConfiguration"}
    roots |= {"BatchContainerConfiguration"}
    used = {name for name in SCHEMA["definitions"] if f'"#/definitions/{name}"' in text}
    assert SCHEMA["definitions"].keys() - used <= roots


def test_defaults_and_examples_are_valid() -> None:
    for path, member in fragments(SCHEMA):
        validator = Draft7Validator({"definitions": SCHEMA["definitions"], **member})
        for value in (
            *member.get("examples", ()),
            *([member["default"]] if "default" in member else ()),
        ):
            assert not list(validator.iter_errors(value)), (path, value)


def test_rest_names_are_those_of_the_service() -> None:
    pool = SCHEMA["definitions"]["BatchPoolCreateOptions"]["properties"]
    assert pool["vm_size"]["x-wire"] == "vmSize"
    job = SCHEMA["definitions"]["BatchJobCreateOptions"]["properties"]
    assert job["all_tasks_complete_mode"]["x-wire"] == "onAllTasksComplete"


@pytest.mark.parametrize(
    "module", ["azure", "jsonschema", "jsonschema_rs", "jinja2", "rich", "typer"]
)
def test_reading_does_not_import(module: str) -> None:
    """Start time: libraries that only some specs need are imported on first use."""
    code = f"import sys, batchspec.spec.read; sys.exit({module!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_no_spec_imports_the_sdk(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from batchspec.spec.read import read_spec\n"
        "for path in Path('tests/spec/good').glob('*.yaml'):\n"
        "    read_spec(path, needs_secrets=False)\n"
        "sys.exit(any(name.split('.')[0] == 'azure' for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
