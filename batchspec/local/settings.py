"""Where things lie and which Node to use: the one place that reads the environment.

What may not live here: anything that touches the disk.
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
    """What a task may use: bytes of memory, number of processes; ``None`` is no limit."""

    memory: int | None = None
    processes: int | None = None

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> Self:
        """The limits in ``environ``; a size may end with ``K``, ``M``, ``G`` or ``T``.

        Raises:
            LocalError: one is no number above zero.
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
            f"{name} is {text!r}, which is no limit.",
            hint=f"A limit looks like {example}; unset it for none",
        )
    return value


@dataclass(frozen=True, slots=True)
class Settings:
    """The choices of a user about the local service.

    ``data`` is the folder of its state, ``cache`` the folder of what can be fetched again,
    ``node`` the Node.js executable that the user named (``BATCHSPEC_NODE``), ``path`` the search
    path for a Node.js of the system, ``limits`` are those of every task, and ``conditions`` say how
    time passes and what goes wrong.
    """

    data: Path
    cache: Path
    node: Path | None
    path: str
    limits: Limits = NO_LIMITS
    conditions: Simulation = REAL_TIME

    @classmethod
    def read(
        cls,
        environ: Mapping[str, str],
        *,
        data: Path | None = None,
        options: SimulationOptions = NO_OPTIONS,
    ) -> Self:
        """The settings in ``environ``; ``data`` comes first, then ``BATCHSPEC_LOCAL_HOME``.

        So do the conditions that are ``asked`` for.

        Raises:
            LocalError: one cannot be understood.
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
            conditions=Simulation.read(environ, options),
        )
