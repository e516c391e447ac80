"""Values that the service documents are accepted: empty commands, a job manager task alone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from batchspec.diagnostics import Place, SpecError
from batchspec.spec import Template, command_line, evaluate, read_spec
from batchspec.spec.sandbox import CONCAT, FILTERS

HEAD = """\
version: 1
name: demo
pool: {vm_size: standard_d2s_v5, nodes: 1, image: ubuntu-hpc-2204, container_images: [tool]}
"""
JOB = "job: {max_wall_clock_time: 1h}\n"
DOCS = Path(__file__).parents[2] / "docs/spec.md"


@pytest.mark.parametrize(
    "stage",
    [
        "{container_image: tool, command: ''}",
        "{container_image: tool, command_line: ''}",
        "{container_settings: {image_name: tool}, command: ''}",
    ],
)
def test_an_empty_command_is_the_entry_point_of_the_image(stage: str, tmp_path: Path) -> None:
    path = tmp_path / "demo.yaml"
    path.write_text(f"{HEAD}{JOB}tasks: {{run: {stage}}}\n", encoding="utf-8")
    (run,) = read_spec(path).stages
    assert command_line(run.command, {}, windows=False) == ""


def test_an_empty_command_without_a_container_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "demo.yaml"
    job = "job: {max_wall_clock_time: 1h, job_manager_task: {id: manager, command_line: ''}}\n"
    path.write_text(f"{HEAD}{job}tasks: {{run: {{command: ''}}}}\n", encoding="utf-8")
    with pytest.raises(SpecError) as caught:
        read_spec(path)
    assert {p.summary for p in caught.value.problems} == {
        "`command` is empty",
        "`command_line` is empty",
    }


def test_a_job_manager_task_needs_no_stages(tmp_path: Path) -> None:
    path = tmp_path / "demo.yaml"
    job = "job: {max_wall_clock_time: 1h, job_manager_task: {id: manager, command_line: ./add}}\n"
    path.write_text(HEAD + job, encoding="utf-8")
    assert read_spec(path).stages == ()


def test_without_a_job_manager_task_stages_are_required(tmp_path: Path) -> None:
    path = tmp_path / "demo.yaml"
    path.write_text(HEAD + JOB, encoding="utf-8")
    with pytest.raises(SpecError, match="`tasks` is missing"):
        read_spec(path)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{{ '%05d' | format(7) }}", "00007"),
        ("{{ '%.2f-%s' | format(1.5, true) }}", "1.50-true"),
        ("{{ '%(name)s!' | format(name='a') }}", "a!"),
        ("{{ 'a' | center(3) }}", " a "),
        ("{{ 2048 | filesizeformat(true) }}", "2.0 KiB"),
    ],
)
def test_filters_of_jinja(source: str, expected: str) -> None:
    assert evaluate(Template(source, Place("f", 1, 1, source)), {}) == expected


@pytest.mark.parametrize(
    "source",
    [
        "{{ '%99999d' | format(7) }}",
        "{{ '%.99999f' | format(7) }}",
        "{{ '%*d' | format(9, 7) }}",
        "{{ ('%1000d' * 2000) | format(7) }}",
        "{{ '%d' | format('x') }}",
        "{{ '%s %s' | format(1) }}",
        "{{ '%(a)s' | format(b=1) }}",
        "{{ '%s' | format([1]) }}",
        "{{ 'a' | center(99999) }}",
    ],
)
def test_filters_of_unsuitable_values_are_errors(source: str) -> None:
    with pytest.raises(SpecError):
        evaluate(Template(source, Place("f", 1, 1, source)), {})


def test_the_documentation_lists_every_filter() -> None:
    text = DOCS.read_text(encoding="utf-8")
    start = text.index("These filters of Jinja2 are available")
    listed = set(re.findall(r"`(\w+)`", text[start : text.index("## Containers", start)]))
    assert listed == set(FILTERS) - {CONCAT, "d"}
