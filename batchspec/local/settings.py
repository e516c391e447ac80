"""Settings of the local service from the environment: folders, Node.js, task limits, simulation.

Nothing here accesses the disk.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import platformdirs

from batchspec.local.error import LocalError
from batchspec.local.simulation import NO_OPTIONS, REAL_TIME, Simulation, SimulationOptions

MEMORY, PROCESSES = "BATCHSPEC_LOCAL_TASK_MEMORY", "BATCHSPEC_LOCAL_TASK_PROCESSES"
_SIZE = re.compile(r"(\d{1,15})([KMGT]?)", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a task: memory in bytes and number of processes; ``None`` is no limit."""

    memory: int | None = None
    processes: int | None = None

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> Self:
        """The limits in ``environ``; a size may have the suffix ``K``, ``M``, ``G`` or ``T``.

        Raises:
            LocalError: a value is not a positive number.
        """
        processes = environ.get(PROCESSES, "")
        return cls(
            memory=_read(MEMORY, environ.get(MEMORY, "")),
            processes=_read(PROCESSES, processes, units=False),
        )


NO_LIMITS = Limits()


def _read(name: str, text: str, *, units: bool = True) -> int | None:
    if not text:
        return None
    found = _SIZE.fullmatch(text)
    value = int(found[1]) << 10 * " KMGT".index(found[2].upper() or " ") if found else 0
    if found is None or value < 1 or (found[2] and not units):
        example = "4G" if units else "100"
        raise LocalError(
            "limit-unreadable",
            f"{name} is {text!r}, which is not a valid limit.",
            fix=f"Set {name} to a number such as {example}, or unset it for no limit",
        )
    return value


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a local service.

    ``data`` is the folder of its state, ``cache`` the folder of downloads, ``node`` the Node.js
    executable from ``BATCHSPEC_NODE``, ``path`` the search path for another Node.js. ``limits``
    apply to every task; ``simulation`` sets the speed of time and the injected faults.
    """

    data: Path
    cache: Path
    node: Path | None
    path: str
    limits: Limits = NO_LIMITS
    simulation: Simulation = REAL_TIME

    @classmethod
    def read(
        cls,
        environ: Mapping[str, str],
        *,
        data: Path | None = None,
        options: SimulationOptions = NO_OPTIONS,
    ) -> Self:
        """The settings in ``environ``; ``data`` and ``options`` take precedence.

        Raises:
            LocalError: a value is not valid.
        """
        if data is None:
            named = environ.get("BATCHSPEC_LOCAL_HOME")
            data = Path(named) if named else platformdirs.user_data_path("batchspec") / "local"
        node = environ.get("BATCHSPEC_NODE")
        return cls(
            data=data.expanduser().absolute(),
            cache=platformdirs.user_cache_path("batchspec"),
            node=Path(node).expanduser() if node else None,
            path=environ.get("PATH", ""),
            limits=Limits.read(environ),
            simulation=Simulation.read(environ, options),
        )
