"""Metadata of pools, jobs and schedules: who applied a spec, when and from where."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from batchspec.cli.session import origin_of
from batchspec.plan import build_plan
from batchspec.plan.actions import CreateJob, CreatePool, CreateSchedule
from batchspec.plan.metadata import Provenance, metadata_of, read_provenance
from batchspec.plan.observed import Origin
from tests.plan.situation import NOW, Situation, read_case, situation

ADA = Origin("ada@host", "0123456789abcdef")
SCHEDULED = read_case(Path(__file__).parent / "cases" / "schedule-kept.yaml")


def recorded(found: Situation, origin: Origin = ADA) -> dict[str, Provenance]:
    """What each body that a first run creates records, by the name of the action."""
    plan = build_plan(found.spec, replace(found.observed, origin=origin))
    bodies = {
        type(step.action).__name__: step.action.body
        for step in plan.steps
        if isinstance(step.action, CreatePool | CreateJob | CreateSchedule)
    }
    return {
        name: read_provenance({key: str(value) for key, value in metadata_of(body).items()})
        for name, body in bodies.items()
    }


def test_pool_and_job_record_who_when_and_from_where(tmp_path: Path) -> None:
    with situation({}, tmp_path) as found:
        made = recorded(found)
    assert set(made) == {"CreatePool", "CreateJob"}
    for each in made.values():
        assert (each.by, each.at, each.origin) == ("ada@host", NOW, ADA.id)
    assert made["CreateJob"].version


def test_a_schedule_records_it_too_and_is_not_changed_by_it(tmp_path: Path) -> None:
    with situation(SCHEDULED, tmp_path) as found:
        created = replace(found, observed=replace(found.observed, schedule=None, pool=None))
        assert recorded(created)["CreateSchedule"].by == "ada@host"
        later = replace(found.observed, origin=ADA, now=NOW + timedelta(hours=1))
        assert not [s for s in build_plan(found.spec, later).steps if s.id.startswith("schedule:")]


def test_the_version_covers_spec_and_files_and_not_the_folder(tmp_path: Path) -> None:
    def version(name: str, **case: object) -> str:
        with situation(case, tmp_path / name) as found:
            return recorded(found)["CreateJob"].version

    for folder in ("one", "two", "three", "four"):
        (tmp_path / folder).mkdir()
    same = version("one")
    assert version("two") == same
    assert version("three", files={"data/a.txt": "changed\n"}) != same
    assert version("four", change={"nodes: 2": "nodes: 3"}) != same


def test_an_origin_is_that_of_host_and_spec(tmp_path: Path) -> None:
    here = origin_of(tmp_path / "a.yaml", {"USER": "ada"})
    assert here.by.startswith("ada@")
    assert here.id == origin_of(tmp_path / "x" / ".." / "a.yaml", {"USER": "eve"}).id
    assert here.id != origin_of(tmp_path / "b.yaml", {"USER": "ada"}).id


def test_invalid_metadata_of_another_client_is_ignored() -> None:
    found = read_provenance({"batchspec:at": "yesterday", "batchspec:by": "eve@host"})
    assert found == Provenance("eve@host", None, "", "")
