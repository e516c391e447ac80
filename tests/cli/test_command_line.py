"""What is typed wrong is told in one way, with exit code 2 and a hint; it is never a bug."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["validate", "--nope"], "--nope"),
        (["nope"], "nope"),
        (["plan"], "SPEC"),
        (["plan", "a.yaml", "b.yaml"], "b.yaml"),
        (["local", "start", "--port", "x"], "--port"),
        (["apply", "x.yaml", "--progress", "fancy"], "fancy"),
        (["validate", "x.yaml", "--var", "top"], "NAME=VALUE"),
    ],
)
def test_a_wrong_command_line_is_told(arguments: list[str], said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "batchspec", *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 2
    assert said in done.stderr
    assert "hint:" in done.stderr
    assert "[bug]" not in done.stderr


def test_help_and_version_are_quick_to_say_and_succeed() -> None:
    for option in ("--help", "--version"):
        done = subprocess.run(
            [sys.executable, "-m", "batchspec", option],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
        assert "batchspec" in done.stdout
