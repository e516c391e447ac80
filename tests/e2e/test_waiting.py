"""Runs that wait: each ends within its bound, with the right cause and exit code."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias
from unittest import mock

import pytest
from azure.batch import BatchClient
from azure.batch import models as m
from azure.core.credentials import AzureNamedKeyCredential

from batchspec import local
from batchspec.cloud import open_account
from tests.cli.conftest import Inside
from tests.e2e.conftest import Done, clean_environ, interrupt, until

Event: TypeAlias = dict[str, Any]
Body: TypeAlias = Mapping[str, Any]

MACHINE = {"vm_size": "standard_d2s_v5", "image": "ubuntu-24.04"}
FIXED = {**MACHINE, "nodes": 1}
SCALED = {**MACHINE, "nodes": {"scale": {"min": 0, "max": 2}}}
AUTO = {**FIXED, "lifetime": "job"}
FAILS = {"start_task": {"command": "echo no disk >&2; exit 3"}}
HANGS = {"start_task": {"command": "sleep 100000", "wait_for_success": True}}
HELLO = {"a": {"id": "a", "command": "echo hello"}}
GATED = {
    "gate": {"id": "gate", "command": "sleep 300"},
    "a": {**HELLO["a"], "depends_on": {"task_ids": ["gate"]}},
}
BLOCKED = {
    "a": {"id": "a", "command": "exit 1"},
    "b": {"id": "b", "command": "echo b", "depends_on": {"task_ids": ["a"]}},
}
CIRCLE = {
    "a": {"id": "a", "command": "echo a", "depends_on": {"task_ids": ["b"]}},
    "b": {"id": "b", "command": "echo b", "depends_on": {"task_ids": ["a"]}},
}
PREPARED = {"prepare": {"command": "exit 4"}}


def spec(
    pool: Body, tasks: Body = HELLO, limit: str = "60s", *, keep: bool = False, **job: Any
) -> Body:
    """A spec that deletes everything at the end, unless it is to ``keep`` everything."""
    clean = {"job": "always"} | ({"pool": "always"} if "nodes" in pool else {})
    clean = clean if "lifetime" not in pool else {"job": "always"}
    return {
        "version": 1,
        "name": "wait",
        "pool": pool,
        "job": {"max_wall_clock_time": limit, **job},
        "tasks": tasks,
        **({} if keep else {"cleanup": clean}),
    }


@dataclass(frozen=True)
class Ran:
    """An apply that ended: its exit code and its events."""

    code: int
    events: tuple[Event, ...]
    err: str

    @property
    def waits(self) -> list[Event]:
        return [event for event in self.events if event["type"] == "waiting"]

    def cause(self, code: str) -> Event:
        """The first report of the cause with that code."""
        found = [event for event in self.waits if event["code"] == code]
        assert found, (code, self.waits, self.err)
        return found[0]

    @property
    def problems(self) -> list[Event]:
        return [event["problem"] for event in self.events if "problem" in event]

    @property
    def left(self) -> list[str]:
        assert self.events[-1]["type"] == "run_ended", self.events[-1]
        return list(self.events[-1]["left"])


@dataclass
class Site:
    """A folder with a spec, a service, and another client of its account."""

    place: Inside

    @property
    def spec(self) -> Path:
        return self.place.folder / "wait.yaml"

    def write(self, body: Body) -> Path:
        self.spec.write_text(json.dumps(body), encoding="utf-8")
        return self.spec

    def apply(self, body: Body, *options: str) -> Ran:
        done = self.place.run("apply", self.write(body), "-y", "--progress", "json", *options)
        return ran(done)

    @property
    def client(self) -> BatchClient:
        ends = self.place.endpoints()
        return BatchClient(
            ends.batch_url, AzureNamedKeyCredential(ends.batch_account, ends.batch_key)
        )

    def pool(self, name: str, **body: Any) -> Body:
        """A pool that another client creates with the id in a spec."""
        machine = m.VirtualMachineConfiguration(
            image_reference=m.BatchVmImageReference(
                publisher="canonical", offer="ubuntu-24_04-lts", sku="server"
            ),
            node_agent_sku_id="batch.node.ubuntu 24.04",
        )
        self.client.create_pool(
            m.BatchPoolCreateOptions(
                id=name, vm_size="standard_d2s_v5", virtual_machine_configuration=machine, **body
            )
        )
        return {"existing": name}

    def clear(self) -> None:
        """Delete every job and pool."""
        with self.client as client:
            for job in client.list_jobs():
                client.begin_delete_job(job.id).result()
            for pool in client.list_pools():
                client.begin_delete_pool(pool.id).result()


def ran(done: Done) -> Ran:
    lines = [line for line in done.out.splitlines() if line.startswith("{")]
    return Ran(done.code, tuple(json.loads(line) for line in lines), done.text)


def at(folder: Path, chaos: str = "") -> Inside:
    """A workplace whose service is started with these faults."""
    home = folder / "home"
    local.start(home, options=local.SimulationOptions(chaos=chaos or None))
    return Inside(folder, home, clean_environ({"BATCHSPEC_LOCAL_HOME": str(home)}))


@pytest.fixture(scope="module")
def running(azurite_installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inside]:
    """A service for many consecutive runs."""
    place = at(tmp_path_factory.mktemp("waiting"))
    try:
        yield place
    finally:
        local.stop(place.home)


@pytest.fixture
def site(running: Inside) -> Iterator[Site]:
    """An account without jobs and pools."""
    found = Site(running)
    try:
        yield found
    finally:
        found.clear()


@pytest.fixture
def site_with(azurite_installed: Path, tmp_path: Path) -> Iterator[Callable[[str], Site]]:
    """A separate service with these faults."""
    with ExitStack() as ends:

        def make(chaos: str) -> Site:
            place = at(tmp_path, chaos)
            ends.callback(local.stop, place.home)
            return Site(place)

        yield make


ENDS_EARLY: Mapping[str, tuple[Body, str, int, str]] = {
    "start task fails, fixed": (spec({**FIXED, **FAILS}), "start-task-failed", 4, "exit code 3"),
    "start task fails, scaled": (spec({**SCALED, **FAILS}), "start-task-failed", 4, "exit code 3"),
    "start task fails, auto pool": (spec({**AUTO, **FAILS}), "start-task-failed", 4, "1 of 1 node"),
    "dependency failed, fixed": (spec(FIXED, BLOCKED), "dependency-failed", 3, "has failed"),
    "dependency failed, scaled": (spec(SCALED, BLOCKED), "dependency-failed", 3, "has failed"),
    "tasks wait for each other": (spec(FIXED, CIRCLE), "dependency-circle", 4, "each other"),
    "preparation fails, fixed": (spec(FIXED, **PREPARED), "preparation-failed", 4, "exit code 4"),
    "preparation fails, auto pool": (spec(AUTO, **PREPARED), "preparation-failed", 4, "1 node"),
}


@pytest.mark.parametrize(
    ("body", "code", "exit_code", "words"), ENDS_EARLY.values(), ids=ENDS_EARLY
)
def test_a_run_in_which_nothing_can_ever_move_ends_with_the_cause(
    site: Site, body: Body, code: str, exit_code: int, words: str
) -> None:
    done = site.apply(body)
    assert done.code == exit_code, done.err
    cause = done.cause(code)
    assert cause["ends"] and words in cause["summary"]
    assert code in {problem["code"] for problem in done.problems}
    assert not done.left, "the clean-up that was promised took place"
    assert not list(site.client.list_pools())


EXISTING: Mapping[str, tuple[Body, Body, str, int]] = {
    "start task fails": (
        {
            "target_dedicated_nodes": 1,
            "start_task": m.BatchStartTask(
                command_line="/bin/sh -c 'exit 3'", wait_for_success=True
            ),
        },
        HELLO,
        "start-task-failed",
        4,
    ),
    "a formula with an unknown variable": (
        {
            "enable_auto_scale": True,
            "auto_scale_formula": "$TargetDedicatedNodes = $PendingTask;",
            "auto_scale_evaluation_interval": timedelta(minutes=5),
        },
        HELLO,
        "autoscale-error",
        4,
    ),
    "no node": ({"target_dedicated_nodes": 0}, HELLO, "pool-empty", 7),
    "a dependency failed": ({"target_dedicated_nodes": 1}, BLOCKED, "dependency-failed", 3),
}


@pytest.mark.parametrize(("pool", "tasks", "code", "exit_code"), EXISTING.values(), ids=EXISTING)
def test_the_same_on_a_pool_of_another_client(
    site: Site, pool: Body, tasks: Body, code: str, exit_code: int
) -> None:
    done = site.apply(spec(site.pool("theirs", **pool), tasks, "5s"))
    assert done.code == exit_code, done.err
    cause = done.cause(code)
    assert cause["ends"] == (exit_code != 7)
    assert cause["summary"] in json.dumps(done.problems), "it is the reason"
    assert [pool.id for pool in site.client.list_pools()] == ["theirs"]


@pytest.mark.parametrize("pool", [FIXED, SCALED, AUTO], ids=["fixed", "scaled", "auto pool"])
def test_a_start_task_that_hangs_is_named_at_the_limit(site: Site, pool: Body) -> None:
    done = site.apply(spec({**pool, **HANGS}, limit="5s"))
    assert done.code == 7, done.err
    cause = done.cause("start-task-running")
    (problem,) = (one for one in done.problems if one["code"] == "time-limit")
    assert cause["summary"] in problem["detail"]
    assert problem["hint"] == cause["action"]
    assert not done.left


# --- quota ---------------------------------------------------------------------------------------


def test_quota_on_a_pool_that_scales_waits_and_is_shown(site_with: Callable[[str], Site]) -> None:
    done = site_with("quota=0").apply(spec(SCALED, limit="5s"))
    assert done.code == 7, done.err
    cause = done.cause("no-nodes")
    assert "AccountCoreQuotaReached" in cause["summary"]
    seen = [event["type"] for event in done.events[: done.events.index(cause)]]
    assert seen.count("tasks_seen") <= 2, "within two polls"
    assert "AccountCoreQuotaReached" in json.dumps(done.problems)


@pytest.mark.parametrize("pool", [FIXED, AUTO], ids=["fixed", "auto pool"])
def test_quota_on_a_pool_of_a_fixed_size_ends_the_run(
    site_with: Callable[[str], Site], pool: Body
) -> None:
    done = site_with("quota=0").apply(spec(pool))
    assert done.code == 4, done.err
    assert "AccountCoreQuotaReached" in done.cause("no-nodes")["summary"]


def test_a_pool_with_fewer_nodes_than_asked_for_says_so(site_with: Callable[[str], Site]) -> None:
    site = site_with("quota=2,spot-quota=0")
    words = "1 of 3 nodes: AccountCoreQuotaReached"
    tasks = {"a": {"id": "a", "command": "sleep 3"}}
    body = spec({**FIXED, "nodes": 3}, tasks, keep=True)
    place, path = site.place, site.write(body)
    assert place.run("apply", path, "-y", "--detach").code == 0
    text = place.run("status", path)
    assert words in text.out, text.text
    (wait,) = json.loads(place.run("status", path, "--format", "json").out)["waiting"]
    assert (wait["code"], wait["summary"]) == ("fewer-nodes", words)
    done = place.run("attach", path, "--progress", "plain")
    assert done.code == 0, done.text
    assert done.out.count(words) == 2, "once while it lasts, and in the summary"
    assert place.run("destroy", path, "-y").code == 0
    events = site.apply(body)
    assert events.code == 0
    assert events.cause("fewer-nodes")["summary"] == words


# --- time ----------------------------------------------------------------------------------------


def clock(off: timedelta) -> ExitStack:
    """The wall clock of this process, with an offset from that of the service."""

    class Wrong(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime.now(tz) + off

        @classmethod
        def utcnow(cls) -> datetime:
            return datetime.now(UTC).replace(tzinfo=None) + off

    stack = ExitStack()
    defaults = open_account.__wrapped__.__kwdefaults__  # type: ignore[attr-defined]
    stack.enter_context(mock.patch.dict(defaults, now=lambda: datetime.now(UTC) + off))
    for module in ("batchspec.api.execution", "azure.batch._patch"):
        stack.enter_context(mock.patch(f"{module}.datetime", Wrong))
    return stack


@pytest.mark.parametrize("minutes", [-10, 10], ids=["behind", "ahead"])
def test_the_clients_clock_decides_nothing(site: Site, minutes: int) -> None:
    tasks = {"a": {"id": "a", "command": "sleep 1"}}
    with clock(timedelta(minutes=minutes)):
        done = site.apply(spec(FIXED, tasks, "8m"))
        assert done.code == 0, done.err
        done = site.apply(spec(FIXED, {"b": {"id": "b", "command": "sleep 600"}}, "4s"))
        assert done.code == 7, done.err


def test_a_busy_service_is_an_event_of_the_run(site_with: Callable[[str], Site]) -> None:
    # With the seed 0, of the requests for a job only the first is answered 429.
    site = site_with("throttle@create_job=10%:3s")
    done = site.apply(spec(FIXED, limit="5m", keep=True))
    assert done.code == 0, done.err
    busy = done.cause("service-busy")
    assert busy["subject"].startswith("service ") and "is busy" in busy["summary"]
    (events,) = site.place.folder.glob(".batchspec/*/runs/*/events.jsonl")
    assert '"service-busy"' in events.read_text(encoding="utf-8")


# --- other clients -------------------------------------------------------------------------------

HELD = {"a": {"id": "a", "command": "sleep 300"}}


def meanwhile(site: Site, body: Body, when: str, act: Callable[[BatchClient], object]) -> Ran:
    """Apply, and run an action of another client when a line of the events contains this text."""
    process = site.place.start("apply", site.write(body), "-y", "--progress", "json")
    try:
        out = until(process, when)
        with site.client as client:
            act(client)
        rest, _ = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            interrupt(process)
    return ran(Done(process.wait(), out + rest, ""))


RUNS = '"running":1'
REASON: Any = {"terminateReason": "NoMoney"}


@pytest.mark.parametrize("pool", [FIXED, AUTO], ids=["fixed", "auto pool"])
def test_a_dependency_that_another_client_deletes(site: Site, pool: Body) -> None:
    done = meanwhile(site, spec(pool, GATED), RUNS, lambda c: c.delete_task("wait", "gate"))
    assert done.code == 4, done.err
    cause = done.cause("dependency-missing")
    assert cause["ends"] and "task 'gate', which does not exist" in cause["summary"]


def test_attach_explains_a_dependency_that_another_client_has_deleted(site: Site) -> None:
    path, place = site.write(spec(FIXED, GATED, keep=True)), site.place
    assert place.run("apply", path, "-y", "--detach").code == 0
    with site.client as client:
        client.delete_task("wait", "gate")
    done = ran(place.run("attach", path, "--progress", "json"))
    assert done.code == 4, done.err
    assert done.cause("dependency-missing")["ends"]


@pytest.mark.parametrize("pool", [FIXED, AUTO], ids=["fixed", "auto pool"])
def test_a_job_that_another_client_ends(site: Site, pool: Body) -> None:
    done = meanwhile(
        site, spec(pool, HELD), RUNS, lambda c: c.begin_terminate_job("wait", options=REASON)
    )
    assert done.code == 3, done.err
    assert "NoMoney" in json.dumps(done.problems)
    assert not done.left


def test_a_job_that_another_client_ends_while_nodes_are_waited_for(site: Site) -> None:
    done = meanwhile(
        site,
        spec({**FIXED, **HANGS}),
        '"waitingforstarttask"',
        lambda c: c.begin_terminate_job("wait", options=REASON),
    )
    assert done.code == 3, done.err
    assert "NoMoney" in json.dumps(done.problems)


def test_a_job_that_another_client_deletes(site: Site) -> None:
    done = meanwhile(site, spec(FIXED, HELD), RUNS, lambda c: c.begin_delete_job("wait"))
    assert done.code == 4, done.err
    assert {problem["code"] for problem in done.problems} & {"job-gone", "job-not-found"}


@pytest.mark.parametrize("ends", ["deletes", "terminates"])
def test_a_rerun_whose_job_another_client_ends_is_resumed_as_printed(site: Site, ends: str) -> None:
    gate, starts = (site.place.folder / f"{name}-{ends}" for name in ("gate", "starts"))
    command = f"echo >> {starts}; test ! -e {gate} || sleep 300"
    tasks = {"a": {"id": "a", "command": command}}
    place, path = site.place, site.write(spec(FIXED, tasks, keep=True))
    assert place.run("apply", path, "-y").code == 0
    gate.touch()
    process = place.start("apply", path, "--rerun", "-y", "--progress", "plain")
    try:
        out = until(process, "1 running")
        with site.client as client:
            if ends == "deletes":
                client.begin_delete_job("wait-r2")
            else:
                client.begin_terminate_job("wait-r2", options=REASON)
        rest, _ = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            interrupt(process)
        gate.unlink()
    assert process.returncode == (4 if ends == "deletes" else 3)
    shown = next(line for line in (out + rest).splitlines() if "batchspec apply" in line)
    done = place.run("apply", path, "-y", *(["--rerun"] if "--rerun" in shown else []))
    assert done.code == 0, done.text
    assert len(starts.read_text().splitlines()) == 3, shown


def test_a_pool_that_another_client_deletes(site: Site) -> None:
    done = meanwhile(site, spec(FIXED, HELD), RUNS, lambda c: c.begin_delete_pool("wait"))
    assert done.code == 4, done.err
    assert done.cause("pool-gone")["subject"] == "pool wait"


def test_a_job_that_another_client_disables_waits(site: Site) -> None:
    requeue = m.BatchJobDisableOptions(disable_tasks="requeue")
    done = meanwhile(
        site, spec(FIXED, HELD, "8s"), RUNS, lambda c: c.begin_disable_job("wait", requeue)
    )
    assert done.code == 7, done.err
    assert "disabled" in done.cause("job-disabled")["summary"]
    assert "disabled" in json.dumps(done.problems), "it is the reason"


def test_a_task_of_another_client_that_takes_too_many_slots(site: Site) -> None:
    wide = m.BatchTaskCreateOptions(id="wide", command_line="/bin/true", required_slots=4)
    pool = {**FIXED, "task_slots_per_node": 2}
    tasks = {"a": {"id": "a", "command": "sleep 3"}}
    done = meanwhile(site, spec(pool, tasks), RUNS, lambda c: c.create_task("wait", wide))
    assert done.code == 4, done.err
    cause = done.cause("too-many-slots")
    assert cause["summary"] == "the task 'wide' takes 4 slots; a node has 2"


def test_a_cause_that_passes_is_resolved(site: Site) -> None:
    def other(client: BatchClient) -> None:
        client.begin_disable_job("wait", m.BatchJobDisableOptions(disable_tasks="wait")).result()
        # Not waited for: the poller of azure-batch 15.1 waits for "active", and never ends if the
        # job has completed before its first poll.
        client.begin_enable_job("wait")

    tasks = {f"t{n}": {"id": f"t{n}", "command": "sleep 2"} for n in range(3)}
    done = meanwhile(site, spec(FIXED, tasks), RUNS, other)
    assert done.code == 0, done.err
    first, *_, last = [event for event in done.waits if event["code"] == "job-disabled"]
    assert (first["resolved"], last["resolved"]) == (False, True)


def test_nodes_that_another_client_takes_out_of_service(site: Site) -> None:
    def offline(client: BatchClient) -> None:
        (node,) = client.list_nodes("theirs")
        client.disable_node_scheduling(
            "theirs",
            node.id,
            m.BatchNodeDisableSchedulingOptions(node_disable_scheduling_option="requeue"),
        )

    pool = site.pool("theirs", target_dedicated_nodes=1)
    done = meanwhile(site, spec(pool, HELD, "8s"), RUNS, offline)
    assert done.code == 7, done.err
    assert "offline" in done.cause("nodes-offline")["summary"]


# --- attach --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "code", "exit_code"),
    [
        (spec({**FIXED, **FAILS}, keep=True), "start-task-failed", 4),
        (spec({**AUTO, **FAILS}, keep=True), "start-task-failed", 4),
        (spec(FIXED, BLOCKED, keep=True), "dependency-failed", 3),
    ],
    ids=["start task", "start task, auto pool", "dependency failed"],
)
def test_attach_explains_what_it_waits_for(
    site: Site, body: Body, code: str, exit_code: int
) -> None:
    path, place = site.write(body), site.place
    assert place.run("apply", path, "-y", "--detach").code == 0
    done = ran(place.run("attach", path, "--progress", "json"))
    assert done.code == exit_code, done.err
    assert done.cause(code)["ends"]


def test_attach_to_a_job_of_a_schedule(site: Site) -> None:
    body = spec({**FIXED, **FAILS}, keep=True)
    body = {
        **body,
        "job": {**body["job"], "schedule": {"every": "1h", "until": "2100-01-01T00:00:00Z"}},
    }
    path, place = site.write(body), site.place
    assert place.run("apply", path, "-y").code == 0
    done = ran(place.run("attach", path, "--progress", "json"))
    try:
        assert done.code == 4, done.err
        assert done.cause("start-task-failed")["ends"]
    finally:
        assert place.run("destroy", path, "-y").code == 0
