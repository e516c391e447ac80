"""Commands and options have help texts and documentation; messages name only existing commands."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from inspect import getdoc
from pathlib import Path

import pytest
from typer.testing import CliRunner
from typer.utils import get_params_from_function

from batchspec.cli.command_line import CommandLine
from batchspec.cli.commands.local import local_commands
from batchspec.cli.commands.package import package_commands
from batchspec.cli.main import app
from batchspec.exit_codes import Exit

ROOT = Path(__file__).parents[2]
CLI = ROOT.parent / "shared" / "CLI.md"
NAMED = re.compile(r"(?:`|^|: |\s{2})batchspec ((?:local |package )?[a-z]+)((?: (?!`)[^\s`]+)*)")
PROSE = {"deletes", "itself", "needs", "never", "reads", "runs"}
"""Words that follow "batchspec" in sentences."""
PENDING: set[str] = set()
"""Commands of the interface that are not implemented; an implemented one must leave this set."""
PENDING_OPTIONS: dict[str, set[str]] = {}
"""Options of the interface that are not implemented; an implemented one must leave this map."""


def commands(group: CommandLine = app, before: str = "") -> Iterator[tuple[str, set[str]]]:
    """Every command, and its options."""
    for name, function in group.functions.items():
        params = get_params_from_function(function).values()
        options = {flag for p in params for flag in getattr(p.default, "param_decls", ()) or ()}
        yield before + name, options
    for inner in group.registered_groups:
        assert isinstance(inner.typer_instance, CommandLine)
        yield from commands(inner.typer_instance, f"{before}{inner.name} ")


COMMANDS = {**dict(commands()), "local": set[str](), "package": set[str]()}


def texts() -> Iterator[tuple[str, str]]:
    """Every string in the code and every page of the documentation, with its place."""
    for path in sorted((ROOT / "batchspec").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield f"{path.relative_to(ROOT)}:{node.lineno}", node.value
    for path in [*(ROOT / "docs").glob("*.md"), *(ROOT / "batchspec").rglob("*.yaml")]:
        yield path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")


def test_no_message_names_a_command_that_does_not_exist() -> None:
    wrong, found = [], 0
    for where, text in texts():
        for match in NAMED.finditer(text):
            if match[1] in PROSE:
                continue
            found += 1
            name, rest = match[1], match[2].split()
            options = [word.partition("=")[0] for word in rest if word.startswith("--")]
            known = COMMANDS.get(name)
            if known is None or [o for o in options if o not in known and o != "--help"]:
                wrong.append(f"{where}: batchspec {name} {match[2]}")
    assert wrong == []
    assert found > 50, "the pattern finds existing references"


def test_every_command_of_the_interface_exists() -> None:
    if not CLI.exists():
        pytest.skip("the description of the interface is not available")
    rows = re.findall(r"^\| `batchspec (.*?)` \|", CLI.read_text(encoding="utf-8"), re.MULTILINE)
    for row in rows:
        word, *rest = row.split()
        if word in PENDING:
            continue
        names = (
            [f"local {name}" for name in rest[0].split("/")] if word == "local" else word.split("/")
        )
        for name in names:
            assert name in COMMANDS
            asked = set(re.findall(r"--[a-z-]+", row)) - PENDING_OPTIONS.get(name, set())
            assert asked <= COMMANDS[name], f"{name} lacks {asked - COMMANDS[name]}"


def test_no_pending_command_is_implemented() -> None:
    names = {name for row in PENDING for name in row.split("/")}
    assert names & set(COMMANDS) == set(), "remove it from PENDING"
    for name, options in PENDING_OPTIONS.items():
        assert options & COMMANDS[name] == set(), "remove it from PENDING_OPTIONS"


def test_every_command_and_option_has_a_help_text() -> None:
    functions = {**app.functions, **local_commands.functions, **package_commands.functions}
    assert len(functions) >= 20
    for name, function in functions.items():
        assert getdoc(function)
        for param in get_params_from_function(function).values():
            assert param.default.help, f"{name} {param.name}"


@pytest.mark.parametrize("name", COMMANDS)
def test_help_names_arguments_as_they_are_entered(name: str) -> None:
    done = CliRunner().invoke(app, [*name.split(), "--help"], env={"COLUMNS": "80"})
    usage = done.stdout.partition("\n\n")[0]
    assert not re.search(r"[{}<>]|\[\[", usage), usage
    assert not re.search(r"^ .*([{}]|<[a-z])", done.stdout, re.MULTILINE), done.stdout
    assert all(len(line) <= 80 for line in done.stdout.splitlines())


def test_the_reference_is_up_to_date() -> None:
    line = [sys.executable, "tools/generate_commands.py", "--check"]
    done = subprocess.run(line, cwd=ROOT, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_exit_code_is_in_the_reference() -> None:
    text = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    for code in Exit:
        assert f"| {code.value} | " in text
