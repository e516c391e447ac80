"""The host process, with supervisors that end at inconvenient moments."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from batchspec.local.agent import host as module
from batchspec.local.agent.host import Host, Lines, line


@pytest.fixture
def host() -> Iterator[Host]:
    """A host in the process of the test that has started nothing."""
    found = Host.__new__(Host)  # not set up: signals and limits are those of the tests
    found.orders = Lines(0)
    reports, found.reporting = os.pipe()
    found.reports = Lines(reports)
    found.pipes, found.busy, found.idle = {}, {}, []
    yield found
    os.close(reports)
    os.close(found.reporting)


def test_a_supervisor_killed_after_its_report_takes_no_run(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, pipe = pipes = os.pipe()
    host.pipes, host.busy = {7: pipe}, {7: "1"}
    report = line(run="1", me=7, exit=0)
    os.write(host.reporting, report)
    ended = iter([7, 0])
    said: list[bytes] = []
    monkeypatch.setattr(module, "reap", lambda: next(ended))
    monkeypatch.setattr(module, "send_line", said.append)
    host.collect()
    assert (host.pipes, host.busy, host.idle) == ({}, {}, [])
    assert said == [report]
    os.close(pipes[0])


def test_supervisors_that_end_together_are_awaited(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    # More supervisors than the host keeps for later runs; their closed pipes tell them to end.
    pids = range(1000, 1200)
    gone = 1 << 20  # no descriptor
    host.orders.closed = True
    host.pipes, host.busy = dict.fromkeys(pids, gone), {pid: str(pid) for pid in pids}
    for pid in pids:
        os.write(host.reporting, line(run=str(pid), me=pid, signal=9))
    ended = iter([*pids, 0])
    said: list[bytes] = []
    monkeypatch.setattr(module, "reap", lambda: next(ended))
    monkeypatch.setattr(module, "send_line", said.append)
    host.collect()
    assert (host.pipes, host.busy, host.idle) == ({}, {}, [])
    assert len(said) == len(pids)
