"""A run with injected faults is complete: nothing is lost or done twice, and the user is warned."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from batchspec import local
from batchspec.local.store import Store
from tests.cli.conftest import Inside
from tests.e2e.conftest import Workplace

RESULTS = {f"square-{n}.txt": f"{n * n}\n" for n in range(1, 13)} | {"total.txt": "650\n"}


@pytest.fixture
def inside(separate_place: Workplace) -> Iterator[Inside]:
    """A workplace whose commands run in this process, and whose service is started by the test."""
    yield Inside(separate_place.folder, separate_place.home, separate_place.environ)


def told(home: Path) -> Counter[str]:
    """What has gone wrong, by its kind, as the log names it."""
    text = (home / "daemon.log").read_text(encoding="utf-8")
    return Counter(re.findall(r"local\.chaos: ([a-z-]+)", text))


def kept_of(home: Path) -> tuple[list[str], list[str], dict[str, tuple[str, str | None]]]:
    """Pools, jobs, and the tasks of the job with their state and result, after it has ended."""
    store = Store(home / "batch" / "batch.db")
    try:
        tasks = {
            task.id: (task.state.value, task.result) for task in store.tasks.page("fault-injection")
        }
        return [x.id for x in store.pools.page()], [x.id for x in store.jobs.page()], tasks
    finally:
        store.close()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_run_succeeds_despite_injected_faults(inside: Inside, seed: int) -> None:
    spec = inside.folder / "specs" / "fault-injection.yaml"
    local.start(
        inside.home,
        options=local.SimulationOptions(chaos="bad-day,throttle=5%:0,preempt=100%:1s", seed=seed),
    )
    done = inside.run("apply", spec, "--progress", "plain")
    assert done.code == 0, done.text
    assert (
        "the embedded service simulates time or faults (chaos: throttle=5%:0,throttle-silent"
        in done.err
    )
    assert f"(seed {seed})" in done.err
    results = inside.folder / "results" / "fault-injection"
    assert {path.name: path.read_text() for path in results.iterdir()} == RESULTS
    assert told(inside.home).total() >= 3
    local.stop(inside.home)
    pools, jobs, tasks = kept_of(inside.home)
    assert (pools, jobs, len(tasks)) == ([], ["fault-injection"], 13)
    assert set(tasks.values()) == {("completed", "success")}


def test_a_run_succeeds_with_faster_time(inside: Inside) -> None:
    """SAS are dated by the wall clock and tasks by the simulated one; files still transfer."""
    asked = local.SimulationOptions(speed=20, allocation="20s")
    local.start(inside.home, options=asked)
    done = inside.run(
        "apply", inside.folder / "specs" / "fault-injection.yaml", "--progress", "plain"
    )
    assert done.code == 0, done.text
    results = inside.folder / "results" / "fault-injection"
    assert {path.name: path.read_text() for path in results.iterdir()} == RESULTS


def test_a_run_without_quota_ends_soon_and_names_what_mends_it(inside: Inside) -> None:
    local.start(inside.home, options=local.SimulationOptions(chaos="no-quota"))
    done = inside.run("apply", inside.folder / "specs" / "fault-injection.yaml")
    assert done.code == 4, done.text
    said = " ".join(done.text.split())
    assert "got no nodes: AccountCoreQuotaReached" in said
    assert "The specified account has reached core quota" in said
    assert "request a higher quota of dedicated cores" in said


def test_a_bad_day_is_chosen_by_the_environment_and_shown(inside: Inside) -> None:
    inside.environ |= {"BATCHSPEC_LOCAL_CHAOS": "slow=100%:1ms", "BATCHSPEC_LOCAL_SPEED": "60"}
    started = inside.run("local", "start", "--seed", "7")
    assert started.code == 0, started.text
    assert "chaos    slow=100%:1ms (seed 7)" in started.out
    assert "time     60 times as fast; a node takes 226s to start" in started.out
    shown = inside.run("local", "status")
    assert "chaos    slow=100%:1ms (seed 7)" in shown.out
    assert re.search(r"^time     \d{4}-.* UTC, 60 times as fast;", shown.out, re.MULTILINE)
    del inside.environ["BATCHSPEC_LOCAL_CHAOS"], inside.environ["BATCHSPEC_LOCAL_SPEED"]
    again = inside.run("local", "start")
    assert "chaos    slow=100%:1ms (seed 7)" in again.out, "it says what runs"
    other = inside.run("local", "start", "--chaos", "flaky")
    assert other.code == 4
    assert "[running-otherwise]" in other.err


def test_what_cannot_be_read_starts_nothing(inside: Inside) -> None:
    for options in (("--chaos", "bad-dya"), ("--speed", "0"), ("--chaos", "lost@create_pol=1%")):
        done = inside.run("local", "start", *options)
        assert done.code == 2, done.text
        assert "fix: " in done.err
    assert "Did you mean create_pool?" in done.err
    assert not inside.home.exists()
