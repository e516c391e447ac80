"""The pages of the site: every YAML block is a valid spec, every command is run or says why not."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from batchspec.spec import ValueSources, read_spec
from tests.docs.pages import DOCS, Block, blocks, pages

GENERATED_OR_TESTED = {"spec.md"}
"""Pages whose blocks have a test of their own: ``tests/spec/test_docs.py``."""

BLOCKS = [
    block
    for page in pages()
    if page.relative_to(DOCS).as_posix() not in GENERATED_OR_TESTED
    for block in blocks(page)
]
SPECS = [
    block
    for block in BLOCKS
    if block.language == "yaml" and block.kind not in {"not a spec", "fragment"}
]
REST = {
    "version": 1,
    "name": "example",
    "pool": {"vm_size": "standard_d2s_v5", "nodes": 1, "image": "ubuntu-24.04"},
    "job": {"max_wall_clock_time": "1h"},
    "tasks": {"run": {"command": "echo hello"}},
}
"""The required keys that an example omits."""


def completed(block: Block) -> str:
    """The block with the required keys that it omits, and with the containers that it names."""
    written = yaml.safe_load(block.text)
    rest = {key: value for key, value in REST.items() if key not in written}
    if "containers" not in written:
        rest["containers"] = {name: {} for name in ("application", "input", "output", "parts")}
    return block.text + ("\n" + yaml.safe_dump(rest, sort_keys=False) if rest else "")


@pytest.mark.parametrize("block", SPECS, ids=lambda block: block.where)
def test_a_yaml_block_is_a_valid_spec(block: Block, tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(completed(block), "utf-8")
    parameters = (yaml.safe_load(block.text) or {}).get("parameters", {})
    given = {name: "1" for name, schema in parameters.items() if "default" not in schema}
    read_spec(path, ValueSources(given))


def test_yaml_blocks_that_are_no_specs_can_be_read() -> None:
    for block in BLOCKS:
        if block.language == "yaml" and block not in SPECS:
            assert yaml.safe_load(block.text), block.where


def test_commands_are_in_blocks_that_the_test_finds() -> None:
    shells = {"sh", "bash", "shell", "powershell", "shell-session"}
    wrong = [block.where for block in BLOCKS if block.language in shells and block.kind != "file"]
    assert wrong == []
    fences = sum(page.read_text("utf-8").count("\n```console") for page in pages())
    found = sum(block.language == "console" for page in pages() for block in blocks(page))
    assert found == fences


def test_the_text_before_a_file_contains_its_name() -> None:
    files = [block for block in BLOCKS if block.kind == "file"]
    assert files
    for block in files:
        before = block.page.read_text("utf-8")[: block.start].rpartition("<!-- file:")[0]
        assert f"`{block.value}`" in before.rstrip().rpartition("\n\n")[2], block.where


def test_a_block_that_is_not_run_says_why() -> None:
    assert [block.where for block in BLOCKS if block.kind == "not run" and not block.value] == []
