"""The schema in an editor, checked with the YAML language server that editors use."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from batchspec.cli.commands.init import StarterTemplate, init
from batchspec.local.azurite import find_nodejs
from batchspec.local.settings import Settings
from tests.interop.conftest import _run, installed
from tests.spec.editor.client import Editor, opened

# The first test installs the language server, which counts as a part of it.
pytestmark = pytest.mark.timeout(600)

HERE = Path(__file__).parent
SCHEMA = HERE.parents[1] / "schemas" / "batchspec.schema.json"
STORE = SCHEMA.parent / "schemastore"
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
def server(azurite_installed: Path) -> tuple[Path, Path]:
    """Node.js and the installed language server; skipped if npm's registry cannot be reached."""
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
    return node.executable, folder / "node_modules"


@pytest.fixture(scope="module")
def editor(server: tuple[Path, Path]) -> Iterator[Editor]:
    node, modules = server
    program = modules / "yaml-language-server" / "bin" / "yaml-language-server"
    with opened([str(node), str(program), "--stdio"], SCHEMA) as found:
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


def test_a_description_has_a_link_to_the_reference(editor: Editor) -> None:
    shown = editor.hover(START + "  network_^configuration: {}\n")
    assert "\nhttps://learn.microsoft.com/rest/api/batchservice/pools/create-pool\n" in shown


@pytest.mark.parametrize("template", StarterTemplate, ids=str)
def test_a_starter_spec_is_checked_by_the_schema_next_to_it(
    editor: Editor, tmp_path: Path, template: StarterTemplate
) -> None:
    assert init(tmp_path, template) == 0
    spec = tmp_path / "run.yaml"
    assert editor.diagnostics_of(spec) == []
    broken = tmp_path / "broken.yaml"
    broken.write_text(spec.read_text("utf-8").replace("vm_size:", "vmsize:"), encoding="utf-8")
    assert [line for line in editor.diagnostics_of(broken) if "vmsize" in line]


AJV = """
const fs = require("fs");
const Ajv = require("ajv");
const { options } = JSON.parse(fs.readFileSync(process.argv[2]));
const ajv = new Ajv({ strict: false });
ajv.addVocabulary(options[0]["batchspec.json"].unknownKeywords);
const validate = ajv.compile(JSON.parse(fs.readFileSync(process.argv[3])));
const YAML = require("yaml");
for (const file of process.argv.slice(4)) {
  console.log(validate(YAML.parse(fs.readFileSync(file, "utf-8"))));
}
"""


def test_ajv_accepts_and_rejects_the_data_of_schemastore(
    server: tuple[Path, Path], tmp_path: Path
) -> None:
    """SchemaStore checks an entry with Ajv, which is a part of the language server."""
    node, modules = server
    script = tmp_path / "check.js"
    script.write_text(AJV, encoding="utf-8")
    good, bad = (sorted((STORE / name).glob("*.yaml")) for name in ("test", "negative_test"))
    settings = STORE / "schema-validation.json"
    line = [node, script, settings, SCHEMA, *good, *bad]
    environ = {**os.environ, "NODE_PATH": str(modules)}
    done = subprocess.run(line, env=environ, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout.split() == ["true"] * len(good) + ["false"] * len(bad)
