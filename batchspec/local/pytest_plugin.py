"""A pytest plugin with a fixture that provides a local Batch account.

pytest loads it wherever batchspec is installed; ``-p no:batchspec`` disables it. Only this module
imports pytest.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from batchspec import local

_CHAOS = "batch_chaos(chaos, seed=0): inject faults into the test's batch_account (`bad-day`, ...)"
_SPEED = (
    "batch_speed(speed): run the clock of the test's batch_account at this multiple of real time"
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options for the accounts of tests without a mark."""
    group = parser.getgroup("batchspec", "local Batch accounts")
    group.addoption("--batch-chaos", metavar="CHAOS", help="faults injected into batch_account")
    group.addoption("--batch-seed", metavar="NUMBER", type=int, help="the seed of --batch-chaos")


def pytest_configure(config: pytest.Config) -> None:
    """Register the marks."""
    for mark in (_CHAOS, _SPEED):
        config.addinivalue_line("markers", mark)


@pytest.fixture
def batch_account(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[local.Endpoints]:
    """An empty Batch account with storage for this test only; it stops after the test.

    The mark ``batch_chaos`` or the option ``--batch-chaos`` injects faults. The mark
    ``batch_speed`` sets the speed of the account's clock.

    Raises:
        LocalError: the service cannot be started; its code and fix explain why.
    """
    data = tmp_path_factory.mktemp("batch") / "account"
    try:
        yield local.start(data, options=_options(request))
    finally:
        local.stop(data)


def _options(request: pytest.FixtureRequest) -> local.SimulationOptions:
    chaos, seed = (request.config.getoption(name) for name in ("--batch-chaos", "--batch-seed"))
    if mark := request.node.get_closest_marker("batch_chaos"):
        chaos, seed = _of_chaos(*mark.args, **mark.kwargs)
    speed = None
    if mark := request.node.get_closest_marker("batch_speed"):
        speed = _of_speed(*mark.args, **mark.kwargs)
    return local.SimulationOptions(speed=speed, chaos=chaos, seed=seed)


def _of_chaos(chaos: str, seed: int = 0) -> tuple[str, int]:
    """The arguments of the mark; Python reports invalid ones."""
    return chaos, seed


def _of_speed(speed: float) -> float:
    return speed
