"""``batchspec import`` from a live account, and to a file."""

from __future__ import annotations

import json
from pathlib import Path

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


def test_what_cannot_be_imported(mixed: Workplace, tmp_path: Path) -> None:
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
