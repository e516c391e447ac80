"""The tables of the service: generated files are up to date, and all tables agree."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from batchspec.local.api import FORMER_ROUTES, ROUTES, WITHOUT_EFFECT
from batchspec.local.wire import FAULTS, OPERATIONS, model_names, parse_body, properties
from batchspec.local.wire.body import SPELLING
from batchspec.property_rules import PROPERTY_RULES

ROOT = Path(__file__).parents[2]
MODELS = {"pool": "BatchPoolCreateOptions", "job": "BatchJobCreateOptions",
          "task": "BatchTaskCreateOptions"}  # fmt: skip


@pytest.mark.parametrize("tool", ["generate_wire_models.py", "generate_compatibility.py"])
def test_generated_files_are_up_to_date(tool: str) -> None:
    run = [sys.executable, str(ROOT / "tools" / tool), "--check"]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stderr}: run tools/{tool}"


def test_every_operation_of_the_sdk_has_a_route() -> None:
    import azure.batch._operations._operations as sdk  # noqa: PLC0415

    builders = [name for name in vars(sdk) if name.startswith("build_batch_")]
    wire = {
        name.removeprefix("build_batch_").removesuffix("_request").removesuffix("_internal")
        for name in builders
    }
    assert {route.operation for route in ROUTES} == wire
    assert len(ROUTES) == 72
    operations = {route.operation for route in (*ROUTES, *FORMER_ROUTES)}
    assert set(OPERATIONS) <= operations


def test_a_route_without_a_handler_is_not_supported_and_has_a_reason() -> None:
    for route in (*ROUTES, *FORMER_ROUTES):
        assert (route.handler is None) == (route.support == "not supported")
        assert route.support == "full" or route.note


def test_every_error_code_is_used_by_a_reply() -> None:
    used = set()
    for path in (ROOT / "batchspec" / "local").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        keys = {
            id(key) for node in ast.walk(tree) if isinstance(node, ast.Dict) for key in node.keys
        }
        used |= {
            node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in keys
        }
    used |= {fault for rule in PROPERTY_RULES for fault in rule.faults}
    assert sorted(set(FAULTS) - used) == []


def test_properties_without_effect_exist() -> None:
    for kind, paths in WITHOUT_EFFECT.items():
        for path in paths:
            model = MODELS[kind]
            for name in path.split("/"):
                found = properties(model)[name]
                model = found.strip("[]!@")


def test_spellings_differ_only_in_case() -> None:
    for words in SPELLING.values():
        assert len({word.lower() for word in words}) == len(words)


def test_importing_wire_does_not_import_the_sdk() -> None:
    code = (
        "import sys, batchspec.local.service; "
        "sys.exit(any(name == 'azure' or name.startswith('azure.') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_model_can_be_parsed() -> None:
    for model in model_names():
        required = [name for name, kind in properties(model).items() if kind.endswith("!")]
        if not required:
            assert parse_body(model, {}) == {}
