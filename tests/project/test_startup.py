"""Imports of a command: no Azure SDK for help and validate, and pydantic for none."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from batchspec import local

ROOT = Path(__file__).parents[2]
LATE = ("azure", "aiohttp", "uvicorn", "cryptography", "msal", "asyncio", "pydantic", "rich")
SELDOM = ("jinja2", "jsonschema", "jsonschema_rs", "statistics")
"""What only a spec with filters in its templates, with more of JSON Schema, or with an autoscale
formula needs. The functions of formulas import ``statistics``."""


@pytest.mark.parametrize(
    "arguments",
    [["--version"], ["--help"], ["apply", "--help"], ["validate", "specs/topn.yaml"], ["schema"]],
    ids=" ".join,
)
def test_offline_commands_import_no_client(arguments: list[str]) -> None:
    assert imported(arguments, LATE) == "0 []"


def test_validate_imports_nothing_of_steps_accounts_and_runs() -> None:
    packages = ("api.session", "apply.executor", "cloud", "local", "plan.build", "plan.actions")
    unneeded = tuple(f"batchspec.{name}" for name in (*packages, "plan.cost", "pricing", "render"))
    assert imported(["validate", "specs/topn.yaml"], unneeded) == "0 []"


def test_a_plan_imports_nothing_of_a_start_and_of_runs(
    shared_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("specs", "task_app"):
        shutil.copytree(ROOT / name, tmp_path / name)
    local.start(shared_home)
    monkeypatch.setenv("BATCHSPEC_LOCAL_HOME", str(shared_home))
    unneeded = (
        "apply.executor",
        "apply.monitor",
        "local.agent",
        "local.azurite",
        "local.daemon.client_access",
        "local.wire",
        "observe.failures",
        "observe.task_output",
        "plan.attach",
        "render.questions",
        "render.report",
    )
    modules = (*SELDOM, *(f"batchspec.{name}" for name in unneeded))
    plan = ["plan", str(tmp_path / "specs" / "topn.yaml")]
    assert imported(plan, (*modules, "azure.core", "azure.mgmt")) == "0 ['azure.core']"


def test_a_simple_spec_is_read_without_optional_libraries() -> None:
    assert imported(["validate", "specs/topn.yaml"], SELDOM) == "0 []"
    assert imported(["validate", "specs/range.yaml"], SELDOM) == "0 ['jinja2']"


def test_the_end_of_a_command_collects_no_garbage() -> None:
    program = """
import atexit, gc, sys
sys.argv = ["batchspec", "--version"]
atexit.register(lambda: print(gc.get_freeze_count() > 10_000))
from batchspec.cli.main import main
main()
"""
    line = [sys.executable, "-c", program]
    done = subprocess.run(line, cwd=ROOT, text=True, capture_output=True, check=True)
    assert done.stdout.splitlines()[-1] == "True"


def imported(arguments: list[str], late: tuple[str, ...]) -> str:
    """The exit code of a command, and which of these libraries and modules it loaded."""
    program = f"""
import sys
sys.argv = ["batchspec", *{arguments!r}]
from batchspec.cli.main import main
try:
    code = main()
except SystemExit as end:
    code = end.code
late = sorted(sys.modules.keys() & set({late!r}))
print(code or 0, late, file=sys.stderr)
"""
    line = [sys.executable, "-c", program]
    done = subprocess.run(line, cwd=ROOT, text=True, capture_output=True, check=False)
    return "".join(done.stderr.splitlines()[-1:])
