"""Fault injection for requests: replies, effects, and reproducibility."""

from __future__ import annotations

import http.client
import logging
from pathlib import Path
from typing import Any

import pytest

from batchspec.local.fault_injection import FaultKind, RandomSource, parse_fault_injection
from tests.local.engines import pool
from tests.local.running import Service, running

LOST = (http.client.RemoteDisconnected, ConnectionError)


def running_with_faults(folder: Path, text: str, seed: int = 0) -> Any:
    """A service without an engine, with fault injection."""
    return running(folder / "batch", faults=parse_fault_injection(text, seed))


def statuses(service: Service, count: int) -> list[int | str]:
    """The results of repeated requests."""
    found: list[int | str] = []
    for _ in range(count):
        try:
            found.append(service.request("GET", "/jobs").status)
        except LOST:
            found.append("lost")
    return found


@pytest.mark.parametrize(
    ("text", "status", "code", "after"),
    [
        ("throttle=100%", 429, "TooManyRequests", "1"),
        ("throttle=100%:2500ms", 429, "TooManyRequests", "3"),
        ("throttle-silent=100%", 429, "TooManyRequests", None),
        ("busy=100%", 503, "ServerBusy", None),
        ("error=100%", 500, "InternalError", None),
    ],
)
def test_a_request_is_refused_and_not_carried_out(
    tmp_path: Path, text: str, status: int, code: str, after: str | None
) -> None:
    with running_with_faults(tmp_path, text) as service:
        refused = service.request("POST", "/pools", pool())
        assert (refused.status, refused.code) == (status, code)
        assert refused.headers.get("retry-after") == after
        assert refused.headers["request-id"] in refused.json["message"]["value"]
        assert service.store.pools.get("p") is None
        assert service.request("HEAD", "/pools/p").body == b""
        assert service.violations == []


def test_a_lost_reply_was_carried_out(tmp_path: Path) -> None:
    with running_with_faults(tmp_path, "lost@create_pool=100%") as service:
        with pytest.raises(LOST):
            service.request("POST", "/pools", pool())
        assert service.request("GET", "/pools/p").status == 200
        with pytest.raises(LOST):  # that it is there already is lost, too
            service.request("POST", "/pools", pool())


def test_a_slow_reply_is_delayed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with running_with_faults(tmp_path, "slow=100%:50ms") as service:
        assert service.request("GET", "/jobs").json["value"] == []
    assert "slow=100%:50ms: list_jobs" in caplog.text


def test_a_rule_applies_only_to_its_operation(tmp_path: Path) -> None:
    with running_with_faults(
        tmp_path, "error=100%,error@list_pools=0%,busy@list_jobs=100%"
    ) as service:
        assert service.request("GET", "/pools").status == 200
        # A request gets one fault; busy comes first.
        assert service.request("GET", "/jobs").status == 503
        assert service.request("GET", "/jobschedules").status == 500


def test_the_same_seed_injects_the_same_faults(tmp_path: Path) -> None:
    text = "throttle=20%:0,error=20%,lost=20%"
    days = []
    for number, seed in enumerate((1, 1, 2)):
        with running_with_faults(tmp_path / str(number), text, seed) as service:
            days.append(statuses(service, 40))
    assert days[0] == days[1] != days[2]
    assert set(days[0]) == {200, 429, 500, "lost"}


def test_other_requests_do_not_change_the_faults_of_an_operation() -> None:
    chaos = parse_fault_injection("error=50%", 5)
    rule = chaos.rule(FaultKind.ERROR)
    assert rule is not None
    alone, among = RandomSource(chaos), RandomSource(chaos)
    drawn = [alone.applies(rule, "get_job", alone.next("get_job")) for _ in range(30)]
    for expected in drawn:
        among.next("list_jobs")
        assert among.applies(rule, "get_job", among.next("get_job")) is expected


def test_an_unknown_operation_gets_no_faults(tmp_path: Path) -> None:
    with running_with_faults(tmp_path, "error=100%") as service:
        assert service.request("GET", "/nowhere").status == 400
        assert service.request("GET", "/jobs", key="d3Jvbmc=", checked=False).status == 500


def test_a_too_large_request_is_refused_under_fault_injection_too(tmp_path: Path) -> None:
    with running_with_faults(tmp_path, "busy=100%") as service:
        assert service.request("POST", "/pools", b"x" * (1 << 20) + b"y").status == 413


def test_the_log_names_the_injected_faults_and_no_secret(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO), running_with_faults(tmp_path, "lost=100%") as service:
        with pytest.raises(LOST):
            service.request("GET", "/jobs/j/tasks", query="x=secret")
        assert "lost=100%: list_tasks" in caplog.text
        assert service.key not in caplog.text
        assert "secret" not in caplog.text
    assert not [entry for entry in caplog.records if entry.levelno >= logging.ERROR]
