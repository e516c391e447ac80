"""``validate`` reads what a spec names, too: files of rows are gone through to their end."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchspec.cli.commands.validate import validate
from batchspec.diagnostics import Exit

SPEC = """\
version: 1
name: demo
pool: {vm_size: standard_d2s_v5, nodes: 1, image: ubuntu-24.04}
job: {max_wall_clock_time: 1h}
tasks:
  sweep:
    for_each: {rows: rows.csv}
    command: echo {{ who }}
"""


@pytest.mark.parametrize(
    ("rows", "code", "said"),
    [
        ("who\nme\nyou\n", Exit.DONE, ": ok"),
        (None, Exit.USAGE, "spec.yaml:7:22: error: the file"),
        ("who\nme\nyou,they\n", Exit.USAGE, "rows.csv:3"),
    ],
)
def test_files_of_rows(
    rows: str | None,
    code: Exit,
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text(SPEC, encoding="utf-8")
    if rows is not None:
        (tmp_path / "rows.csv").write_text(rows, encoding="utf-8")
    assert validate([spec]) == code
    captured = capsys.readouterr()
    assert said in captured.out + captured.err
