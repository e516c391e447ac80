"""Problems of autoscale formulas have their position in the file, in every style of YAML."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchspec.diagnostics import SpecError
from batchspec.spec import read_spec

HEAD = """\
version: 1
name: demo
pool:
  vm_size: standard_d2s_v5
  image: ubuntu-24.04
  enable_auto_scale: true
"""
TAIL = "job: {max_wall_clock_time: 1h}\ntasks: {run: {command: hostname}}\n"


@pytest.mark.parametrize(
    "formula",
    [
        "$TargetDedicatedNodes = $Wrong;",
        "$TargetDedicatedNodes =\n    1 +\n\n    $Wrong;",
        "'$TargetDedicatedNodes = time(''2026-01-01'').hour + $Wrong;'",
        "'a = 1;\n\n    $TargetDedicatedNodes = time(''2026-01-01'').hour\n    + $Wrong;'",
        '"$TargetDedicatedNodes =\\n time(\\"2026-01-01\\").hour +\\t\\u0020$Wrong;"',
        '"\\x61 = 1;\\\n    $TargetDedicatedNodes = $Wrong;"',
        "|\n    a = 1;\n\n    // Comment.\n      b = 2;\n    $TargetDedicatedNodes = $Wrong;\n",
        "|2-\n      a = 1;\n    $TargetDedicatedNodes = $Wrong;\n\n",
        ">-\n    a = 1;\n    b = 2;\n\n    $TargetDedicatedNodes =\n    $Wrong;",
        "&anchor |\n    $TargetDedicatedNodes = $Wrong;",
        "&anchor '$TargetDedicatedNodes = $Wrong;'",
        '!!str "$TargetDedicatedNodes = $Wrong;"',
        "&anchor !!str $TargetDedicatedNodes = $Wrong;",
        '|\n    a = 1;\n    $TargetDedicatedNodes = {{ "10" }} + $Wrong;',
    ],
)
def test_the_position_is_that_in_the_file(formula: str, tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text(f"{HEAD}  auto_scale_formula: {formula}\n{TAIL}")
    with pytest.raises(SpecError) as caught:
        read_spec(path)
    (problem,) = caught.value.problems
    where = problem.where
    assert (problem.code, where is None) == ("formula-unknown", False)
    line = path.read_text().splitlines()[where.line - 1]
    assert line[where.column - 1 :][: where.length] == "$Wrong"


def test_a_warning_does_not_stop_a_spec(tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text(f"{HEAD}  auto_scale_formula: $TargetDedicated = 2\n{TAIL}")
    (warning,) = read_spec(path).warnings
    assert (warning.code, warning.severity) == ("formula-old-name", "warning")
