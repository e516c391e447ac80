"""A sample of ``tools/structure_fuzz.py``: changed specs are explained or planned."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.spec.structure_mutations import ROOT, mutant, seeds
from tools import structure_fuzz
from tools.structure_fuzz import run


def test_a_sample_of_mutants(tmp_path: Path) -> None:
    tally = run(100, 1, tmp_path)
    assert tally.failures == []
    assert tally.outcomes.total() == 100
    assert tally.outcomes["planned"] >= 2
    assert len(tally.codes) >= 20


def test_mutants_are_repeatable_and_differ() -> None:
    specs = seeds()
    assert len(specs) > 50
    first, again = ([mutant(n, 1, specs) for n in range(60)] for _ in range(2))
    assert first == again
    assert len({text for _, text in first}) > 55
    assert mutant(7, 2, specs) != mutant(7, 1, specs)


@pytest.fixture
def unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every mutant is the tutorial."""
    text = (ROOT / "specs/topn.yaml").read_text("utf-8")
    monkeypatch.setattr(structure_fuzz, "mutant", lambda *_: ("topn", text))


@pytest.mark.usefixtures("unchanged")
def test_the_tutorial_is_planned(tmp_path: Path) -> None:
    assert run(1, 1, tmp_path).outcomes == {"planned": 1}


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("function", ["expanded_document", "check_round_trip", "plan"])
def test_an_unexpected_exception_is_a_failure(
    function: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(structure_fuzz, function, fails)
    ((number, reason),) = run(1, 1, tmp_path).failures
    assert "ZeroDivisionError" in reason
    assert (tmp_path / f"mutant-{number}.yaml").exists()


@pytest.mark.usefixtures("unchanged")
def test_a_printed_spec_that_differs_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    printed = structure_fuzz.dump_document
    monkeypatch.setattr(
        structure_fuzz,
        "dump_document",
        lambda document, form: printed({**document, "description": "another"}, form),
    )
    ((_, reason),) = run(1, 1, tmp_path).failures
    assert "another spec" in reason
