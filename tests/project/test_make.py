"""The Makefile, the set-up and the README agree, and the set-up reports what is missing."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def targets() -> set[str]:
    (phony,) = re.findall(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)
    return set(phony.split())


def test_every_target_is_described_in_the_makefile_and_in_contributing() -> None:
    described = set(re.findall(r"^([a-z-]+):.*## \S", MAKEFILE, re.MULTILINE))
    assert described == targets()
    rows = re.findall(r"^\| (`make .*?) \|", CONTRIBUTING, re.MULTILINE)
    assert set(re.findall(r"\bmake ([a-z-]+)", " ".join(rows))) == targets()


def test_the_first_screen_of_the_readme_has_a_spec_three_commands_and_two_targets() -> None:
    first = README.partition("\n## ")[0]
    assert len(first.splitlines()) < 45
    commands = re.findall(r"^\$ (.*?)\s+#", first, re.MULTILINE)
    assert [line.partition(".yaml")[0] for line in commands] == [
        "batchspec plan lines",
        "batchspec apply lines",
        "batchspec destroy lines",
        "make demo",
        "make test",
    ]
    assert len(commands) == first.count("$ ")
    assert len(re.findall(r"```yaml\n(.*?)```", first, re.DOTALL)[0].splitlines()) <= 15


@pytest.mark.parametrize("script", ["tools/setup.sh", ".ci/run"])
def test_scripts_can_be_run_and_parsed(script: str) -> None:
    path = ROOT / script
    assert os.access(path, os.X_OK)
    subprocess.run(["bash", "-n", str(path)], check=True)


def setup_with(
    tmp_path: Path, pythons: dict[str, str], *arguments: str
) -> subprocess.CompletedProcess[str]:
    """Run a copy of tools/setup.sh on a machine with only these commands."""
    commands = tmp_path / "bin"
    commands.mkdir()
    for tool in ("dirname", "env", "sh"):
        found = shutil.which(tool)
        assert found
        (commands / tool).symlink_to(found)
    for name, script in pythons.items():
        (commands / name).write_text(f"#!/bin/sh\n{script}\n")
        (commands / name).chmod(0o755)
    script = tmp_path / "project" / "tools" / "setup.sh"
    script.parent.mkdir(parents=True)
    shutil.copy(ROOT / "tools" / "setup.sh", script)
    return subprocess.run(
        [str(script), *arguments],
        env={"PATH": str(commands)},
        text=True,
        capture_output=True,
        check=False,
    )


OLD = "exit 1"
WITHOUT_VENV = 'case "$2" in *ensurepip*) exit 1;; *print*) echo python3.11-venv;; esac'


@pytest.mark.parametrize(
    ("pythons", "packages"),
    [
        ({}, "python3 python3-venv"),
        ({"python3": OLD}, "python3 python3-venv"),
        ({"python3": WITHOUT_VENV}, "python3.11-venv"),
    ],
)
def test_missing_python_or_venv_is_reported_with_the_package(
    tmp_path: Path, pythons: dict[str, str], packages: str
) -> None:
    done = setup_with(tmp_path, pythons)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.endswith(f"    sudo apt-get install {packages}\n")


def test_ci_reads_the_same_packages_one_per_line(tmp_path: Path) -> None:
    done = setup_with(tmp_path, {"python3": WITHOUT_VENV}, "--missing")
    assert (done.returncode, done.stdout, done.stderr) == (0, "python3.11-venv\n", "")


def test_a_python_with_venv_is_preferred(tmp_path: Path) -> None:
    done = setup_with(tmp_path, {"python3.11": WITHOUT_VENV, "python3.12": "exit 0"}, "--missing")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_environment_is_created_from_the_lock(tmp_path: Path) -> None:
    log = tmp_path / "log"
    fake = f"""
echo "$@" >>{log}
if [ "$2" = venv ]; then
    mkdir -p .venv/bin; cp "$0" .venv/bin/python
fi"""
    (tmp_path / "bin").mkdir()
    for tool in ("mkdir", "cp"):
        (tmp_path / "bin" / tool).symlink_to(shutil.which(tool) or tool)
    shutil.move(tmp_path / "bin", tmp_path / "more")
    done = setup_with(tmp_path, {"python3.11": f"PATH={tmp_path}/more:$PATH{fake}"})
    assert done.returncode == 0, done.stderr
    called = [line for line in log.read_text().splitlines() if line.startswith("-m")]
    assert called == [
        "-m venv --clear .venv",
        "-m pip --quiet install --require-hashes --no-deps -r requirements.lock",
        "-m pip --quiet install --no-deps --no-build-isolation --editable .",
    ]


def test_the_changelog_has_the_form_of_keep_a_changelog() -> None:
    """The form of keepachangelog.com: unreleased first, then versions, newest first, with dates."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert text.startswith("# Changelog\n")
    first, *released = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert first == "[Unreleased]"
    dated = [re.fullmatch(r"\[(\d+)\.(\d+)\.(\d+)\] - \d{4}-\d\d-\d\d", h) for h in released]
    assert all(dated), released
    versions = [tuple(map(int, match.groups())) for match in dated if match]
    assert versions == sorted(set(versions), reverse=True)
    groups = set(re.findall(r"^### (.*)$", text, re.MULTILINE))
    assert groups <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
