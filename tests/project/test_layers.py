"""The import contracts of pyproject.toml are kept."""

from __future__ import annotations

import ast
import logging
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

ROOT = Path(__file__).parents[2]
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"][
    "contracts"
]


@pytest.fixture
def _loggers_stay_enabled() -> Iterator[None]:
    """import-linter disables all existing loggers, also those that later tests read."""
    names = list(logging.root.manager.loggerDict)
    before = {name: logging.getLogger(name).disabled for name in names}
    yield
    for name, disabled in before.items():
        logging.getLogger(name).disabled = disabled


@pytest.mark.usefixtures("_loggers_stay_enabled")
def test_the_contracts_are_kept(monkeypatch: object, capsys: object) -> None:
    found = lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True)
    assert found == EXIT_STATUS_SUCCESS, "run lint-imports to see what is broken"


def test_the_contracts_name_every_package() -> None:
    """A package that a `forbidden` contract omits may import what it should not."""
    packages = {
        f"batchspec.{path.stem}"
        for path in (ROOT / "batchspec").iterdir()
        if (path.is_dir() and (path / "__init__.py").exists()) or path.suffix == ".py"
    } - {"batchspec.__init__"}
    library_contracts = [c for c in CONTRACTS if "-in-" in c["id"]]
    assert len(library_contracts) == 5
    for contract in library_contracts:
        allowed = "batchspec." + contract["id"].rpartition("-in-")[2]
        assert set(contract["source_modules"]) == packages - {allowed}, contract["id"]
    (alone,) = [c for c in CONTRACTS if c["id"] == "local-alone"]
    # The client and the service share the language of formulas, and the facts about Azure.
    names = ("autoscale", "catalog", "frozen", "lazy_imports", "property_rules")
    shared = {f"batchspec.{name}" for name in names}
    allowed_packages = {"batchspec.local", *shared}
    assert set(alone["forbidden_modules"]) == packages - allowed_packages


BEHIND_FACES = {
    ("__main__", "daemon.serve"): "only the process of the daemon imports it",
    ("control_plane", "api.autoscale"): "both planes change pools by the same functions",
    ("control_plane", "api.pools"): "both planes change pools by the same functions",
    ("control_plane", "api.resources"): "both planes change pools by the same functions",
}
"""Modules of the embedded service that another of its packages imports, each with the reason."""


def test_packages_of_the_embedded_service_import_from_faces() -> None:
    folder = ROOT / "batchspec" / "local"
    found = set()
    for path in folder.rglob("*.py"):
        own = path.relative_to(folder).with_suffix("").parts[0]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module is not None:
                name = node.module.removeprefix("batchspec.local.")
                package, inside, _ = name.partition(".")
                if name != node.module and inside and package != own:
                    found.add((own, name))
    assert found == BEHIND_FACES.keys()
