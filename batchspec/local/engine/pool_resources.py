"""Measures what pools use for their ``resourceStats``: the usage of this machine, for each pool
while it has nodes.

The counters of the kernel are read at most once per second in rounds that take place anyway, and
otherwise every 30 seconds; never while no pool has nodes. What is used between the start of the
machine or of the service and the first reading does not count.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from batchspec.local.engine.machine_usage import MachineReading, MachineUsage
from batchspec.local.model import Pool, Resources
from batchspec.local.store import Store

_SHORTEST, _LONGEST = timedelta(seconds=1), timedelta(seconds=30)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class _Begun:
    """The last reading for a pool, when it was taken, and whether it was the first one."""

    pool: Pool
    reading: MachineReading
    at: datetime
    first: bool


class PoolResources:
    """Adds what this machine uses to the resources of all pools that have nodes."""

    def __init__(self, store: Store, usage: MachineUsage, speed: float) -> None:
        """``speed`` is that of the service's clock: readings are at intervals of real time."""
        self._store = store
        self._usage = usage
        self._shortest, self._longest = _SHORTEST * speed, _LONGEST * speed
        self._begun: dict[int, _Begun] = {}
        self._last: datetime | None = None

    def resume(self, now: datetime) -> None:
        """Begin with the pools that have nodes at the start of the service."""
        self._begin({pool.seq: pool for pool in self._store.pools.with_nodes()}, now)

    def measure(self, starting: Iterable[Pool], now: datetime) -> None:
        """Measure if it is due, and begin with the pools of ``starting``, of which nodes start."""
        if self._begun and (self._last is None or now - self._last >= self._shortest):
            self._measure(now)
        self._begin({pool.seq: pool for pool in starting if pool.seq not in self._begun}, now)

    def next_moment(self, now: datetime) -> datetime | None:
        """When the next reading is due; ``None`` if there is nothing to measure, or one failed."""
        if not self._begun:
            return None
        # The first amounts of a pool are shown soon.
        moments = [one.at + self._shortest for one in self._begun.values() if one.first]
        if self._last is not None:
            moments.append(self._last + self._longest)
        return min((moment for moment in moments if moment > now), default=None)

    def _begin(self, pools: Mapping[int, Pool], now: datetime) -> None:
        if pools:
            reading = self._usage.read()
            begun = {seq: _Begun(pool, reading, now, first=True) for seq, pool in pools.items()}
            self._begun |= begun

    def _measure(self, now: datetime) -> None:
        reading = self._usage.read()
        for begun in self._begun.values():
            # Also a pool whose nodes have left since the last reading has used something.
            pool = self._store.pools.get(begun.pool.id)
            if pool is not None and pool.seq == begun.pool.seq:
                used = self._store.pools.resources(pool) or Resources(begun.at, begun.at)
                used = add_reading(used, begun.reading, reading, now - begun.at)
                self._store.pools.set_resources(pool, replace(used, until=now))
        self._begun = {
            pool.seq: _Begun(pool, reading, now, first=pool.seq not in self._begun)
            for pool in self._store.pools.with_nodes()
        }
        self._last = now


def add_reading(
    used: Resources, earlier: MachineReading, later: MachineReading, passed: timedelta
) -> Resources:
    """Add what was used between two readings, ``passed`` apart; missing values count as 0."""
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
