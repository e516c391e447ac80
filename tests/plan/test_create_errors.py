"""``tools/create_errors.yaml``: every error of a create request has a finding or a reason."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from batchspec.cloud.errors import TABLE
from batchspec.local.wire.fault import FAULTS
from batchspec.plan import GROUPS, RULES

ROOT = Path(__file__).parents[2]
PAGE = ROOT.parent / "shared" / "field" / "batch-api.md"
ERRORS: dict[str, dict[str, dict[str, object]]] = yaml.safe_load(
    (ROOT / "tools/create_errors.yaml").read_text(encoding="utf-8")
)
ROWS = ERRORS["invalid"] | ERRORS["conflicts"]
OFFLINE = frozenset({
    "The spec file",
    "Keys and values",
    "Parameters, templates, rows",
    "Autoscale formulas",
    "Tasks",
    "Dependencies",
})  # fmt: skip
"""The groups of rules that `validate` checks completely; of others, those that are ``offline``."""
OF_TASKS = frozenset({"task-too-large", "command-too-long"})
"""Rules that are checked while `validate` creates the tasks."""
SCHEDULED = frozenset({"not-of-manager"})


def found_by_validate() -> Iterator[str]:
    yield from OF_TASKS | SCHEDULED
    for group in GROUPS:
        yield from (rule.code for rule in group.rules if group.title in OFFLINE or rule.offline)


def test_every_code_has_a_finding_or_a_reason() -> None:
    for code, row in ROWS.items():
        assert row.keys() <= {"validate", "plan", "service", "client"}, code
        assert all(row.values()), code
        assert row, code
        assert not {"client", "service"} <= row.keys(), code


def test_the_findings_exist_and_are_raised_by_the_named_command() -> None:
    offline = set(found_by_validate())
    for code, row in ROWS.items():
        assert set(row.get("validate", ())) <= offline, code
        assert set(row.get("plan", ())) <= RULES.keys() - offline, code


def test_each_invalid_request_of_the_embedded_service_is_listed() -> None:
    known = {code for code, (status, _) in FAULTS.items() if status == 400}
    assert len(known) > 10
    assert known - ERRORS["invalid"].keys() == set()
    wrong = {code for code in ERRORS["conflicts"] if code in FAULTS and FAULTS[code][0] == 400}
    assert wrong == set()


def test_each_error_that_only_the_service_can_find_has_a_fix() -> None:
    """Codes that users can get are in the table of messages."""
    alone = {
        code for code, row in ROWS.items() if "service" in row and not row.get("client")
    } - UNDOCUMENTED
    assert alone - TABLE.keys() == set()


UNDOCUMENTED = frozenset({"InvalidInput", "TaskDependencyRangesTooLong"})
"""The message of the service is shown."""


def test_each_documented_invalid_request_is_listed() -> None:
    if not PAGE.exists():
        pytest.skip("the list of documented codes is not part of the repository")
    line = next(x for x in PAGE.read_text(encoding="utf-8").splitlines() if x.startswith("| 400 |"))
    documented = re.findall(r"[A-Z]\w+(?=[,* |])", line.split("|")[2])
    assert len(documented) > 25
    listed = ERRORS["invalid"]
    assert [code for code in documented if not {code, f"{code}*"} & listed.keys()] == []
