"""The entry for SchemaStore: its test data, against the schema as editors use it."""

from __future__ import annotations

import json
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft7Validator

from batchspec.diagnostics import SpecError
from batchspec.spec import load_schema, read_spec

FOLDER = Path(__file__).parents[2] / "schemas" / "schemastore"
GOOD = sorted((FOLDER / "test").glob("*.yaml"))
BAD = sorted((FOLDER / "negative_test").glob("*.yaml"))
ENTRY = json.loads((FOLDER / "catalog-entry.json").read_text(encoding="utf-8"))
SCHEMA = load_schema()
NO_FILES = {"missing-file", "no-match", "missing-variable"}
"""Missing files beside the test data."""


def is_valid(path: Path) -> bool:
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    return bool(Draft7Validator(SCHEMA).is_valid(document))


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.name)
def test_a_valid_spec_is_accepted_by_the_schema_and_by_batchspec(path: Path) -> None:
    assert is_valid(path)
    try:
        read_spec(path)
    except SpecError as error:
        assert {problem.code for problem in error.problems} <= NO_FILES


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.name)
def test_an_invalid_spec_is_rejected_by_the_schema_and_by_batchspec(path: Path) -> None:
    assert not is_valid(path)
    with pytest.raises(SpecError):
        read_spec(path)


def test_the_catalogue_entry_matches_the_test_data_and_no_other_yaml() -> None:
    assert len(GOOD) >= 3
    assert len(BAD) >= 5
    for path in (*GOOD, *BAD):
        assert any(fnmatch(path.name, pattern) for pattern in ENTRY["fileMatch"])
    for name in ("run.yaml", "topn.yaml", "azure-pipelines.yml", "my-batchspec.yaml"):
        assert not any(fnmatch(name, pattern) for pattern in ENTRY["fileMatch"])


def test_the_schema_is_identified_by_its_address() -> None:
    assert SCHEMA["$id"] == ENTRY["url"]
    assert SCHEMA["$schema"] == "http://json-schema.org/draft-07/schema#"


def test_the_keywords_of_the_schema_are_declared() -> None:
    """Ajv refuses unknown keywords."""
    settings = json.loads((FOLDER / "schema-validation.json").read_text(encoding="utf-8"))
    (options,) = (each["batchspec.json"] for each in settings["options"])
    assert options["unknownKeywords"] == sorted(own_keywords(SCHEMA))


def own_keywords(schema: object) -> set[str]:
    if isinstance(schema, list):
        return {name for item in schema for name in own_keywords(item)}
    if not isinstance(schema, dict):
        return set()
    inner = {name for value in schema.values() for name in own_keywords(value)}
    return inner | {key for key in schema if key.startswith("x-")}


def test_the_recommended_extension_is_the_one_of_the_guide() -> None:
    root = FOLDER.parents[1]
    extensions = json.loads((root / ".vscode" / "extensions.json").read_text(encoding="utf-8"))
    page = (root / "docs" / "how-to" / "editors.md").read_text(encoding="utf-8")
    assert extensions["recommendations"][0] in page
    settings = json.loads((root / ".vscode" / "settings.json").read_text(encoding="utf-8"))
    for schema, patterns in settings["yaml.schemas"].items():
        assert (root / schema).is_file()
        assert set(patterns) <= set(ENTRY["fileMatch"])
