"""What a command imports before it knows that it needs it: no Azure SDK for help and validate."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LATE = ("azure", "aiohttp", "uvicorn", "cryptography", "msal")


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["apply", "--help"], ["validate", "specs/topn.yaml"], ["schema"]],
    ids=" ".join,
)
def test_offline_commands_import_no_client(arguments: list[str]) -> None:
    program = f"""
import sys
sys.argv = ["batchspec", *{arguments!r}]
from batchspec.cli.main import main
try:
    code = main()
except SystemExit as end:
    code = end.code
late = sorted(name for name in sys.modules if name.partition(".")[0] in {LATE!r})
print(code or 0, late[:9], file=sys.stderr)
"""
    line = [sys.executable, "-c", program]
    done = subprocess.run(line, cwd=ROOT, text=True, capture_output=True, check=False)
    assert done.stderr.splitlines()[-1:] == ["0 []"], done.stderr
