"""The text of fault injection rules and of simulated conditions: what is parsed, what is
refused.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchspec.local import LocalError, Simulation, SimulationOptions
from batchspec.local.api import ROUTES
from batchspec.local.daemon import (
    Announcement,
    Home,
    State,
    Status,
    read_announcement,
    write_announcement,
)
from batchspec.local.fault_injection import (
    DEFAULT_DURATIONS,
    PROFILES,
    REQUEST_FAULTS,
    FaultInjection,
    FaultKind,
    FaultRule,
    Quota,
    QuotaKind,
    check_operations,
    format_duration,
    hash_fraction,
    parse_duration,
    parse_fault_injection,
)

ROOT = Path(__file__).parents[2]
OPERATIONS = [route.operation for route in ROUTES]

spans = st.integers(0, 10**9).map(lambda count: timedelta(milliseconds=count))
percents = st.integers(1, 100_000).map(lambda thousandth: thousandth / 1000)
rules = st.builds(
    lambda kind, percent, duration, operation: FaultRule(
        kind,
        percent,
        duration if kind in DEFAULT_DURATIONS else timedelta(),
        operation if kind in REQUEST_FAULTS else None,
    ),
    st.sampled_from(list(FaultKind)),
    percents,
    spans,
    st.sampled_from([None, "create_pool", "list_tasks"]),
)
quotas = st.builds(
    lambda kind, limit, family: Quota(kind, limit, family if kind is QuotaKind.QUOTA else None),
    st.sampled_from(list(QuotaKind)),
    st.integers(0, 1_000_000),
    st.sampled_from([None, "dsv3", "ncadsa100v4"]),
)
days = st.builds(
    FaultInjection,
    st.lists(rules, unique_by=lambda rule: (rule.kind, rule.operation)).map(tuple),
    st.lists(quotas, unique_by=lambda quota: (quota.kind, quota.family)).map(tuple),
    st.integers(-(2**40), 2**40),
    spans,
)


@settings(deadline=None)
@given(days)
def test_the_text_of_rules_is_parsed_to_the_same_rules(day: FaultInjection) -> None:
    assert parse_fault_injection(day.text, day.seed) == day


@settings(deadline=None)
@given(spans)
def test_a_formatted_duration_is_parsed_to_the_same_duration(duration: timedelta) -> None:
    assert parse_duration(format_duration(duration)) == duration


@pytest.mark.parametrize(
    ("text", "seconds"), [("0", 0), ("500ms", 0.5), ("1.5m", 90), ("226s", 226), ("2h", 7200)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


def test_rules_are_a_list() -> None:
    day = parse_fault_injection(
        "throttle=5%, lost@create_task_collection=12.5%,slow=1%:300ms,quota=4,"
        "quota@standardDSv3Family=2,transition=5s",
        seed=7,
    )
    assert day == FaultInjection(
        (
            FaultRule(FaultKind.THROTTLE, 5, timedelta(seconds=1)),
            FaultRule(FaultKind.LOST, 12.5, operation="create_task_collection"),
            FaultRule(FaultKind.SLOW, 1, timedelta(milliseconds=300)),
        ),
        (Quota(QuotaKind.QUOTA, 4), Quota(QuotaKind.QUOTA, 2, "dsv3")),
        7,
        timedelta(seconds=5),
    )
    assert day.quota(QuotaKind.QUOTA) == 4
    assert day.quota(QuotaKind.SPOT_QUOTA) is None
    assert day.family_quotas() == {"dsv3": 2}
    assert parse_fault_injection(day.text, 7) == day


def test_a_later_rule_replaces_an_earlier_one() -> None:
    day = parse_fault_injection("bad-day,preempt=0%,error=50%,error@get_job=0%")
    assert day.rule(FaultKind.PREEMPT) is None
    assert day.rule(FaultKind.ERROR) == FaultRule(FaultKind.ERROR, 50)
    assert day.rule(FaultKind.ERROR, "create_job") == FaultRule(FaultKind.ERROR, 50)
    assert day.rule(FaultKind.ERROR, "get_job") is None
    assert day.rule(FaultKind.LOST) is not None


def test_a_file_has_lines_and_comments(tmp_path: Path) -> None:
    file = tmp_path / "monday"
    file.write_text("# after the holidays\nspot  # they are gone\nerror=1%,\n\nbusy = 2%\n")
    assert parse_fault_injection(str(file)) == parse_fault_injection("spot,error=1%,busy=2%")


def test_an_empty_text_injects_nothing() -> None:
    assert not parse_fault_injection("")
    assert not parse_fault_injection("preempt=0%")
    assert parse_fault_injection("").text == ""


@pytest.mark.parametrize("name", PROFILES)
def test_every_profile_injects_faults(name: str) -> None:
    assert parse_fault_injection(name)
    assert parse_fault_injection(f"{name},error=1%").rule(FaultKind.ERROR) is not None


@pytest.mark.parametrize(
    ("text", "fix"),
    [
        ("throtle=5%", "Did you mean throttle?"),
        ("bad-dya", "Did you mean bad-day?"),
        ("preemtp", "Did you mean preempt?"),
        ("xyzzy", "profiles"),
        ("error=5", "error=5%"),
        ("error=101%", "error=5%"),
        ("slow=nan%", "slow=5%:2s"),
        ("slow=5%:1y", "500ms"),
        ("task=5%:1s", "task=5%"),
        ("preempt@create_pool=5%", "throttle"),
        ("quota=5%", "quota=4"),
        ("quota=-1", "quota=4"),
        ("quota=" + "1" * 5000, "quota=4"),
        ("/no/such/file", "profiles"),
        ("error=5% busy=5%", "profiles"),
    ],
)
def test_an_invalid_rule_has_a_hint(text: str, fix: str) -> None:
    with pytest.raises(LocalError) as caught:
        parse_fault_injection(text)
    assert caught.value.code == "chaos-unreadable"
    assert fix in caught.value.fix, caught.value.fix


@settings(deadline=None)
@given(st.text())
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        parse_fault_injection(text)
    except LocalError as error:
        assert error.code == "chaos-unreadable"


def test_operations_are_those_of_the_protocol() -> None:
    check_operations(
        parse_fault_injection("lost@create_task_collection=5%,error@get_pool=1%,busy=1%"),
        OPERATIONS,
    )
    with pytest.raises(LocalError) as caught:
        check_operations(parse_fault_injection("lost@create_taks_collection=5%"), OPERATIONS)
    assert "create_task_collection" in caught.value.fix


def test_random_fractions_are_reproducible_and_uniform() -> None:
    assert hash_fraction(1, "error", "get_job", 3) == hash_fraction(1, "error", "get_job", 3)
    assert hash_fraction(1, "a", "bc") != hash_fraction(1, "ab", "c")
    drawn = [
        hash_fraction(seed, "error", "get_job", number)
        for seed in range(20)
        for number in range(50)
    ]
    assert len(set(drawn)) == 1000
    assert 0.45 < sum(drawn) / 1000 < 0.55
    assert 70 < sum(one < 0.1 for one in drawn) < 130


def test_conditions_come_from_options_and_then_from_the_environment() -> None:
    environ = {
        "BATCHSPEC_LOCAL_SPEED": "60",
        "BATCHSPEC_LOCAL_CHAOS": "flaky",
        "BATCHSPEC_LOCAL_SEED": "3",
    }
    read = Simulation.read(environ, SimulationOptions())
    assert read == Simulation(60, timedelta(seconds=226), parse_fault_injection("flaky", 3))
    asked = SimulationOptions(speed=2, allocation="5s", chaos="", seed=4)
    assert Simulation.read(environ, asked) == Simulation(
        2, timedelta(seconds=5), FaultInjection(seed=4)
    )
    assert Simulation.read({}, SimulationOptions()) == Simulation()
    assert not SimulationOptions()
    assert SimulationOptions(seed=0)


def test_conditions_are_options_of_the_daemon() -> None:
    expected = Simulation(
        2.5, timedelta(milliseconds=1500), parse_fault_injection("bad-day,quota=1", 9)
    )
    given = dict(option.removeprefix("--").split("=", 1) for option in expected.options())
    asked = SimulationOptions(
        float(given["speed"]), given["allocation"], given["chaos"], int(given["seed"])
    )
    assert Simulation.read({"BATCHSPEC_LOCAL_CHAOS": "spot"}, asked) == expected


def test_an_announcement_has_the_conditions_and_may_be_of_another_version(tmp_path: Path) -> None:
    home = Home(tmp_path)
    faults = parse_fault_injection("bad-day", 7)
    expected = Simulation(60, timedelta(seconds=226), faults, entra_only=True)
    now = datetime(2026, 1, 1, tzinfo=UTC)
    told = Announcement("http://b", "http://s", 1, now, "0", expected, timedelta(hours=3))
    write_announcement(home, told)
    assert read_announcement(home) == told
    newer = json.loads(home.endpoints.read_text())
    newer |= {"later": 1, "simulation": newer["simulation"] | {"later": 1}}
    newer["separation"] = {"ids": {"first": 5, "later": 1}, "reason": "", "later": 1}
    home.endpoints.write_text(json.dumps(newer))
    read = read_announcement(home)
    assert read is not None
    assert read.simulation == told.simulation
    assert read.separation.ids is not None and read.separation.ids.first == 5
    write_announcement(home, told)
    older = json.loads(home.endpoints.read_text())
    del older["simulation"], older["ahead"]
    home.endpoints.write_text(json.dumps(older))
    assert read_announcement(home) == Announcement("http://b", "http://s", 1, now, "0")


def test_a_status_shows_the_time_of_the_service() -> None:
    started = datetime(2026, 1, 1, tzinfo=UTC)
    status = Status(
        State.RUNNING,
        Path("data"),
        Path("log"),
        started=started,
        simulation=Simulation(60),
        ahead=timedelta(hours=3),
    )
    minute = timedelta(minutes=1)
    assert status.time(started + minute) == started + timedelta(hours=4)
    assert Status(State.STOPPED, Path("data"), Path("log")).time(started) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [("SPEED", "fast"), ("SPEED", "0"), ("SPEED", "nan"), ("SPEED", "1e9"),
     ("ALLOCATION", "soon"), ("CHAOS", "bad"), ("SEED", "x")],
)  # fmt: skip
def test_an_invalid_environment_is_reported(name: str, value: str) -> None:
    with pytest.raises(LocalError) as caught:
        Simulation.read({f"BATCHSPEC_LOCAL_{name}": value}, SimulationOptions())
    assert caught.value.code.endswith("-unreadable")
    assert caught.value.fix
