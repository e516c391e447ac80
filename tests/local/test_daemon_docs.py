"""``docs/local.md`` is correct: its Python code runs, and it lists all errors and variables."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from batchspec import local
from batchspec.local.fault_injection import (
    DEFAULT_DURATIONS,
    PROFILES,
    FaultKind,
    QuotaKind,
    format_duration,
)
from batchspec.local.settings import ALLOCATION, CHAOS, HTTPS, SEED, SPEED, TrustFiles

HOME = "BATCHSPEC_LOCAL_HOME"
"""The variable of the service, not of its clients."""
ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/local.md").read_text()
PYTHON = [
    block
    for block in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    if "FileCredential" not in block  # tests/local/test_entra_only.py runs it
]


def test_the_python_code_of_the_page_runs(
    local_home: local.Endpoints,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert len(PYTHON) == 4
    for name, value in local.variables(local_home).items():
        monkeypatch.setenv(name, value)
    defined: dict[str, Any] = {}
    for block in PYTHON:
        exec(compile(block, "docs/local.md", "exec"), defined)
    defined["test_a_task"](local_home)
    printed = capsys.readouterr().out.splitlines()
    assert printed[:2] == ["[]", "[]"]
    assert printed[2].startswith("http://127.0.0.1:")
    assert printed[3] == "1000000 1000000"
    assert "Standard_D2s_v5" in printed[4]


def test_the_page_lists_every_error_code() -> None:
    codes = {
        code
        for folder in ("azurite", "daemon", "chaos", ".")
        for file in (ROOT / "batchspec/local" / folder).glob("*.py")
        for code in re.findall(r'LocalError\(\s*"([a-z-]+)"', file.read_text())
    } | {"registry-unreachable", "registry-untrusted", "registry-refused"}
    assert len(codes) > 25
    listed = set(re.findall(r"`([a-z]+(?:-[a-z]+)+)`", TEXT.partition("## Errors at the start")[2]))
    assert listed == codes


def test_the_page_lists_every_client_variable(local_home: local.Endpoints) -> None:
    chapter = TEXT.partition("## Other clients")[2].partition("\n### HTTPS\n")[0]
    listed = set(re.findall(r"`([A-Z][A-Z_]+)`", chapter))
    trust = set(TrustFiles(Path("a"), Path("b")).variables())
    assert listed - {HOME} == {*local.variables(local_home), *trust}


def test_the_page_lists_every_file_of_the_data_folder(local_home: local.Endpoints) -> None:
    for file in local_home.data.iterdir():
        pattern = "*.lock" if file.suffix == ".lock" else file.name
        assert f"`{pattern}{'/' if file.is_dir() else ''}`" in TEXT, file.name


def test_the_page_lists_every_fault_and_profile() -> None:
    chapter = TEXT.partition("## Fault injection")[2].partition("\n## ")[0]
    items = re.findall(r"^\| `([a-z-]+)=[^`]*` \|", chapter, re.MULTILINE)
    assert sorted(items) == sorted([*FaultKind, *QuotaKind, "transition"])
    for kind, span in DEFAULT_DURATIONS.items():
        assert re.search(
            rf"^\| `{kind}=.*{format_duration(span).rstrip('s')} ?s", chapter, re.MULTILINE
        )
    profiles = dict(re.findall(r"^\| `([a-z-]+)` \| `(.*)` \|$", chapter, re.MULTILINE))
    assert profiles == PROFILES


def test_the_page_lists_every_variable_of_the_simulation() -> None:
    for name in (SPEED, ALLOCATION, CHAOS, SEED):
        assert f"`{name}`" in TEXT
    assert f"`{HTTPS}=1`" in TEXT


def test_windows_is_rejected_with_its_own_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "win32")
    with pytest.raises(local.LocalError) as caught:
        local.start()
    assert caught.value.code == "unsupported-platform"
