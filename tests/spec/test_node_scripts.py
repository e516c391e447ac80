"""``pool.python`` and ``clean``: the scripts before commands, and their effect."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from batchspec.diagnostics import SpecError
from batchspec.spec import Spec, ValueSources, command_line, read_spec, spec_scope

SPEC = """\
version: 1
name: demo
containers: {{output: {{}}}}
pool:
  vm_size: standard_d2s_v5
  nodes: 1
  image: {image}
{pool}
job: {{max_wall_clock_time: 1h}}
tasks:
  run:
{stage}
"""


def spec(
    folder: Path, pool: str = "", stage: str = "command: python run.py", image: str = "ubuntu-24.04"
) -> Spec:
    path = folder / "spec.yaml"
    indented = "\n".join(f"    {line}" for line in stage.splitlines())
    path.write_text(SPEC.format(pool=pool, stage=indented, image=image), encoding="utf-8")
    return read_spec(path)


def line_of(found: Spec) -> str:
    (stage,) = found.stages
    return str(command_line(stage.command, spec_scope(found), windows=False))


PACKAGES = "  python: {packages: ['numpy==2.1.3', pandas>=2]}"


def start_of(found: Spec) -> str:
    return str(found.pool.properties["startTask"]["commandLine"])  # type: ignore[index,call-overload]


def test_the_start_task_installs_the_packages(tmp_path: Path) -> None:
    found = spec(tmp_path, f"{PACKAGES}\n  start_task: {{command: echo ready}}")
    start = start_of(found)
    assert "numpy==2.1.3" in start
    assert "pandas>=2" in start
    assert start.endswith("echo ready'\"'\"''")
    assert start.startswith("/bin/sh -c '")
    subprocess.run(["/bin/sh", "-n", "-c", start], check=True)
    (name,) = {part for part in start.replace('"', "/").split("/") if part.startswith("python-")}
    assert f"{name}/bin:$PATH" in line_of(found)


def test_other_packages_use_another_environment(tmp_path: Path) -> None:
    lines = {
        line_of(spec(tmp_path, f"  python: {{packages: [{each}]}}")) for each in ("a==1", "a==2")
    }
    assert len(lines) == 2


def test_a_requirements_file_is_the_list_of_its_packages(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("# data\nnumpy==2.1.3\n\npandas>=2  # frames\n")
    found = spec(tmp_path, "  python: {requirements: requirements.txt}")
    assert start_of(found) == start_of(spec(tmp_path, PACKAGES))
    both = spec(tmp_path, "  python: {packages: [scipy], requirements: requirements.txt}")
    assert shlex.split(start_of(both))[2].count("scipy") == 1


def test_commands_without_a_shell_have_no_prefix(tmp_path: Path) -> None:
    for stage in ("command: [python, run.py]", "command: python run.py\ncontainer_image: python:3"):
        found = spec(tmp_path, f"{PACKAGES}\n  container_images: [python:3]", stage)
        assert "PATH" not in line_of(found)


@pytest.mark.parametrize(
    ("pool", "stage", "image", "reason"),
    [
        ("  python: {packages: [-r other.txt]}", "", "", "names another file"),
        ("  python: {packages: [./own]}", "", "", "names another file"),
        ("  python: {requirements: none.txt}", "", "", "does not exist"),
        (f"{PACKAGES}\n  start_task: {{command_line: echo}}", "", "", "must be a `command`"),
        (PACKAGES, "", "windowsserver-2022", "for Linux nodes"),
        ("", "command: [python, run.py]\nclean: true", "", "a command that a shell runs"),
    ],
)
def test_unsupported_uses_are_refused(
    pool: str, stage: str, image: str, reason: str, tmp_path: Path
) -> None:
    with pytest.raises(SpecError) as error:
        spec(tmp_path, pool, stage or "command: python run.py", image or "ubuntu-24.04")
    assert any(reason in each.summary for each in error.value.problems)


def run(line: str, task: Path) -> str:
    """The output of one attempt of a task."""
    return subprocess.run(
        ["/bin/sh", "-c", line],
        cwd=task / "wd",
        env={"AZ_BATCH_TASK_DIR": str(task), "PATH": "/usr/bin:/bin"},
        check=True,
        capture_output=True,
        text=True,
    ).stdout


def test_a_requirement_with_a_secret_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    text = SPEC.format(
        pool="  python: {packages: ['--index-url=https://u:{{ token }}@example.org/simple']}",
        stage="    command: 'true'",
        image="ubuntu-24.04",
    )
    secret = "parameters: {token: {type: string, secret: true}}\n"
    path.write_text(text + secret, encoding="utf-8")
    with pytest.raises(SpecError) as error:
        read_spec(path, ValueSources({"token": "hunter2"}), needs_secrets=True)
    assert ["contains a secret" in each.summary for each in error.value.problems] == [True]


def test_a_retry_finds_only_the_resource_files(tmp_path: Path) -> None:
    found = spec(tmp_path, stage="command: ls -R; touch 'left over' sub/left\nclean: true")
    line, task = line_of(found), tmp_path / "task"
    folder = task / "wd" / "sub"
    folder.mkdir(parents=True)
    (folder / "input.txt").write_text("1")
    shown = [run(line, task) for _ in range(3)]
    assert shown[0] == shown[1] == shown[2]
    assert "input.txt" in shown[0]
    assert "left" not in shown[1]


def test_a_retry_deletes_nothing_outside_of_the_working_directory(tmp_path: Path) -> None:
    line = line_of(spec(tmp_path, stage="command: 'true'\nclean: true"))
    task, outside = tmp_path / "task", tmp_path / "outside"
    (task / "wd").mkdir(parents=True)
    outside.write_text("1")
    run(line, task)
    # The list of files has a line that is the path of the other file.
    named = task / "wd" / f"a\n{outside}"
    named.parent.mkdir(parents=True)
    named.write_text("1")
    run(line, task)
    assert outside.exists()
