"""Invalid specs with their exact messages: ``cases/NAME.yaml`` and ``NAME.txt``.

A first line ``# --var NAME=VALUE ...`` gives variables. ``BATCHSPEC_ACCEPT=1`` rewrites the
messages; review the changes like code.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import pytest

from batchspec.diagnostics import Diagnostic, SpecError
from batchspec.render import diagnostics_text
from batchspec.spec import ValueSources, read_spec

CASES = Path(__file__).parent / "cases"
NAMES = sorted(path.stem for path in CASES.glob("*.yaml"))
SECRETS = ("hunter2", "aGVsbG8", "bm90IGEga2V5", "short")
"""Secrets in the cases, which no message may contain."""


def problems(name: str) -> tuple[Diagnostic, ...]:
    """The problems of a case. Cases are read from their folder, so that paths are short."""
    path = Path(f"{name}.yaml")
    words = shlex.split(path.read_text("utf-8").partition("\n")[0].removeprefix("#"), posix=False)
    variables = dict(word.split("=", 1) for word in words if "=" in word)
    with pytest.raises(SpecError) as caught:
        read_spec(path, ValueSources(variables))
    return caught.value.problems


def message(name: str) -> str:
    """The output for the user."""
    return diagnostics_text(problems(name)) + "\n"


@pytest.mark.parametrize("name", NAMES)
def test_message(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CASES)
    found = message(name)
    golden = CASES / f"{name}.txt"
    if os.environ.get("BATCHSPEC_ACCEPT"):
        golden.write_text(found, encoding="utf-8")
    assert found == golden.read_text("utf-8")


@pytest.mark.parametrize("name", [name for name in NAMES if "secret" in name])
def test_no_message_repeats_a_secret(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CASES)
    found = message(name)
    assert not [secret for secret in SECRETS if secret in found]


@pytest.mark.parametrize("name", NAMES)
def test_every_problem_has_a_place(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Except errors of the command line and of an empty file."""
    monkeypatch.chdir(CASES)
    for problem in problems(name):
        assert problem.where is not None or problem.code in ("empty", "unknown-variable")


def test_there_are_many_cases() -> None:
    assert len(NAMES) >= 60
