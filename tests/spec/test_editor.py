"""What an editor makes of the schema, by the YAML language server that editors really use."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from batchspec.local.azurite import find_nodejs
from batchspec.local.settings import Settings
from tests.interop.conftest import _run, installed
from tests.spec.editor.client import Editor, opened

# The first test installs the language server, which counts as a part of it.
pytestmark = pytest.mark.timeout(600)

HERE = Path(__file__).parent
SCHEMA = HERE.parents[1] / "schemas" / "batchspec.schema.json"
GOOD = sorted((HERE / "good").glob("*.yaml"))

START = """\
version: 1
name: demo
pool:
  vm_size: standard_d2s_v5
  nodes: 1
  image: ubuntu-24.04
"""


@pytest.fixture(scope="module")
def editor(azurite_installed: Path) -> Iterator[Editor]:
    """The language server, installed once; skipped where its registry cannot be reached."""
    del azurite_installed  # asked for because it skips where there is no Node.js
    settings = Settings.read(os.environ)
    node = find_nodejs(settings)
    lock = HERE / "editor" / "package-lock.json"

    def fill(folder: Path) -> None:
        for name in ("package.json", "package-lock.json", ".npmrc"):
            shutil.copyfile(lock.with_name(name), folder / name)
        npm = [str(node.executable), str(node.npm(settings.path))]
        options = ["--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1"]
        _run([*npm, "ci", *options, f"--cache={folder / 'cache'}"], folder)
        shutil.rmtree(folder / "cache")

    folder = installed("editor", lock.read_bytes(), fill)
    program = folder / "node_modules/yaml-language-server/bin/yaml-language-server"
    with opened([str(node.executable), str(program), "--stdio"], SCHEMA) as found:
        yield found


@pytest.mark.parametrize("path", GOOD, ids=[path.stem for path in GOOD])
def test_a_valid_spec_has_no_diagnostics(editor: Editor, path: Path) -> None:
    if path.stem == "yaml":
        pytest.skip("contains values that a spec and YAML 1.2 interpret differently, on purpose")
    assert editor.diagnostics(path.read_text("utf-8")) == []


def test_keys_of_a_section_are_offered(editor: Editor) -> None:
    offered = editor.completion(START + "  ^\n")
    assert {"start_task", "task_slots_per_node", "container_images", "lifetime"} <= set(offered)
    assert "vm_size" not in offered, "is there already"


def test_top_level_keys_are_offered(editor: Editor) -> None:
    offered = editor.completion(START + "^\n")
    assert {"containers", "job", "tasks", "results", "cleanup"} <= set(offered)


def test_keys_of_a_stage_are_offered(editor: Editor) -> None:
    offered = editor.completion(START + "tasks:\n  count:\n    ^\n")
    assert {"command", "for_each", "needs", "outputs", "exit_conditions"} <= set(offered)


def test_choices_are_offered(editor: Editor) -> None:
    offered = editor.completion(START + "cleanup:\n  pool: ^\n")
    assert {"always", "on_success", "never", "ask"} <= set(offered)


def test_examples_are_offered(editor: Editor) -> None:
    assert "30m" in " ".join(editor.completion(START + "job:\n  max_wall_clock_time: ^\n"))


def test_a_key_is_explained(editor: Editor) -> None:
    shown = editor.hover(START.replace("nodes", "^nodes"))
    assert "number of nodes" in shown
    assert "target_dedicated_nodes" in shown.replace("\\", "")


def test_a_property_of_the_sdk_has_its_description(editor: Editor) -> None:
    shown = editor.hover(START + "  task_slots_per_^node: 2\n")
    assert "The number of task slots" in shown


def test_a_misspelled_key_is_reported(editor: Editor) -> None:
    (shown,) = editor.diagnostics(
        START + "  task_slots: 2\njob: {max_wall_clock_time: 1h}\ntasks: {run: {command: echo}}\n"
    )
    assert shown.startswith("8: ")
    assert "task_slots" in shown


def test_an_invalid_choice_is_reported(editor: Editor) -> None:
    shown = editor.diagnostics(
        START + "job: {max_wall_clock_time: 1h}\ntasks: {run: {command: echo}}\n"
        "cleanup:\n  pool: later\n"
    )
    assert [line for line in shown if line.startswith("11: ")]
