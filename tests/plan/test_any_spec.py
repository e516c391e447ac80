"""Random changes of a valid spec give a diagnostic with a position, or tasks."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings

from batchspec.diagnostics import Diagnostic, SpecError
from batchspec.plan import tasks
from batchspec.plan.observed import AccountNames, ContainerFacts, Observed
from batchspec.plan.rules.files import item_not_there, same_file
from batchspec.plan.rules.rule import RuleContext
from batchspec.plan.rules.tasks import check_tasks
from batchspec.spec import Record, Rows, Spec, Stage, ValueSources, read_rows, read_spec
from tests.spec.test_mutations import GOOD, SECRETS, as_text, trees


@settings(max_examples=60, deadline=None)
@given(trees())
def test_changed_data(tmp_path_factory: pytest.TempPathFactory, tree: dict[str, Any]) -> None:
    path = tmp_path_factory.getbasetemp() / "changed.yaml"
    path.write_text(as_text(tree), encoding="utf-8", errors="surrogatepass", newline="")
    is_answered(path, SECRETS.get(str(tree.get("name")), {}))


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_unchanged(path: Path) -> None:
    is_answered(path, SECRETS.get(path.stem, {}))


def is_answered(path: Path, given: dict[str, str]) -> None:
    try:
        spec = read_spec(path, ValueSources(given))
        world = observed(spec)
    except SpecError:
        return
    context = RuleContext(spec, world, Record())
    found = [*same_file(context), *item_not_there(context)]
    for stage in spec.stages:
        errors = errors_of(spec, stage, world)
        with patch.object(tasks, "has_template", lambda *_: False):
            assert errors == errors_of(spec, stage, world)
        found += errors
    assert all(p.where is not None or p.code == "more-faults" for p in found), found


def errors_of(spec: Spec, stage: Stage, world: Observed) -> tuple[Diagnostic, ...]:
    """The errors of the tasks of a stage, or of a stage that it needs."""
    try:
        return check_tasks(spec, stage, world, windows=bool(spec.pool.windows))
    except SpecError as error:
        return error.problems


def observed(spec: Spec) -> Observed:
    """An empty account."""
    facts = {key: ContainerFacts(None) for key in spec.containers}
    rows = {
        stage.name: read_rows(stage.for_each.path, stage.for_each.where)
        for stage in spec.stages
        if isinstance(stage.for_each, Rows)
    }
    return Observed(
        AccountNames("local", "b", "s"), datetime(2026, 3, 1, tzinfo=UTC), facts, rows=rows
    )
