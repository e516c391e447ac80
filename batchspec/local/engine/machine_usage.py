"""The usage of this machine, for the samples of autoscale formulas and the statistics of pools.

Linux only, from ``/proc``. All nodes are on this machine, so its usage is that of each of them.
Units of samples are those of the article "Create a formula to automatically scale compute nodes":
memory in megabytes, used disk space in gigabytes, other amounts in bytes or operations since the
sample before.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_IDLE = (3, 4)  # idle, and waiting for disks
_SECTOR = 512
_PARTITION = re.compile(r"p?\d+")
_VIRTUAL_DISK = re.compile(r"(loop|ram|zram|dm-|md|sr|fd)\d+")
_MEGABYTE, _GIGABYTE = 1_000_000, 1_000_000_000


@dataclass(frozen=True, slots=True)
class MachineReading:
    """The usage at one time. A value that is not known is missing.

    ``counters`` only grow: bytes and operations since the start of the machine, and of all
    processors the ticks (``ticks``) and those that were not idle (``busy``). ``used`` are bytes of
    memory (``memory``) and of the disk of the nodes (``disk``).
    """

    counters: Mapping[str, int]
    used: Mapping[str, int]


class MachineUsage:
    """Metrics of this machine. The counters of the previous sample are kept for each caller."""

    def __init__(self, disk: Path, proc: Path = Path("/proc")) -> None:
        """``disk`` is a folder on the disk of the nodes."""
        self._disk = disk
        self._proc = proc
        # The first sample of a pool has the amounts since the start of the service, and the
        # processor usage since the start of the machine.
        self._start = {**self._counters(), "busy": 0, "ticks": 0}
        self._seen: dict[str, Mapping[str, int]] = {}

    def sample(self, caller: str) -> dict[str, float]:
        """The metrics at this time, by the name of their variable without ``$``.

        Amounts are those since the last call of ``caller``. A metric that is not known is missing.
        """
        now, before = self._counters(), self._seen.get(caller, self._start)
        self._seen[caller] = now
        passed = {name: float(max(0, now[name] - before.get(name, 0))) for name in now}
        busy, ticks = passed.pop("busy", 0.0), passed.pop("ticks", 0.0)
        cpu = {"CPUPercent": min(1.0, busy / ticks)} if ticks > 0 else {}
        used = self._used()
        space = {
            metric: used[name] / unit
            for name, metric, unit in (
                ("memory", "MemoryBytes", _MEGABYTE),
                ("disk", "DiskBytes", _GIGABYTE),
            )
            if name in used
        }
        return {**cpu, **space, **passed}

    def read(self) -> MachineReading:
        """The usage at this time; it does not count as a sample."""
        return MachineReading(self._counters(), self._used())

    def _used(self) -> dict[str, int]:
        """Used memory and disk space, in bytes."""
        found: dict[str, int] = {}
        with suppress(OSError, KeyError, ValueError):
            lines = self._read("meminfo")
            kib = {line.partition(":")[0]: int(line.split()[1]) for line in lines}
            found["memory"] = (kib["MemTotal"] - kib["MemAvailable"]) * 1024
        with suppress(OSError):
            found["disk"] = shutil.disk_usage(self._disk).used
        return found

    def _counters(self) -> dict[str, int]:
        """Everything that the kernel counts; what it does not show is missing."""
        found: dict[str, int] = {}
        readers: tuple[Callable[[], dict[str, int]], ...] = (
            self._processors,
            self._disks,
            self._networks,
        )
        for read in readers:
            with suppress(OSError, IndexError, ValueError):
                found |= read()
        return found

    def _processors(self) -> dict[str, int]:
        ticks = [int(number) for number in self._read("stat")[0].split()[1:9]]
        return {"busy": sum(ticks) - sum(ticks[place] for place in _IDLE), "ticks": sum(ticks)}

    def _disks(self) -> dict[str, int]:
        rows = {row[2]: row for row in map(str.split, self._read("diskstats"))}
        disks = [
            row
            for name, row in rows.items()
            if not _VIRTUAL_DISK.fullmatch(name)
            and not any(
                name.startswith(whole) and _PARTITION.fullmatch(name[len(whole) :])
                for whole in rows
            )
        ]
        return {
            "DiskReadOps": sum(int(row[3]) for row in disks),
            "DiskReadBytes": sum(int(row[5]) for row in disks) * _SECTOR,
            "DiskWriteOps": sum(int(row[7]) for row in disks),
            "DiskWriteBytes": sum(int(row[9]) for row in disks) * _SECTOR,
        }

    def _networks(self) -> dict[str, int]:
        rows = [line.partition(":") for line in self._read("net/dev")[2:]]
        counts = [numbers.split() for name, _, numbers in rows if name.strip() != "lo"]
        return {
            "NetworkInBytes": sum(int(row[0]) for row in counts),
            "NetworkOutBytes": sum(int(row[8]) for row in counts),
        }

    def _read(self, name: str) -> list[str]:
        return (self._proc / name).read_text(encoding="ascii").splitlines()
