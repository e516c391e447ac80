"""For the tests of others: a pytest fixture that hands out a local Batch account.

What lives here: fixtures, with their options and marks, and nothing else; it is the one module of
this package that knows pytest. It is loaded by each run of pytest where batchspec is installed;
``-p no:batchspec`` leaves it out.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from batchspec import local

_CHAOS = "batch_chaos(chaos, seed=0): give the test's batch_account a bad day (`bad-day`, ...)"
_SPEED = "batch_speed(speed): let the time of the test's batch_account pass so many times as fast"


def pytest_addoption(parser: pytest.Parser) -> None:
    """The day of every account that a mark gives no other."""
    group = parser.getgroup("batchspec", "local Batch accounts")
    group.addoption("--batch-chaos", metavar="CHAOS", help="what goes wrong in batch_account")
    group.addoption("--batch-seed", metavar="NUMBER", type=int, help="the seed of --batch-chaos")


def pytest_configure(config: pytest.Config) -> None:
    """Make the marks known."""
    for mark in (_CHAOS, _SPEED):
        config.addinivalue_line("markers", mark)


@pytest.fixture
def batch_account(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[local.Endpoints]:
    """A Batch account with its storage, empty and of this test alone, running until it is done.

    Its day is a good one, or the one that the mark ``batch_chaos`` or ``--batch-chaos`` describes;
    its time passes as the wall's, or as fast as the mark ``batch_speed`` says.

    Raises:
        LocalError: the service cannot be started; its code and hint say why.
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
    """The arguments of the mark; Python says what is wrong with others."""
    return chaos, seed


def _of_speed(speed: float) -> float:
    return speed
