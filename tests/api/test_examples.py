"""The examples of docs/python-api.md for other tools, with stand-ins for their decorators.

The tools take minutes to install; the page itself is run by tests/docs.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from tests.docs.pages import DOCS, ROOT, blocks
from tests.e2e.conftest import Workplace

FILES = {
    block.value: block.text for block in blocks(DOCS / "python-api.md") if block.kind == "file"
}
NOTEBOOK = DOCS / "examples" / "squares.ipynb"


@pytest.fixture
def folder(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the spec of the page, which is the current folder."""
    monkeypatch.chdir(place.folder)
    (place.folder / "run.yaml").write_text(FILES["run.yaml"], "utf-8")
    return place.folder


def run(name: str, folder: Path) -> dict[str, Any]:
    """The names that a program defines."""
    names: dict[str, Any] = {"__file__": str(folder / name), "__name__": "example"}
    exec(compile(FILES[name], name, "exec"), names)
    return names


def test_a_task_of_airflow(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    returned = []

    def task(function: Callable[..., Any] | None = None, **_: object) -> Any:
        if function is None:
            return task

        def call(*args: Any, **kwargs: Any) -> Any:
            returned.append(function(*args, **kwargs))
            return returned[-1]

        return call

    sdk = ModuleType("airflow.sdk")
    sdk.__dict__.update(task=task, dag=lambda **_: lambda function: function)
    monkeypatch.setitem(sys.modules, "airflow", ModuleType("airflow"))
    monkeypatch.setitem(sys.modules, "airflow.sdk", sdk)
    run("airflow_dag.py", folder)
    assert returned[-1] == 0 + 1 + 4


def test_an_asset_of_dagster(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dagster = ModuleType("dagster")
    dagster.__dict__.update(
        Config=object,
        AssetExecutionContext=object,
        MaterializeResult=SimpleNamespace,
        asset=lambda function: function,
    )
    monkeypatch.setitem(sys.modules, "dagster", dagster)
    lines: list[str] = []
    context = SimpleNamespace(log=SimpleNamespace(info=lines.append))
    asset = run("dagster_assets.py", folder)["squares"]
    assert asset(context, SimpleNamespace(count=3)).metadata["results"] == 3
    assert "submit tasks of square" in lines


def test_the_cells_of_the_notebook(folder: Path) -> None:
    names: dict[str, Any] = {}
    cells = json.loads(NOTEBOOK.read_text("utf-8"))["cells"]
    for cell in cells:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            exec("".join(cell["source"]), names)
    assert names["report"].tasks.succeeded == 5
    assert len(list((folder / "results").glob("*.txt"))) == 5


def test_examples_import_only_public_modules() -> None:
    programs = [text for name, text in FILES.items() if name.endswith(".py")]
    programs.append(NOTEBOOK.read_text("utf-8"))
    lines = [line.strip() for text in programs for line in text.splitlines()]
    imports = {line for line in lines if line.startswith(("import batchspec", "from batchspec"))}
    assert imports == {
        "import batchspec",
        "from batchspec import events",
        "from batchspec import aio, events",
    }


def test_the_reference_is_up_to_date() -> None:
    command = [sys.executable, "tools/generate_python_reference.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
