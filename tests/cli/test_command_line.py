"""The command line as a process: help, usage errors with exit code 2, no output lost."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["validate", "--nope"], "--nope"),
        (["nope"], "nope"),
        (["aply"], "Did you mean `apply`?"),
        (["plan"], "SPEC"),
        (["plan", "a.yaml", "b.yaml"], "b.yaml"),
        (["local", "start", "--port", "x"], "--port"),
        (["apply", "x.yaml", "--progress", "fancy"], "`--progress` must be `auto`, "),
        (["validate", "x.yaml", "--var", "top"], "NAME=VALUE"),
        (["validate", "specs/topn.yaml", "--var-file", "gone.yaml"], "Give `--var-file` a YAML"),
    ],
)
def test_a_usage_error_has_a_fix_and_exit_code_2(arguments: list[str], expected: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "batchspec", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 2
    assert expected in done.stderr
    assert "fix:" in done.stderr
    assert "[bug]" not in done.stderr


def test_help_and_version_succeed() -> None:
    for option in ("--help", "--version"):
        done = subprocess.run(
            [sys.executable, "-m", "batchspec", option],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
        assert "batchspec" in done.stdout


@pytest.mark.parametrize("group", [[], ["local"]], ids=["batchspec", "local"])
def test_a_group_without_a_command_prints_its_help(group: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "batchspec", *group],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 2
    assert "\nCommands:\n" in done.stdout
    assert "..." not in done.stdout.partition("\nCommands:\n")[2], "a summary is truncated"
    assert done.stderr == ""


def test_errors_of_the_spec_and_of_its_files_are_reported_together(tmp_path: Path) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text(
        "version: 1\n"
        "name: both\n"
        "containers: {input: {upload: [data/*.txt]}}\n"
        "pool: {vmsize: standard_d2s_v5, nodes: 1, image: ubuntu-24.04}\n"
        "job: {max_wall_clock_time: 1h}\n"
        "tasks: {one: {command: 'true'}}\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "batchspec", "validate", str(spec)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 2
    assert "[no-match]" in done.stderr
    assert "[unknown-key]" in done.stderr
    assert done.stderr.index("[no-match]") < done.stderr.index("[unknown-key]")
