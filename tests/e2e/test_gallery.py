"""Every spec of the gallery is valid, expanded and planned, and runs to its end if it can run here.

All share one service. What a spec needs (a container, a pool, a package) is created as its header
describes. After the run, the same spec has nothing to do.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from batchspec import local
from batchspec.local.agent import ContainerEngine, NoContainerEngineError
from tests.cli.conftest import Inside
from tests.e2e.conftest import ROOT, Workplace, clean_environ
from tests.e2e.gallery import CASES, KEY, Case, Without

SPECS = sorted(path.stem for path in (ROOT / "specs").glob("*.yaml"))
RUN = {name: case for name, case in CASES.items() if isinstance(case, Case)}
APART = [name for name in SPECS if isinstance(CASES.get(name), Without)]


@pytest.fixture(scope="module")
def gallery(
    azurite_installed: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Workplace]:
    """A copy of the gallery and a service for all of it; commands run in this process."""
    folder = tmp_path_factory.mktemp("gallery")
    home = folder / "home"
    for part in ("specs", "task_app"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns(".batchspec"))
    place = Inside(folder, home, clean_environ({"BATCHSPEC_LOCAL_HOME": str(home)}))
    try:
        yield place
    finally:
        local.stop(home)


def spec_of(place: Workplace, name: str) -> Path:
    return place.folder / "specs" / f"{name}.yaml"


def found(folder: Path) -> dict[str, str]:
    """The files below a folder: content by path."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_text("utf-8") for path in files}


def test_the_table_has_every_spec() -> None:
    assert set(CASES) == set(SPECS)


def test_the_overview_has_every_spec() -> None:
    text = (ROOT / "specs" / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| \[(\S+)\.yaml\]\(\1\.yaml\) \|", text, re.MULTILINE)
    assert sorted(listed) == SPECS


@pytest.mark.parametrize("name", [name for name in SPECS if not name.startswith("topn")])
def test_the_header_states_when_to_use_it(name: str) -> None:
    text = (ROOT / "specs" / f"{name}.yaml").read_text(encoding="utf-8")
    head = text.partition("\nversion:")[0]
    assert "# When to use it: " in head
    assert "# What it shows: " in head
    assert yaml.safe_load(text)["name"] == name


@pytest.mark.parametrize("name", SPECS)
def test_it_is_valid_and_its_expansion_is_equivalent(gallery: Workplace, name: str) -> None:
    spec = spec_of(gallery, name)
    case = CASES[name]
    given = case.given if isinstance(case, Case) else ()
    validated = gallery.run("validate", spec, *given)
    assert validated.code == 0, validated.text
    first = gallery.run("config", spec, *given)
    assert first.code == 0, first.text
    assert KEY not in first.text
    if given:
        return  # A secret is not written, so the written spec needs it again.
    written = spec.with_name(f"{name}.written.yaml")
    written.write_text(first.out, encoding="utf-8")
    again = gallery.run("config", written)
    assert again.code == 0, again.text
    assert again.out == first.out


@pytest.mark.parametrize("name", APART)
def test_a_spec_that_is_not_run_can_be_planned(gallery: Workplace, name: str) -> None:
    case = CASES[name]
    if case.first is not None:
        case.first(gallery)
    done = gallery.run("plan", spec_of(gallery, name))
    assert done.code == 0, done.text
    assert "Plan: " in done.out


def test_containers_are_refused_without_a_container_engine(gallery: Workplace) -> None:
    try:
        ContainerEngine(os.environ).check()
    except NoContainerEngineError:
        done = gallery.run("apply", spec_of(gallery, "container-image"), "-y")
        assert done.code == 4, done.text
        assert "no container engine answers: docker: " in " ".join(done.text.split())
    else:
        pytest.skip("a container engine answers, and would ask a registry for the image")


@pytest.mark.parametrize("name", RUN)
def test_it_runs_and_a_second_apply_has_nothing_to_do(gallery: Workplace, name: str) -> None:
    case, spec = RUN[name], spec_of(gallery, name)
    if case.first is not None:
        case.first(gallery)
    done = gallery.run("apply", spec, *case.given, "--progress", "quiet")
    assert done.code == 0, done.text
    assert KEY not in done.text
    assert found(gallery.folder / "results" / name) == case.results
    again = gallery.run("apply", spec, *case.given)
    assert again.code == 0, again.text
    assert "\nNothing to do: everything is up to date and all tasks have succeeded.\n" in again.out
    assert KEY not in again.text
    assert found(gallery.folder / "results" / name) == case.results


ENDS = {
    "satisfied": ("code=3", {"report.txt": "checked\n"}),
    "blocked": ("code=5", {}),
    "hopeless": ("code=20", {}),
}


@pytest.mark.parametrize(("given", "expected"), ENDS.values(), ids=ENDS)
def test_exit_codes_mean_what_the_spec_says(
    gallery: Workplace, given: str, expected: dict[str, str]
) -> None:
    """Each run ends before the limit of the job; objects of other runs are deleted before."""
    spec = spec_of(gallery, "exit-codes")
    gallery.run("destroy", spec, "-y", "--force", "--progress", "quiet")
    shutil.rmtree(gallery.folder / "results" / "exit-codes", ignore_errors=True)
    done = gallery.run("apply", spec, "--var", given, "--progress", "quiet")
    assert done.code == 3, done.text
    assert found(gallery.folder / "results" / "exit-codes") == expected


def test_what_helps_to_understand_a_failure_is_kept(gallery: Workplace) -> None:
    spec = spec_of(gallery, "outputs")
    gallery.run("destroy", spec, "-y", "--force", "--progress", "quiet")
    shutil.rmtree(gallery.folder / "results" / "outputs", ignore_errors=True)
    done = gallery.run("apply", spec, "--var", "divisor=0", "--progress", "quiet")
    assert done.code == 3, done.text
    assert found(gallery.folder / "results" / "outputs") == {
        "faults/100/state.json": '{"a": 100, "b": 0}\n',
        "faults/700/state.json": '{"a": 700, "b": 0}\n',
        "journals/100.log": "dividing 100 by 0\n",
        "journals/700.log": "dividing 700 by 0\n",
    }


@pytest.mark.parametrize("rule", ["always", "on_success", "never"])
def test_cleanup_deletes_what_its_rule_says(gallery: Workplace, rule: str) -> None:
    spec = spec_of(gallery, "cleanup")
    gallery.run("destroy", spec, "-y", "--force", "--progress", "quiet")
    done = gallery.run("apply", spec, "--var", f"rule={rule}", "--progress", "quiet")
    assert done.code == 0, done.text
    there = re.findall(r"^(?:pool|job) +cleanup ", gallery.run("list").out, re.MULTILINE)
    assert len(there) == (2 if rule == "never" else 0)
