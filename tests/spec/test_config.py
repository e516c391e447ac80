"""The expansion of short forms: ``good/NAME.yaml`` and its printed form ``NAME.config.txt``.

``BATCHSPEC_ACCEPT=1`` rewrites them; review the changes like code.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import yaml

from batchspec.spec import ValueSources, dump_document, expanded_document, read_spec

GOOD = Path(__file__).parent / "good"
NAMES = sorted(path.stem for path in GOOD.glob("*.yaml"))
GIVEN = {
    "pool": {"password": "hunter2"},
    "job": {"token": "hunter2"},
    "commands-with-secrets": {"token": "hunter2"},
}


@pytest.mark.parametrize("name", NAMES)
def test_expansion(name: str) -> None:
    document = expanded_document(GOOD / f"{name}.yaml", ValueSources(GIVEN.get(name, {})))
    text = dump_document(document, "yaml")
    golden = GOOD / f"{name}.config.txt"
    if os.environ.get("BATCHSPEC_ACCEPT"):
        golden.write_text(text, encoding="utf-8")
    assert text == golden.read_text("utf-8")
    assert "hunter2" not in text
    assert json.loads(dump_document(document, "json")) == yaml.safe_load(text)


@pytest.mark.parametrize("name", NAMES)
def test_the_printed_spec_is_equivalent(name: str, tmp_path: Path) -> None:
    """Secrets are printed as templates and need no value."""
    first, given = GOOD / f"{name}.yaml", GIVEN.get(name, {})
    again = tmp_path / f"{name}.yaml"
    again.write_text(dump_document(expanded_document(first), "yaml"), encoding="utf-8")
    assert expanded_document(again) == expanded_document(first, ValueSources(given))
    one, two = read_spec(first, ValueSources(given)), read_spec(again, ValueSources(given))
    assert one.digest == two.digest
    assert one.pool.properties == two.pool.properties
    assert one.job.properties == two.job.properties
    assert [stage.name for stage in one.stages] == [stage.name for stage in two.stages]


def test_a_string_with_braces_is_escaped(tmp_path: Path) -> None:
    """The result of a template is not a template when it is read again."""
    spec = tmp_path / "spec.yaml"
    spec.write_text(
        "version: 1\nname: demo\npool: {existing: there}\n"
        "job: {max_wall_clock_time: 1h, env: {FORMAT: \"{{ '{{' }}.Names}}\"}}\n"
        "tasks: {run: {command: echo}}\n"
    )
    again = tmp_path / "again.yaml"
    again.write_text(dump_document(expanded_document(spec), "yaml"))
    for path in (spec, again):
        settings = read_spec(path).job.properties["commonEnvironmentSettings"]
        assert isinstance(settings, tuple)
        assert dict(settings[0]) == {"name": "FORMAT", "value": "{{.Names}}"}  # type: ignore[arg-type]
