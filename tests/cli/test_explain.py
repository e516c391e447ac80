"""``batchspec explain`` knows every code that the product reports."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from batchspec.cli.main import app
from batchspec.diagnostics import UsageError
from batchspec.render.failures import CAUSES

PRODUCT = Path(__file__).parents[2] / "batchspec"
RUNNER = CliRunner()


def known() -> dict[str, list[dict[str, str]]]:
    """The output of ``explain --format json``, by code."""
    done = RUNNER.invoke(app, ["explain", "--format", "json"])
    found: dict[str, list[dict[str, str]]] = {}
    for each in json.loads(done.stdout):
        found.setdefault(each["code"], []).append(each)
    return found


def codes() -> Iterator[tuple[str, str]]:
    """Each code that is written as the first argument of a diagnostic or an error."""
    for path in PRODUCT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and node.args):
                continue
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            first = node.args[0]
            if (
                name in {"Diagnostic", "LocalError"}
                and isinstance(first, ast.Constant)
                and isinstance(first.value, str)
            ):
                yield first.value, f"{path.relative_to(PRODUCT)}:{node.lineno}"


def test_every_code_of_the_product_is_explained() -> None:
    found, explained = list(codes()), known()
    assert len(found) > 200, "the pattern finds existing codes"
    assert [f"{where}: {code}" for code, where in found if code not in explained] == []


def severities() -> Iterator[tuple[str, str]]:
    """Each code of a diagnostic with the severity that is written for it."""
    for path in PRODUCT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            first = node.args[0]
            if getattr(node.func, "id", "") == "Diagnostic" and isinstance(first, ast.Constant):
                given = [key.value for key in node.keywords if key.arg == "severity"]
                found = {
                    each.attr.lower()
                    for value in given
                    for each in ast.walk(value)
                    if isinstance(each, ast.Attribute)
                    and getattr(each.value, "id", "") == "Severity"
                }
                yield from ((str(first.value), severity) for severity in found or {"error"})


def test_the_severity_of_an_explanation_is_that_of_its_messages() -> None:
    explained = known()
    kinds = {
        code: {kind for each in found for kind in each["kind"].split(" or ")}
        for code, found in explained.items()
    }
    wrong = {
        f"{code}: {severity}"
        for code, severity in severities()
        if not kinds[code] & {"cause", "service", severity}
    }
    assert wrong == set()


def test_every_explanation_has_a_title_and_a_fix_or_a_reason() -> None:
    for code, found in known().items():
        for each in found:
            assert each["title"], code
            assert each["fix"] or each["why"] or each["kind"] == "service", code


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("unknown-key", "Fix: Use the suggested key"),
        ("start-task-failed", "Effect: The run ends early if it failed on every node"),
        ("no-nodes", "The last resize failed and the pool has no nodes"),
        ("no-nodes", "Fix: Write `nodes: 1` or more"),
        ("AccountCoreQuotaReached", "AccountCoreQuotaReached (service)"),
        ("accountcorequotareached", "AccountCoreQuotaReached (service)"),
        ("[no-run]", "Why: The spec has not been applied yet"),
        ("exit-1", "ended with the exit code 1."),
        ("exit-1:3f2a9c", "ended with the exit code 1."),
        ("exit-127", "the program was not found"),
        ("exit-137", "signal 9"),
        ("timeout", "timeout (cause)"),
        ("command-program-not-found:other", "is not on the node"),
    ],
)
def test_a_code_is_explained_as_it_is_printed(code: str, text: str) -> None:
    done = RUNNER.invoke(app, ["explain", code])
    assert done.exit_code == 0
    assert text in done.stdout


def test_every_cause_of_a_failure_is_explained() -> None:
    documented = (PRODUCT.parent / "docs" / "commands.md").read_text(encoding="utf-8")
    table = documented.partition("| cause | when |")[2].partition("\n\n")[0]
    causes = re.findall(r"^\| `([\w-]+)` ", table, re.MULTILINE)
    assert len(causes) == 10
    assert set(causes) | CAUSES.keys() <= known().keys()


def test_an_unknown_code_has_a_suggestion() -> None:
    done = RUNNER.invoke(app, ["explain", "unknown-kye"])
    assert isinstance(done.exception, UsageError)
    assert done.exception.problems[0].fix == "Did you mean `unknown-key`?"
