"""The documentation of the language: generated parts are up to date, examples are valid."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from batchspec.spec import ValueSources, read_spec

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "spec.md").read_text("utf-8"), re.DOTALL)

REST = {
    "version": 1,
    "name": "example",
    "pool": {"vm_size": "standard_d2s_v5", "nodes": 1, "image": "ubuntu-24.04"},
    "job": {"max_wall_clock_time": "1h"},
    "tasks": {"run": {"command": "echo hello"}},
}
"""The required keys that an example omits."""


@pytest.mark.parametrize(
    "tool",
    [
        "generate_coverage",
        "generate_create_errors",
        "generate_events",
        "generate_property_rules",
        "generate_reference",
    ],
)
def test_up_to_date(tool: str) -> None:
    """After a change of the language or of the embedded service, run the tool."""
    done = subprocess.run(
        [sys.executable, f"tools/{tool}.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_example(block: str, tmp_path: Path) -> None:
    written = yaml.safe_load(block) or {}
    managed = "job_manager_task" in written.get("job", {})
    rest = {key: value for key, value in REST.items() if key not in written}
    rest = {key: value for key, value in rest.items() if not (managed and key == "tasks")}
    path = tmp_path / "example.yaml"
    (tmp_path / "runs.csv").write_text("who,score\nme,1\n")
    path.write_text(block + ("\n" + yaml.safe_dump(rest, sort_keys=False) if rest else ""))
    given = {"registry_password": "x"} if "registry_password" in block else {}
    assert bool(read_spec(path, ValueSources(given)).stages) is not managed


def test_every_section_of_a_spec_is_shown() -> None:
    shown = {key for block in BLOCKS for key in yaml.safe_load(block) or {}}
    assert shown >= {"parameters", "containers", "pool", "job", "tasks", "results", "cleanup"}
