"""The specs of the repository are valid, and the tutorial is the example of the language."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from batchspec.plan import check_offline
from batchspec.spec import ValueSources, read_spec

ROOT = Path(__file__).parents[2]
SPECS = sorted((ROOT / "specs").glob("*.yaml"))
STARTERS = sorted((ROOT / "batchspec" / "cli" / "templates").glob("*/run.yaml"))
LANGUAGE = ROOT.parent / "shared" / "SPEC.md"
TUTORIAL = ROOT / "specs" / "topn.yaml"
NOW = datetime(2026, 3, 1, tzinfo=UTC)

# The one difference: in the example, the signed URL is an argument of the program, and so in a
# command line that other users of the node can list.
ARGUMENT = " {{ containers.output.write_url }}\n"
ENVIRONMENT = """
    env: {OUTPUT_URL: "{{ containers.output.write_url }}"}  # others can list command lines
"""


def test_the_tutorial_is_the_example_of_the_language() -> None:
    if not LANGUAGE.exists():
        pytest.skip("the description of the language is not available")
    (example,) = re.findall(r"```yaml\n(.*?)```", LANGUAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert example.count(ARGUMENT) == 1
    assert TUTORIAL.read_text(encoding="utf-8") == example.replace(ARGUMENT, ENVIRONMENT)


@pytest.mark.parametrize("spec", SPECS, ids=lambda path: path.name)
def test_the_first_line_names_the_schema_for_editors(spec: Path) -> None:
    first = spec.read_text(encoding="utf-8").partition("\n")[0]
    (schema,) = re.findall(r"^# yaml-language-server: \$schema=(\S+)$", first)
    assert (spec.parent / schema).exists()


GIVEN = {"secret.yaml": {"signing_key": "0123456789abcdef"}}
"""Values of parameters without a default."""


@pytest.mark.parametrize("spec", SPECS, ids=lambda path: path.name)
def test_every_spec_is_valid(spec: Path) -> None:
    assert not read_spec(spec, ValueSources(GIVEN.get(spec.name, {}))).warnings


@pytest.mark.parametrize("spec", [*SPECS, *STARTERS], ids=lambda path: path.parent.name + path.name)
def test_no_command_contains_a_signed_url_or_a_secret(spec: Path) -> None:
    checked = read_spec(spec, ValueSources(GIVEN.get(spec.name, {})))
    found = check_offline(checked, dict.fromkeys(checked.containers, ()), NOW, tasks=False)
    assert "secret-in-command" not in {problem.code for problem in found}


def test_robocopy_fails_from_exit_code_8() -> None:
    """Codes below 8 are success; `cmd` would treat 1 (files were copied) as a failure."""
    windows = yaml.safe_load((ROOT / "specs" / "topn-windows.yaml").read_text(encoding="utf-8"))
    command = windows["pool"]["start_task"]["command"]
    copy, _, rule = command.partition(" & ")
    assert copy.startswith("robocopy ")
    assert rule == "if not errorlevel 8 exit 0"
