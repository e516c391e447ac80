"""The specs of the repository are valid, and the tutorial is the example of the language."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from batchspec.spec import read_spec

ROOT = Path(__file__).parents[2]
SPECS = sorted((ROOT / "specs").glob("*.yaml"))
LANGUAGE = ROOT.parent / "shared" / "SPEC.md"


def test_the_tutorial_is_the_example_of_the_language() -> None:
    if not LANGUAGE.exists():
        pytest.skip("the description of the language is not available")
    (example,) = re.findall(r"```yaml\n(.*?)```", LANGUAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert (ROOT / "specs" / "topn.yaml").read_text(encoding="utf-8") == example


@pytest.mark.parametrize("spec", SPECS, ids=lambda path: path.name)
def test_the_first_line_names_the_schema_for_editors(spec: Path) -> None:
    first = spec.read_text(encoding="utf-8").partition("\n")[0]
    (schema,) = re.findall(r"^# yaml-language-server: \$schema=(\S+)$", first)
    assert (spec.parent / schema).exists()


GIVEN = {"secret.yaml": {"signing_key": "0123456789abcdef"}}
"""Values of parameters without a default."""


@pytest.mark.parametrize("spec", SPECS, ids=lambda path: path.name)
def test_every_spec_is_valid(spec: Path) -> None:
    assert not read_spec(spec, variables=GIVEN.get(spec.name, {})).warnings


def test_robocopy_fails_from_exit_code_8() -> None:
    """Codes below 8 are success; `cmd` would treat 1 (files were copied) as a failure."""
    windows = yaml.safe_load((ROOT / "specs" / "topn-windows.yaml").read_text(encoding="utf-8"))
    command = windows["pool"]["start_task"]["command"]
    copy, _, rule = command.partition(" & ")
    assert copy.startswith("robocopy ")
    assert rule == "if not errorlevel 8 exit 0"
