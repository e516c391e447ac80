"""The usage of this machine, for samples of autoscale formulas and ``resourceStats`` of pools.

This works on Linux only, from ``/proc``. All nodes are on this machine, so each node has the usage
of the machine. The units of samples follow the article "Create a formula to automatically scale
compute nodes": memory in megabytes, used disk space in gigabytes, other amounts in bytes or
operations since the previous sample.

For statistics, the kernel's counters are read in rounds of the engine, at most once per second and
at least every 30 seconds while a pool has nodes. Usage before the first reading does not count.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from batchspec.local.model import Pool, Resources
from batchspec.local.store import Store

_IDLE = (3, 4)  # idle, and waiting for disks
_SECTOR = 512
_PARTITION = re.compile(r"p?\d+")
_VIRTUAL_DISK = re.compile(r"(loop|ram|zram|dm-|md|sr|fd)\d+")
_MEGABYTE, _GIGABYTE = 1_000_000, 1_000_000_000


@dataclass(frozen=True, slots=True)
class MachineReading:
    """The usage at one time, without unknown values.

    ``counters`` only increase: bytes and operations since the start of the machine, the ticks of
    all processors (``ticks``) and the ticks in which they were not idle (``busy``). ``used`` are
    bytes of memory (``memory``) and of the disk of the nodes (``disk``).
    """

    counters: Mapping[str, int]
    used: Mapping[str, int]


class MachineUsage:
    """Metrics of this machine; stores the counters of the previous sample of each caller."""

    def __init__(self, disk: Path, proc: Path = Path("/proc")) -> None:
        """``disk`` is a folder on the disk of the nodes."""
        self._disk = disk
        self._proc = proc
        # The first sample of a pool contains amounts since the start of the service, and the
        # processor usage since the start of the machine.
        self._start = {**self._counters(), "busy": 0, "ticks": 0}
        self._seen: dict[str, Mapping[str, int]] = {}

    def sample(self, caller: str) -> dict[str, float]:
        """The current metrics, by the name of their variable without ``$``.

        Amounts count from the last call of ``caller``. Unknown metrics are omitted.
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
        """The current usage; this does not count as a sample."""
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
        """All counters that the kernel shows."""
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


_SHORTEST, _LONGEST = timedelta(seconds=1), timedelta(seconds=30)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class _LastReading:
    """The last reading for a pool, its time, and whether it was the first reading."""

    pool: Pool
    reading: MachineReading
    at: datetime
    first: bool


class PoolResources:
    """Adds the usage of this machine to the resources of all pools that have nodes."""

    def __init__(self, store: Store, usage: MachineUsage, speed: float) -> None:
        """``speed`` is the speed of the service's clock; the intervals are real time."""
        self._store = store
        self._usage = usage
        self._shortest, self._longest = _SHORTEST * speed, _LONGEST * speed
        self._readings: dict[int, _LastReading] = {}
        self._last: datetime | None = None

    def resume(self, now: datetime) -> None:
        """Begin measuring for the pools that have nodes at the start of the service."""
        self._begin({pool.seq: pool for pool in self._store.pools.with_nodes()}, now)

    def measure(self, starting: Iterable[Pool], now: datetime) -> None:
        """Measure if a reading is due; begin measuring for pools whose nodes are ``starting``."""
        if self._readings and (self._last is None or now - self._last >= self._shortest):
            self._measure(now)
        self._begin({pool.seq: pool for pool in starting if pool.seq not in self._readings}, now)

    def next_moment(self, now: datetime) -> datetime | None:
        """The due time of the next reading; ``None`` if no pool has nodes, or after a failure."""
        if not self._readings:
            return None
        # A pool gets its first amounts after the shortest interval.
        moments = [one.at + self._shortest for one in self._readings.values() if one.first]
        if self._last is not None:
            moments.append(self._last + self._longest)
        return min((moment for moment in moments if moment > now), default=None)

    def _begin(self, pools: Mapping[int, Pool], now: datetime) -> None:
        if pools:
            reading = self._usage.read()
            last = {
                seq: _LastReading(pool, reading, now, first=True) for seq, pool in pools.items()
            }
            self._readings |= last

    def _measure(self, now: datetime) -> None:
        reading = self._usage.read()
        for last in self._readings.values():
            # This includes pools whose nodes have left since the last reading.
            pool = self._store.pools.get(last.pool.id)
            if pool is not None and pool.seq == last.pool.seq:
                used = self._store.pools.resources(pool) or Resources(last.at, last.at)
                used = add_reading(used, last.reading, reading, now - last.at)
                self._store.pools.set_resources(pool, replace(used, until=now))
        self._readings = {
            pool.seq: _LastReading(pool, reading, now, first=pool.seq not in self._readings)
            for pool in self._store.pools.with_nodes()
        }
        self._last = now


def add_reading(
    used: Resources, earlier: MachineReading, later: MachineReading, passed: timedelta
) -> Resources:
    """Add the usage between two readings, ``passed`` apart; missing values count as 0."""
    span = passed // _MICROSECOND
    total = used.measured + span

    def counted(name: str) -> int:
        return max(0, later.counters.get(name, 0) - earlier.counters.get(name, 0))

    def mean(average: int, name: str) -> int:
        now = later.used.get(name, 0)
        between = (earlier.used.get(name, 0) + now) / 2
        return round((average * used.measured + between * span) / total) if total else now

    def peak(highest: int, name: str) -> int:
        return max(highest, earlier.used.get(name, 0), later.used.get(name, 0))

    return replace(
        used,
        measured=total,
        busy=used.busy + counted("busy"),
        ticks=used.ticks + counted("ticks"),
        memory=mean(used.memory, "memory"),
        peak_memory=peak(used.peak_memory, "memory"),
        disk=mean(used.disk, "disk"),
        peak_disk=peak(used.peak_disk, "disk"),
        disk_reads=used.disk_reads + counted("DiskReadOps"),
        disk_writes=used.disk_writes + counted("DiskWriteOps"),
        disk_read=used.disk_read + counted("DiskReadBytes"),
        disk_written=used.disk_written + counted("DiskWriteBytes"),
        network_in=used.network_in + counted("NetworkInBytes"),
        network_out=used.network_out + counted("NetworkOutBytes"),
    )
