"""Failures of one exit code with different last lines are different entries, each retried alone."""

from __future__ import annotations

import json
from typing import Any

import pytest

from batchspec.observe import failures
from tests.cli.conftest import Workplace

SPEC = """\
version: 1
name: groups
pool: {vm_size: standard_d2s_v5, nodes: 1, task_slots_per_node: 8, image: ubuntu-24.04}
job: {max_wall_clock_time: 5m}
tasks:
  import:
    id: import-{{ index }}
    for_each: {range: [0, 6]}
    command: |-
      test -e FOLDER/fixed || { echo "cannot import 'numpy' ($$)" >&2; exit 1; }
  disk:
    id: disk-{{ index }}
    for_each: {range: [0, 2]}
    command: |-
      echo /tmp/{{ value }}/x.bin: no space left >&2; exit 1
  quiet: {id: quiet, command: echo the error is here; exit 1}
  binary: {id: binary, command: 'printf "\\\\377\\\\376\\\\000bad \\\\303" >&2; exit 1'}
  other: {id: other, command: exit 4}
"""


@pytest.fixture
def groups(near: Workplace) -> Workplace:
    """A run whose tasks failed in five ways by two exit codes."""
    near.spec.write_text(SPEC.replace("FOLDER", str(near.folder)), encoding="utf-8")
    assert near.run("apply", near.spec, "--progress", "quiet").code == 3
    return near


def seen(place: Workplace) -> dict[str, Any]:
    done = place.run("failures", place.spec, "--format", "json")
    assert done.code == 0, done.text
    found: dict[str, Any] = json.loads(done.out)
    return found


def retried(place: Workplace, *options: str) -> tuple[int, str]:
    done = place.run("retry", place.spec, "--progress", "plain", *options)
    return done.code, done.text


def test_each_group_is_an_entry_with_the_command_that_retries_it(groups: Workplace) -> None:
    causes = seen(groups)["causes"]
    found = {cause["line"]: cause for cause in causes if cause["cause"] == "exit-1"}
    imports = found["cannot import 'numpy' (<n>)"]
    assert causes[0] == imports, "the most frequent first"
    assert imports["count"] == 6
    assert found["<path>: no space left"]["count"] == 2
    assert found[""]["sample"] == {
        "id": "quiet",
        "file": "stdout.txt",
        "text": "the error is here\n",
    }
    (other,) = (cause for cause in causes if cause["cause"] == "exit-4")
    assert (other["group"], other["command"]) == (
        "",
        f"batchspec retry {groups.spec} --cause exit-4",
    )
    assert len(found) == 4
    assert all(
        cause["command"] == f"batchspec retry {groups.spec} --cause exit-1:{cause['group']}"
        for cause in found.values()
    )
    text = groups.run("failures", groups.spec).out
    assert f"exit-1:{imports['group']}  6 tasks: cannot import 'numpy' (<n>)" in text
    assert "nothing was written to stderr" in text

    (groups.folder / "fixed").touch()
    code, said = retried(groups, "--cause", f"exit-1:{imports['group']}")
    assert code == 3 or "6 succeeded" in said, said
    left = {cause["line"]: cause["count"] for cause in seen(groups)["causes"]}
    assert "cannot import 'numpy' (<n>)" not in left
    assert left["<path>: no space left"] == 2
    code, said = retried(groups, "--cause", "exit-1:000000")
    assert code == 2
    assert f"batchspec failures {groups.spec}" in said


def test_failures_whose_stderr_was_not_read_are_a_separate_entry(
    groups: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures, "_READ", 3)
    causes = [cause for cause in seen(groups)["causes"] if cause["cause"] == "exit-1"]
    assert sum(cause["count"] for cause in causes) == 10
    (rest,) = (cause for cause in causes if cause["group"] == "other")
    assert rest["count"] == 8, "one for the rare cause, two for the other"
    code, said = retried(groups, "--cause", "exit-1:other")
    assert "submit" in said or "8 of" in said, said
    assert code == 3


def test_few_groups_are_shown(groups: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failures, "_GROUPS", 1)
    causes = [cause for cause in seen(groups)["causes"] if cause["cause"] == "exit-1"]
    assert [(cause["count"], cause["group"] == "other") for cause in causes] == [
        (6, False),
        (4, True),
    ]
