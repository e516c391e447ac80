"""Metadata of pools, jobs and schedules: who applied a spec, when and from where."""

from __future__ import annotations

import os
import pwd
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from batchspec.api import origin_of
from batchspec.plan import build_plan
from batchspec.plan.actions import CreateContainer, CreateJob, CreatePool, CreateSchedule
from batchspec.plan.metadata import (
    AT,
    BY,
    MOST_METADATA,
    ORIGIN,
    VERSION,
    Provenance,
    applied_to,
    created_by,
    metadata_of,
    read_provenance,
    users,
    version,
    with_user,
    without_user,
)
from batchspec.plan.observed import Origin
from tests.plan.situation import NOW, Situation, read_case, situation

ADA = Origin("ada@host", "0123456789abcdef")
SCHEDULED = read_case(Path(__file__).parent / "cases" / "schedule-kept.yaml")


def recorded(found: Situation, origin: Origin = ADA) -> dict[str, Provenance]:
    """The metadata in each body of a first run, by the name of the action."""
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


def test_a_schedule_records_its_provenance_and_stays_up_to_date(tmp_path: Path) -> None:
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


def test_the_origin_depends_on_host_and_spec(tmp_path: Path) -> None:
    here = origin_of(tmp_path / "a.yaml", {"USER": "ada"})
    user, _, _ = origin_of(tmp_path / "a.yaml", {}).by.partition("@")
    assert user == pwd.getpwuid(os.getuid()).pw_name, "cron sets no variable with the name"
    assert here.by.startswith("ada@")
    assert here.id == origin_of(tmp_path / "x" / ".." / "a.yaml", {"USER": "eve"}).id
    assert here.id != origin_of(tmp_path / "b.yaml", {"USER": "ada"}).id


def test_the_origin_can_be_set_where_hosts_and_folders_change(tmp_path: Path) -> None:
    named = {"BATCHSPEC_ORIGIN": "example/words"}
    one = origin_of(tmp_path / "build-1" / "a.yaml", named)
    assert one.id == origin_of(tmp_path / "build-2" / "a.yaml", named).id
    assert one.id != origin_of(tmp_path / "build-2" / "b.yaml", named).id
    assert one.id != origin_of(tmp_path / "build-1" / "a.yaml", {}).id


def applied(origin: Origin) -> dict[str, str]:
    return {BY: origin.by, ORIGIN: origin.id, VERSION: "1"}


def test_a_container_records_who_applied_each_of_its_specs() -> None:
    ada, bob = applied(ADA), applied(Origin("bób@there", "f" * 16))
    one = created_by("one", ada)
    assert with_user(one, "one", ada) is None, "nothing has changed"
    both = with_user(one, "two", bob)
    assert both is not None
    assert users(both) == ("one", "two")
    assert (applied_to(both, "one"), applied_to(both, "two")) == (ada, bob)
    assert all(text.isascii() for text in both.values()), "storage sends metadata as headers"
    moved = with_user(both, "one", bob)
    assert moved is not None
    assert applied_to(moved, "one") == bob
    left = without_user(moved, "one")
    assert left is not None
    assert (users(left), applied_to(left, "one"), applied_to(left, "two")) == (("two",), {}, bob)


def test_the_metadata_of_a_container_with_many_users_stay_below_the_limit_of_storage() -> None:
    """Azure refuses more than 8 KiB (MetadataTooLarge); Azurite accepts more."""
    who = Origin("ada@a-host-with-a-long-name.example.com", "f" * 16)
    metadata = created_by("spec-000", applied(who))
    for number in range(1, 100):
        moment = (NOW + timedelta(minutes=number)).isoformat()
        changed = with_user(metadata, f"spec-{number:03}", {**applied(who), AT: moment})
        assert changed is not None
        metadata = changed
        assert sum(len(key) + len(value) for key, value in metadata.items()) <= MOST_METADATA
    assert len(users(metadata)) == 100
    assert applied_to(metadata, "spec-000") == {}, "the earliest record is dropped"
    assert applied_to(metadata, "spec-099")[BY] == who.by
    assert applied_to(metadata, "spec-098")[BY] == who.by


def test_a_container_without_a_record_needs_no_change() -> None:
    plain = {"batchspec_spec": "one", "batchspec_users": "one"}
    assert with_user(plain, "one", applied(ADA)) is None
    assert applied_to({"batchspec_applied": "not JSON"}, "one") == {}


def test_a_public_container_does_not_name_the_user(tmp_path: Path) -> None:
    case = {"change": {"  output: {}": "  output: {public_access: blob}"}}
    with situation(case, tmp_path) as found:
        plan = build_plan(found.spec, replace(found.observed, origin=ADA))
    named = {
        step.action.container: BY in applied_to(step.action.metadata, "demo")
        for step in plan.steps
        if isinstance(step.action, CreateContainer)
    }
    assert named == {"application": True, "input": True, "output": False}


def test_blobs_of_the_same_version_from_elsewhere_need_no_question(tmp_path: Path) -> None:
    blobs = {"blobs": {"a.txt.n": "6"}, "applied_by": "bob@there"}
    with situation({"containers": {"output": blobs}}, tmp_path) as found:
        spec, observed = found.spec, found.observed
        (question,) = build_plan(spec, observed).questions
        assert question.code == "other-containers"
        facts = observed.containers["output"]
        same = {**applied_to(facts.metadata or {}, "demo"), VERSION: version(spec, observed)}
        facts = replace(facts, metadata=created_by("demo", same))
        joined = replace(observed, containers={**observed.containers, "output": facts})
        assert not build_plan(spec, joined).questions


def test_invalid_metadata_of_another_client_is_ignored() -> None:
    found = read_provenance({"batchspec:at": "yesterday", "batchspec:by": "eve@host"})
    assert found == Provenance("eve@host", None, "", "")
