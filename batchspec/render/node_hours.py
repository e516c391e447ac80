"""How long nodes were allocated in a run, and what that costs: the one place that adds it up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

from batchspec.apply.events import NodesSeen, PricesSeen
from batchspec.pricing import NodeKind, NodePrices, NodeType, Price, Unknown

Key = tuple[str, str]
"""A VM size in lower case, and a kind: ``dedicated`` or ``spot``."""


class NodeTime:
    """Adds up the node-hours of pools, on the service's clock.

    ``last`` is the last event of each pool.
    """

    def __init__(self) -> None:
        self.last: dict[str, NodesSeen] = {}
        self._at: dict[str, datetime] = {}
        self._hours: dict[Key, float] = {}

    def add(self, event: NodesSeen, at: datetime) -> None:
        """Add the time since the last event; a number that has changed is taken as the mean.

        ``at`` is the time of the event on this machine.
        """
        if event.service_time is None:
            return  # A record of an earlier version.
        before = self.last.get(event.pool)
        self.last[event.pool], self._at[event.pool] = event, at
        if before is None or before.service_time is None:
            return
        hours = max((event.service_time - before.service_time).total_seconds(), 0.0) / 3600
        earlier = dict(_counts(before))
        for key, count in _counts(event):
            first = earlier.get(key, 0)
            if first or count:
                self._hours[key] = self._hours.get(key, 0.0) + hours * (first + count) / 2

    @property
    def hours(self) -> Mapping[Key, float]:
        """The node-hours up to the last events."""
        return dict(self._hours)

    def released_at(self, moment: datetime) -> Mapping[Key, float]:
        """The node-hours from the last events until all nodes are released, at a service time."""
        return added(
            {key: count * max((moment - event.service_time).total_seconds(), 0.0) / 3600}
            for event in self.last.values()
            if event.service_time is not None
            for key, count in _counts(event)
            if count
        )

    def until(self, now: datetime) -> Mapping[Key, float]:
        """The node-hours until ``now`` if nothing has changed since the last events."""
        hours = dict(self._hours)
        for pool, event in self.last.items():
            since = max((now - self._at[pool]).total_seconds(), 0.0) / 3600
            for key, count in _counts(event):
                if count:
                    hours[key] = hours.get(key, 0.0) + since * count
        return hours


def _counts(event: NodesSeen) -> Iterator[tuple[Key, int]]:
    size = event.vm_size.lower()
    yield (size, NodeKind.DEDICATED), event.dedicated
    yield (size, NodeKind.SPOT), event.spot


def added(runs: Iterable[Mapping[Key, float]]) -> Mapping[Key, float]:
    """The node-hours of several runs."""
    total: dict[Key, float] = {}
    for hours in runs:
        for key, value in hours.items():
            total[key] = total.get(key, 0.0) + value
    return total


def node_prices(event: PricesSeen) -> NodePrices:
    """The prices of an event as a value of ``pricing``."""

    def price(per_hour: float | None) -> Price | Unknown:
        if per_hour is None:
            return Unknown(event.unknown)
        return Price(per_hour, event.currency, event.source)

    # Region and operating system are part of the prices.
    return NodePrices(NodeType(event.vm_size, ""), price(event.dedicated), price(event.spot))


def price_of(key: Key, prices: NodePrices) -> Price | None:
    """The price of nodes of a size and kind, if it is known."""
    size, kind = key
    # Neither is known of a node that was deleted before it was seen in a list.
    if size != prices.node.size.lower() or kind not in tuple(NodeKind):
        return None
    price = prices.of(NodeKind(kind))
    return price if isinstance(price, Price) else None


def spent(hours: Mapping[Key, float], prices: NodePrices) -> float | None:
    """What node-hours cost; ``None`` if a price is not known."""
    total = 0.0
    for key, value in hours.items():
        price = price_of(key, prices)
        if price is None:
            return None
        total += value * price.per_hour
    return total
