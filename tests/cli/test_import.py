"""``batchspec import`` from a live account, and to a file."""

from __future__ import annotations

import json
from pathlib import Path

from batchspec.spec import schema_text
from tests.cli.conftest import Workplace


def test_a_live_job(mixed: Workplace, tmp_path: Path) -> None:
    spec = tmp_path / "imported.yaml"
    done = mixed.run("import", "--pool", "mixed", "--job", "mixed", "-o", spec)
    assert done.code == 0, done.text
    text = spec.read_text(encoding="utf-8")
    assert "name: mixed-imported" in text
    assert "for_each:" in text  # Tasks that differ in a number.
    assert "sig=" not in text
    assert mixed.run("validate", spec).code == 0
    # The file is not overwritten.
    assert mixed.run("import", "--job", "mixed", "-o", spec).code == 2


def test_inputs_that_cannot_be_imported_are_errors(mixed: Workplace, tmp_path: Path) -> None:
    missing = mixed.run("import", "--job", "nope")
    assert missing.code == 2
    assert "no job 'nope'" in missing.text
    assert "nothing to import" in mixed.run("import").text
    assert "no YAML or JSON" in mixed.run("import", tmp_path).text


def test_a_spec_without_values(mixed: Workplace, tmp_path: Path) -> None:
    tasks = tmp_path / "tasks.json"
    tasks.write_text(json.dumps([{"id": "t", "commandLine": "true"}]), encoding="utf-8")
    done = mixed.run("import", tasks, "-o", tmp_path / "spec.yaml")
    assert done.code == 0
    assert "--var NAME=VALUE" in done.text
    # The first line names the schema next to the spec, for editors.
    text = (tmp_path / "spec.yaml").read_text(encoding="utf-8")
    assert text.startswith("# yaml-language-server: $schema=batchspec.schema.json\n")
    assert (tmp_path / "batchspec.schema.json").read_text(encoding="utf-8") == schema_text()


def test_an_existing_schema_is_kept(mixed: Workplace, tmp_path: Path) -> None:
    tasks, schema = tmp_path / "tasks.json", tmp_path / "batchspec.schema.json"
    tasks.write_text(json.dumps([{"id": "t", "commandLine": "true"}]), encoding="utf-8")
    schema.write_text("mine", encoding="utf-8")
    assert mixed.run("import", tasks, "-o", tmp_path / "spec.yaml").code == 0
    assert schema.read_text(encoding="utf-8") == "mine"
    # The spec names no missing file.
    assert "yaml-language-server" not in mixed.run("import", tasks).out
