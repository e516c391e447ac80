"""Starter specs: written to new files only, valid, and run unchanged."""

from __future__ import annotations

import json
import re
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from batchspec.cli.commands.init import StarterTemplate
from batchspec.spec import schema_text
from tests.cli.conftest import Inside, Workplace

RUNNING = [template for template in StarterTemplate if template is not StarterTemplate.CONTAINER]


@pytest.fixture
def desk(tmp_path: Path) -> Workplace:
    """An empty folder, and a command line; no service."""
    return Inside(tmp_path, tmp_path / "home", {"NO_COLOR": "1", "COLUMNS": "100"})


@pytest.mark.parametrize("template", StarterTemplate, ids=str)
def test_every_template_is_valid_and_has_the_name_of_its_folder(
    desk: Workplace, template: StarterTemplate
) -> None:
    done = desk.run("init", "Night Shift", "--template", template.value)
    assert done.code == 0, done.text
    assert "batchspec plan 'Night Shift/run.yaml'" in done.out
    folder = desk.folder / "Night Shift"
    assert "name: night-shift\n" in (folder / "run.yaml").read_text(encoding="utf-8")
    assert ".batchspec/" in (folder / ".gitignore").read_text(encoding="utf-8")
    first, _, _ = (folder / "run.yaml").read_text(encoding="utf-8").partition("\n")
    assert first == "# yaml-language-server: $schema=batchspec.schema.json"
    assert (folder / "batchspec.schema.json").read_text(encoding="utf-8") == schema_text()
    assert not list(folder.rglob("__pycache__"))
    valid = desk.run("validate", folder / "run.yaml")
    assert (valid.code, valid.err) == (0, "")


@pytest.mark.parametrize("template", RUNNING, ids=str)
def test_the_commands_of_its_header_run_and_so_does_an_edited_program(
    near: Workplace, template: StarterTemplate
) -> None:
    assert near.run("init", "start", "--template", template.value).code == 0
    start = replace(near, folder=near.folder / "start")
    if template is StarterTemplate.PYTHON_PACKAGES:
        offline(start.folder)
    plan, apply, *changed = header_commands(start.folder / "run.yaml")
    assert changed, "a command that changes a parameter"
    assert (plan, apply) == ("plan run.yaml", "apply run.yaml")
    assert start.run(*plan.split()).code == 0
    done = start.run(*apply.split())
    assert done.code == 0, done.text
    check_results(template, {path.name: path for path in (start.folder / "results").iterdir()})
    assert "Nothing to do" in start.run(*apply.split()).out
    for command in changed:
        assert submitted(start, *command.split()) >= 1, command
    (program,) = (start.folder / "app").iterdir()
    program.write_text(f"{program.read_text(encoding='utf-8')}\nopen('edited.txt', 'w').close()\n")
    assert "changed" in start.run(*changed[-1].replace("apply", "plan").split()).out
    assert submitted(start, *changed[-1].split()) >= 2


def header_commands(spec: Path) -> list[str]:
    """The commands in the comment at the start of a spec, without their descriptions."""
    head = spec.read_text(encoding="utf-8").partition("version: 1")[0]
    return [
        line.strip() for line in re.findall(r"^#   batchspec (.+?)(?:  .*)?$", head, re.MULTILINE)
    ]


def submitted(place: Workplace, *command: str) -> int:
    """The number of tasks that a command submits; it keeps the pool as it is."""
    done = place.run(*command, "--progress", "json")
    assert done.code == 0, done.text
    steps = [e for e in map(json.loads, done.out.splitlines()) if e["type"] == "step_done"]
    assert not any(
        step["verb"] in {"update", "replace"} and step["subject"] == "pool start" for step in steps
    )
    return sum(step["items"] for step in steps if step["verb"] == "submit")


def check_results(template: StarterTemplate, results: dict[str, Path]) -> None:
    match template:
        case StarterTemplate.ONE_FILE_PER_TASK:
            assert set(results) == {"harbour.txt.measured.txt", "orchard.txt.measured.txt"}
        case StarterTemplate.SWEEP:
            assert len(results) == 5
            result = json.loads(results["growth-2-start-30.json"].read_text(encoding="utf-8"))
            assert result["size"] == pytest.approx(0.5), "the fixed point of growth 2"
        case StarterTemplate.PYTHON_PACKAGES:
            assert results["harbour.txt"].read_text(encoding="utf-8") == "github: 2 rows\n"
        case StarterTemplate.MAP_REDUCE:
            assert results["words.txt"].read_text(encoding="utf-8").startswith("the\t4\n")


def offline(folder: Path) -> None:
    """Replace the package by a package on this disk, and use one node, for a single environment."""
    info = "tabulate-0.9.0.dist-info"
    with zipfile.ZipFile(folder / "tabulate-0.9.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(
            "tabulate.py",
            "def tabulate(rows, headers, style):\n    return f'{style}: {len(rows)} rows'\n",
        )
        wheel.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: tabulate\nVersion: 0.9.0\n"
        )
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")
    requirements = folder / "requirements.txt"
    packages = requirements.read_text(encoding="utf-8")
    requirements.write_text(f"--no-index\n--find-links {folder}\n{packages}", encoding="utf-8")
    spec = folder / "run.yaml"
    spec.write_text(spec.read_text(encoding="utf-8").replace("nodes: 2", "nodes: 1"))


def test_the_container_template_can_be_planned_and_names_its_requirements(near: Workplace) -> None:
    done = near.run("init", "start", "--template", "container")
    assert "Tasks in containers need Docker or Podman" in done.out
    planned = near.run("plan", near.folder / "start" / "run.yaml", "-v")
    assert planned.code == 0, planned.text
    assert "python:3.12-slim" in planned.out


def test_existing_files_are_not_overwritten(desk: Workplace) -> None:
    data = desk.folder / "data"
    data.mkdir()
    (data / "orchard.txt").write_text("mine")
    done = desk.run("init")
    assert done.code == 2
    assert "orchard.txt" in done.err
    assert [path.name for path in desk.folder.rglob("*") if path.is_file()] == ["orchard.txt"]
    assert (data / "orchard.txt").read_text() == "mine"


@pytest.mark.parametrize("name", [".gitignore", "batchspec.schema.json"])
def test_existing_files_that_specs_share_are_kept(desk: Workplace, name: str) -> None:
    (desk.folder / name).write_text("mine\n")
    done = desk.run("init", ".", "--template", "sweep")
    assert done.code == 0, done.text
    assert (desk.folder / name).read_text() == "mine\n"
    assert name not in done.out


def test_the_schema_is_printed_or_written(desk: Workplace) -> None:
    assert desk.run("schema").out == schema_text()
    file = desk.folder / "schema.json"
    file.write_text("of an earlier version")
    done = desk.run("schema", "-o", "schema.json")
    assert (done.code, done.out) == (0, "")
    assert file.read_text(encoding="utf-8") == schema_text()
    done = desk.run("schema", "-o", "no/schema.json")
    assert done.code == 2
    assert "no" in done.err


def test_an_unknown_template_is_a_usage_error(desk: Workplace) -> None:
    done = desk.run("init", "--template", "mapreduce")
    assert done.code == 2
    assert "map-reduce" in done.err
    assert list(desk.folder.iterdir()) == []
