"""The specs of the repository: valid, and the tutorial as the language states it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from batchspec.spec import read_spec

ROOT = Path(__file__).parents[2]
SPECS = sorted((ROOT / "specs").glob("*.yaml"))
LANGUAGE = ROOT.parent / "shared" / "SPEC.md"


def test_the_tutorial_is_the_language_s_own_example() -> None:
    if not LANGUAGE.exists():
        pytest.skip("the statement of the language does not lie beside the project")
    (example,) = re.findall(r"```yaml\n(.*?)```", LANGUAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert (ROOT / "specs" / "topn.yaml").read_text(encoding="utf-8") == example


@pytest.mark.parametrize("spec", SPECS, ids=lambda path: path.name)
def test_the_first_line_names_the_schema_for_editors(spec: Path) -> None:
    first = spec.read_text(encoding="utf-8").partition("\n")[0]
    (schema,) = re.findall(r"^# yaml-language-server: \$schema=(\S+)$", first)
    assert (spec.parent / schema).exists()


GIVEN = {"secret.yaml": {"signing_key": "0123456789abcdef"}}
"""Parameters without a default; everything else of a spec stands in it."""


@pytest.mark.parametrize("spec", SPECS, ids=lambda path: path.name)
def test_every_spec_is_valid(spec: Path) -> None:
    assert not read_spec(spec, variables=GIVEN.get(spec.name, {})).warnings


def test_robocopy_s_exit_codes_are_read_as_it_means_them() -> None:
    """Below 8 it tells what it did; `cmd` would take 1 (files were copied) for a failure."""
    windows = yaml.safe_load((ROOT / "specs" / "topn-windows.yaml").read_text(encoding="utf-8"))
    command = windows["pool"]["start_task"]["command"]
    copy, _, rule = command.partition(" & ")
    assert copy.startswith("robocopy ")
    assert rule == "if not errorlevel 8 exit 0"
