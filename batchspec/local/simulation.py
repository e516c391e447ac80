"""Under what conditions the service lives: how fast its time passes, and what goes wrong in it.

What lives here: the choices of a user, read from options and from the environment. What may not:
anything that touches the disk but the file that a choice names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Self

from batchspec.local.duration import format_duration, parse_duration
from batchspec.local.error import LocalError
from batchspec.local.fault_injection import NO_FAULTS, FaultInjection, parse_fault_injection

SPEED, ALLOCATION = "BATCHSPEC_LOCAL_SPEED", "BATCHSPEC_LOCAL_ALLOCATION"
CHAOS, SEED = "BATCHSPEC_LOCAL_CHAOS", "BATCHSPEC_LOCAL_SEED"

MAX_SPEED = 3600.0
"""An hour in a second: what is faster has no use for the processes of tasks."""

MEDIAN_ALLOCATION = timedelta(seconds=226)
"""What Azure takes to allocate and boot a node: the median of 66 that were recorded."""


@dataclass(frozen=True, slots=True)
class SimulationOptions:
    """What was asked for by options; ``None`` where nothing was, and the environment decides."""

    speed: float | None = None
    allocation: str | None = None
    chaos: str | None = None
    seed: int | None = None

    def __bool__(self) -> bool:
        """Whether anything was asked for."""
        return any(one is not None for one in (self.speed, self.allocation, self.chaos, self.seed))


NO_OPTIONS = SimulationOptions()


@dataclass(frozen=True, slots=True)
class Simulation:
    """``speed`` is how much faster than the wall's the service's time passes; ``allocation`` how
    much of that time passes before a new node comes up.
    """

    speed: float = 1.0
    allocation: timedelta = timedelta()
    faults: FaultInjection = NO_FAULTS

    @classmethod
    def read(cls, environ: Mapping[str, str], asked: SimulationOptions) -> Self:
        """The conditions in ``asked``, and in ``environ`` where it asks for nothing.

        A service that lives faster allocates its nodes as slowly as Azure does, unless it is told
        otherwise.

        Raises:
            LocalError: one cannot be understood.
        """
        speed = asked.speed
        if speed is None:
            speed = _parse_speed(environ.get(SPEED, ""))
        if not 1 <= speed <= MAX_SPEED:
            raise LocalError(
                "speed-unreadable",
                f"Time cannot pass {speed:g} times as fast as it does.",
                hint=f"A speed is a number from 1 to {MAX_SPEED:g}",
            )
        text = environ.get(ALLOCATION, "") if asked.allocation is None else asked.allocation
        allocation = (
            _parse_allocation(text) if text else MEDIAN_ALLOCATION if speed != 1 else timedelta()
        )
        seed = _parse_seed(environ.get(SEED, "")) if asked.seed is None else asked.seed
        named = environ.get(CHAOS, "") if asked.chaos is None else asked.chaos
        return cls(speed, allocation, parse_fault_injection(named, seed))

    def options(self) -> tuple[str, ...]:
        """The conditions as options of the daemon."""
        return (
            f"--speed={self.speed!r}",
            f"--allocation={self.allocation_text}",
            f"--chaos={self.faults.text}",
            f"--seed={self.faults.seed}",
        )

    @property
    def allocation_text(self) -> str:
        """How long a node takes to come up, as it is written."""
        return format_duration(self.allocation)

    @property
    def text(self) -> str:
        """The conditions in a few words."""
        time = f"{self.speed:g} times as fast as the wall's" if self.speed != 1 else "real"
        words = [f"time: {time}"]
        if self.allocation:
            words.append(f"a node takes {self.allocation_text} to come up")
        chaos = self.faults
        words.append(f"chaos: {chaos.text} (seed {chaos.seed})" if chaos else "no chaos")
        return "; ".join(words)


REAL_TIME = Simulation()


def _parse_speed(text: str) -> float:
    try:
        return float(text) if text else 1.0
    except ValueError:
        raise LocalError(
            "speed-unreadable",
            f"{SPEED} is {text!r}, which is no speed.",
            hint=f"A speed is a number from 1 to {MAX_SPEED:g}",
        ) from None


def _parse_allocation(text: str) -> timedelta:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise LocalError(
            "allocation-unreadable",
            f"A node cannot take so long to come up: {error}.",
            hint="It looks like 0, 20s, 226s, 4m",
        ) from error


def _parse_seed(text: str) -> int:
    try:
        return int(text) if text else 0
    except ValueError:
        raise LocalError(
            "chaos-unreadable", f"{SEED} is {text!r}, which is no seed.", hint="A seed is a number"
        ) from None
