"""Starter specs: written to new files only, valid, and run unchanged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from batchspec.cli.commands.init import StarterTemplate
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
    assert not list(folder.rglob("__pycache__"))
    valid = desk.run("validate", folder / "run.yaml")
    assert (valid.code, valid.err) == (0, "")


@pytest.mark.parametrize("template", RUNNING, ids=str)
def test_a_template_runs_without_changes(near: Workplace, template: StarterTemplate) -> None:
    assert near.run("init", "start", "--template", template.value).code == 0
    spec = near.folder / "start" / "run.yaml"
    done = near.run("apply", spec)
    assert done.code == 0, done.text
    results = {path.name: path for path in (near.folder / "start" / "results").iterdir()}
    match template:
        case StarterTemplate.ONE_FILE_PER_TASK:
            assert set(results) == {"harbour.txt.measured.txt", "orchard.txt.measured.txt"}
        case StarterTemplate.SWEEP:
            assert len(results) == 5
            result = json.loads(results["growth-2-start-30.json"].read_text(encoding="utf-8"))
            assert result["size"] == pytest.approx(0.5), "the fixed point of growth 2"
        case StarterTemplate.MAP_REDUCE:
            assert results["words.txt"].read_text(encoding="utf-8").startswith("the\t4\n")
    again = near.run("apply", spec)
    assert "Nothing to do" in again.out


@pytest.mark.parametrize("template", RUNNING, ids=str)
def test_an_edited_program_runs_again_on_the_same_nodes(
    near: Workplace, template: StarterTemplate
) -> None:
    assert near.run("init", "start", "--template", template.value).code == 0
    folder = near.folder / "start"
    assert near.run("apply", folder / "run.yaml", "--progress", "quiet").code == 0
    (program,) = (folder / "app").iterdir()
    program.write_text(f"{program.read_text(encoding='utf-8')}\nopen('edited.txt', 'w').close()\n")
    planned = near.run("plan", folder / "run.yaml")
    assert "changed" in planned.out
    done = near.run("apply", folder / "run.yaml", "--progress", "json", "-y")
    assert done.code == 0, done.text
    steps = [e for e in map(json.loads, done.out.splitlines()) if e["type"] == "step_done"]
    assert sum(step["items"] for step in steps if step["verb"] == "submit") >= 2
    assert not any(
        step["verb"] in {"update", "replace"} and step["subject"] == "pool start" for step in steps
    )


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


def test_an_existing_gitignore_is_kept(desk: Workplace) -> None:
    (desk.folder / ".gitignore").write_text("mine\n")
    done = desk.run("init", ".", "--template", "sweep")
    assert done.code == 0, done.text
    assert (desk.folder / ".gitignore").read_text() == "mine\n"
    assert ".gitignore" not in done.out


def test_an_unknown_template_is_a_usage_error(desk: Workplace) -> None:
    done = desk.run("init", "--template", "mapreduce")
    assert done.code == 2
    assert "map-reduce" in done.err
    assert list(desk.folder.iterdir()) == []
