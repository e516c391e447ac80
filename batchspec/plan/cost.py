"""The minimum, expected and maximum cost of a run. Pure.

Nodes are billed from their allocation until they are released, whether a task runs or not. The
maximum follows from the limits that the service enforces: the time limit of the job, the largest
number of nodes, and the time of their release after the job. The expected cost follows from the
times of an earlier run.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import timedelta
from enum import StrEnum
from math import ceil

from batchspec.catalog import NODE_ALLOCATION
from batchspec.frozen import frozen
from batchspec.plan.actions import RetryTasks, SubmitTasks, WaitForTasks
from batchspec.plan.observed import AccountNames, EarlierRun, Observed, PoolFacts, totals
from batchspec.plan.plan import NodeRelease, Step
from batchspec.plan.rules.image import has_windows, runs_windows
from batchspec.plan.rules.rule import RuleContext
from batchspec.pricing import NodeKind, NodePrices, NodeType, Price, Unknown
from batchspec.spec import Cost, OtherRates, PoolKind, Record, Spec, When, duration, scale_range

START = timedelta(minutes=5)
"""Assumed time from the allocation of a node to its first task, without an earlier run."""
_SOONEST = timedelta(minutes=1)
"""Tasks that start sooner after the creation of their job run on nodes that existed before."""
RELEASE = timedelta(minutes=10)
"""Assumed maximum time until the service has released nodes."""
_CLEANUP = timedelta(minutes=2)
"""Expected time until batchspec has seen the end of the job and deleted the pool."""
_INTERVAL = timedelta(minutes=15)
"""The default of ``autoScaleEvaluationInterval``."""
_HOUR = timedelta(hours=1)
_GB = 1e9
_STORAGE = "storage_per_gb_month"


class End(StrEnum):
    """What ends the nodes of the pool."""

    JOB = "job"
    """The service, with the job."""
    SCALE = "scale"
    """The service: the pool scales to 0."""
    CLIENT = "client"
    """Clean-up, if batchspec is running then."""
    NEVER = "never"
    """Nothing: the pool, or a part of it, remains."""
    OTHER = "other"
    """The pool is not created by the spec, and its end is not known."""


@frozen
class Amounts:
    """Three numbers in the same unit; ``None``: not known; for the maximum: not known or no
    limit."""

    least: float | None
    expected: float | None
    most: float | None

    def times(self, factor: float | None) -> Amounts:
        """Each number multiplied; all unknown without a factor."""
        return Amounts(
            *(
                None if each is None or factor is None else each * factor
                for each in (self.least, self.expected, self.most)
            )
        )


NOT_KNOWN = Amounts(None, None, None)


@frozen
class NodeCost:
    """The cost of nodes of one kind; ``nodes`` are the smallest and the largest number.

    A largest number of ``None`` means that there is no limit.
    """

    kind: NodeKind
    nodes: tuple[int, int | None]
    hours: Amounts
    price: Price | Unknown
    cost: Amounts

    @property
    def price_unknown(self) -> Unknown | None:
        """The reason why the price is not known; ``None`` if it is known."""
        return self.price if isinstance(self.price, Unknown) else None


@frozen
class OtherCost:
    """Another cost than that of nodes; ``rate`` is its key, ``reason`` why it is not known."""

    name: str
    rate: str
    cost: Amounts
    reason: str = ""


@frozen
class Estimate:
    """The cost of a run in ``currency``, before taxes, at list prices.

    ``lifetime`` are hours from the creation of the job until its nodes are released. ``tasks`` is
    ``None`` if their number is not known. ``stays`` is the cost per hour of nodes that remain after
    the run; ``None`` if their price is not known. ``release`` is the result of
    :func:`node_release`. ``each_job``: the numbers are for each job of a schedule. ``max`` is the
    limit of the spec.
    """

    currency: str
    prices: NodePrices
    nodes: tuple[NodeCost, ...]
    others: tuple[OtherCost, ...]
    total: Amounts
    lifetime: Amounts
    limit: timedelta
    end: End
    tasks: int | None
    earlier: EarlierRun | None
    stays: float | None
    release: NodeRelease | None = None
    each_job: bool = False
    max: float | None = None

    @property
    def included(self) -> tuple[OtherCost, ...]:
        """The parts of the total other than nodes."""
        return tuple(other for other in self.others if not other.reason)

    @property
    def missing(self) -> tuple[OtherCost, ...]:
        """The costs that are not part of the total."""
        return tuple(other for other in self.others if other.reason)


@frozen
class NodeRange:
    """The numbers of nodes of each kind that a pool can have, and the properties of its formula.

    Nodes stay without tasks for ``idle``, and then until the next evaluation of the formula;
    ``interval`` is the time between evaluations. ``timed``: their number depends on the time
    instead of the tasks. ``fixed``: all nodes stay while there are tasks. ``spot_first``: dedicated
    nodes are added to Spot nodes. The largest number is ``None`` with a custom formula.
    """

    dedicated: tuple[int, int | None]
    spot: tuple[int, int | None]
    idle: timedelta = timedelta()
    interval: timedelta = timedelta()
    scales: bool = False
    timed: bool = False
    fixed: bool = False
    spot_first: bool = False

    @property
    def known(self) -> bool:
        """Whether the largest number is known."""
        return self.dedicated[1] is not None

    def of(self, kind: NodeKind) -> tuple[int, int | None]:
        """The smallest and the largest number of nodes of a kind."""
        return self.dedicated if kind is NodeKind.DEDICATED else self.spot

    @property
    def kinds(self) -> tuple[NodeKind, ...]:
        """The kinds of nodes that the pool can have."""
        return tuple(kind for kind in NodeKind if self.of(kind)[1] != 0)


def node_range(context: RuleContext) -> NodeRange:
    """The numbers of nodes of the pool that a run uses."""
    if not context.scales:
        dedicated, spot = context.targets
        return NodeRange((dedicated, dedicated), (spot, spot))
    found = scale_range(context.pool.string("autoScaleFormula") or "")
    if found is None:
        return NodeRange((0, None), (0, None) if context.spot else (0, 0), scales=True)
    every = duration(context.pool.string("autoScaleEvaluationInterval") or "") or _INTERVAL
    return NodeRange(
        (found.least, found.most),
        (found.least_spot, found.most_spot),
        found.idle,
        every,
        scales=True,
        timed=found.timed,
        fixed=found.fixed,
        spot_first=found.spot_first,
    )


def estimate(
    spec: Spec, observed: Observed, pool: Record, steps: Iterable[Step], *, in_progress: int = 0
) -> Estimate | None:
    """The estimate of a plan with these steps; ``None`` if no estimate is requested or nothing
    runs.

    ``pool`` is the body of Create Pool; ``in_progress`` tasks are in the job already.
    """
    cost, facts = spec.cost, observed.cost
    runs = [step for step in steps if isinstance(step.action, WaitForTasks)]
    scheduled = spec.job.schedule is not None
    if cost is None or facts is None or not (runs or scheduled):
        return None
    submitted = sum(
        step.items for step in steps if isinstance(step.action, SubmitTasks | RetryTasks)
    )
    managed = scheduled or "jobManagerTask" in spec.job.properties
    return _Run(
        spec,
        observed,
        RuleContext(spec, observed, pool),
        cost,
        facts.prices,
        None if managed else submitted + in_progress,
        facts.earlier,
        uploaded_gb(observed),
    ).estimate()


def uploaded_gb(observed: Observed) -> float:
    """GB of the files that the spec uploads."""
    return sum(totals(facts.files)[1] for facts in observed.containers.values()) / _GB


@frozen
class _Run:
    """The inputs of an estimate; ``uploaded`` is in GB."""

    spec: Spec
    observed: Observed
    context: RuleContext
    cost: Cost
    prices: NodePrices
    tasks: int | None
    earlier: EarlierRun | None
    uploaded: float

    def estimate(self) -> Estimate:
        """The whole estimate."""
        nodes = node_range(self.context)
        end = _end_of(self.spec, nodes)
        lifetime = self._lifetime(nodes, end)
        lines = tuple(self._nodes(kind, nodes, lifetime) for kind in nodes.kinds)
        others = tuple(self._others(lines, lifetime))
        known = [other.cost for other in others if not other.reason]
        return Estimate(
            currency=self.cost.currency,
            prices=self.prices,
            nodes=lines,
            others=others,
            total=_sum([*(line.cost for line in lines), *known]),
            lifetime=lifetime,
            limit=self.spec.job.limit,
            end=end,
            tasks=self.tasks,
            earlier=self.earlier,
            stays=self._stays(nodes, end),
            release=_release(nodes, end),
            each_job=self.spec.job.schedule is not None,
            max=self.cost.max,
        )

    def _lifetime(self, nodes: NodeRange, end: End) -> Amounts:
        """Hours from the creation of the job until the nodes are released."""
        earlier = self.earlier
        before = self._before(nodes)
        idle, interval = nodes.idle / _HOUR, nodes.interval / _HOUR
        most = None
        if end is not End.NEVER and nodes.known:
            most = (self.spec.job.limit + RELEASE) / _HOUR + idle + interval
        if self._deleted_by_client():
            idle = interval = 0.0
        least = before + idle
        expected = None
        if earlier is not None and self.tasks is not None and (size := self._size(nodes)):
            slots = size * self.context.slots
            rounds = ceil(self.tasks * self._slots() / slots)
            working = before + (rounds * earlier.task + earlier.after) / 3600
            expected = self._released(min(working, self.spec.job.limit / _HOUR), nodes, end)
        return Amounts(least, expected, most)

    def _deleted_by_client(self) -> bool:
        """Whether batchspec deletes the pool at the end of a successful run."""
        own = self.spec.pool.kind is PoolKind.OWN and self.spec.job.schedule is None
        return own and self.spec.cleanup.pool in {When.ALWAYS, When.ON_SUCCESS}

    def _released(self, working: float, nodes: NodeRange, end: End) -> float:
        """Hours until the nodes are released, if the tasks end after ``working`` hours."""
        if end is End.CLIENT or self._deleted_by_client():
            return working + _CLEANUP / _HOUR
        release = _release(nodes, end)
        if release is None:
            return working
        pool, created = self.observed.pool, self.observed.now
        # Nodes arrive with an evaluation of the formula: of a new pool, when it is created.
        evaluated = pool.autoscale_at if pool is not None and pool.nodes else created
        return (release.expected(created + working * _HOUR, evaluated) - created) / _HOUR

    def _before(self, nodes: NodeRange) -> float:
        """Hours that nodes exist before their first tasks start."""
        pool, earlier = self.observed.pool, self.earlier
        if pool is not None and pool.nodes >= max(self._size(nodes) or 0, 1):
            return 0.0
        if earlier is None:
            return START / _HOUR
        on_azure = self.observed.account.target == "azure"
        if on_azure and timedelta(seconds=earlier.before) < _SOONEST:
            # The nodes of the earlier run existed before it; this run needs new nodes.
            return NODE_ALLOCATION / _HOUR
        if pool is not None and nodes.scales:
            # The tasks also waited for the next evaluation of the formula, without nodes.
            return min(timedelta(seconds=earlier.before), NODE_ALLOCATION) / _HOUR
        return earlier.before / 3600

    def _slots(self) -> int:
        """The slots of a task, on average over the stages, rounded up."""
        taken = [stage.body.number("requiredSlots", 1) for stage in self.spec.stages]
        return ceil(sum(taken) / len(taken)) if taken else 1

    def _size(self, nodes: NodeRange) -> int | None:
        """The number of nodes that the tasks of the run need; all nodes of a pool of fixed size."""
        least, most = nodes.dedicated
        most_spot = nodes.spot[1]
        if most is None or most_spot is None:
            return None
        if not nodes.scales or nodes.timed or nodes.fixed or self.tasks is None:
            return most + most_spot
        needed = ceil(self.tasks * self._slots() / self.context.slots)
        return max(least, min(needed, most + most_spot), 1)

    def _nodes(self, kind: NodeKind, nodes: NodeRange, lifetime: Amounts) -> NodeCost:
        least, most = nodes.of(kind)
        expected: int | None = most
        if nodes.fixed:
            least = most or 0
        elif nodes.scales:
            size = self._size(nodes)
            first = NodeKind.SPOT if nodes.spot_first else NodeKind.DEDICATED
            room = nodes.of(first)[1] or 0
            taken = None if size is None else min(size, room)
            rest = None if size is None or taken is None else size - taken
            expected = taken if kind is first else rest
            # The formula requests a node before there are tasks.
            least = max(least, 1) if kind is first and room else least
        hours = Amounts(
            _product(least, lifetime.least),
            _product(expected, lifetime.expected),
            _product(most, lifetime.most),
        )
        price = self.prices.of(kind)
        return NodeCost(kind, nodes.of(kind), hours, price, hours.times(_per_hour(price)))

    def _others(self, lines: Iterable[NodeCost], lifetime: Amounts) -> Iterator[OtherCost]:
        rates = self.cost.rates
        hours = _sum([line.hours for line in lines])
        yield _other("load balancer and public IP addresses", "network_per_hour", rates, lifetime)
        yield _other("disks of the nodes", "disk_per_node_hour", rates, hours)
        if self.uploaded:
            gb = Amounts(self.uploaded, self.uploaded, self.uploaded)
            yield _other("inputs in storage for a month", _STORAGE, rates, gb)
        yield _other("outputs and logs in storage", _STORAGE, rates, NOT_KNOWN)
        if self.spec.results:
            yield _other("download of results", "egress_per_gb", rates, self._downloaded())

    def _downloaded(self) -> Amounts:
        """GB of results: the blobs that an earlier run left in their containers."""
        keys = {result.container for result in self.spec.results}
        blobs = [blob for key in keys for blob in self.observed.containers[key].blobs]
        if not blobs:
            return NOT_KNOWN
        gb = sum(blob.size for blob in blobs) / _GB
        return Amounts(gb, gb, gb)

    def _stays(self, nodes: NodeRange, end: End) -> float | None:
        """The cost per hour after the run."""
        if end in {End.JOB, End.SCALE, End.CLIENT, End.OTHER}:
            return 0.0
        if nodes.timed:
            return None
        found = 0.0
        for kind in NodeKind:
            left = nodes.of(kind)[0]
            price = _per_hour(self.prices.of(kind))
            if left and price is None:
                return None
            found += left * (price or 0.0)
        return found


def _end_of(spec: Spec, nodes: NodeRange) -> End:
    """What ends the nodes of the pool of a spec."""
    if spec.pool.kind is PoolKind.EXISTING:
        return End.OTHER
    if spec.pool.kind is PoolKind.JOB:
        whole = spec.pool.auto.get("poolLifetimeOption") == "job"
        return End.JOB if whole and spec.pool.auto.get("keepAlive") is not True else End.NEVER
    if nodes.scales and not nodes.timed and not nodes.dedicated[0]:
        return End.SCALE
    scheduled = spec.job.schedule is not None
    return End.NEVER if scheduled or spec.cleanup.pool is When.NEVER else End.CLIENT


def _release(nodes: NodeRange, end: End) -> NodeRelease | None:
    if end is End.JOB:
        return NodeRelease()
    return NodeRelease(nodes.idle, nodes.interval) if end is End.SCALE else None


def node_release(spec: Spec, observed: Observed) -> NodeRelease | None:
    """The delay of the release of the nodes; ``None`` if the service does not release them."""
    nodes = node_range(_pool(spec, observed))
    return _release(nodes, _end_of(spec, nodes))


def _other(name: str, key: str, rates: OtherRates, quantity: Amounts) -> OtherCost:
    rate: float | None = getattr(rates, key)
    if rate is None:
        return OtherCost(name, key, NOT_KNOWN, f"`cost.rates.{key}` is not given")
    if quantity == NOT_KNOWN:
        return OtherCost(name, key, NOT_KNOWN, "the size is not known before the run")
    return OtherCost(name, key, quantity.times(rate))


def _per_hour(price: Price | Unknown) -> float | None:
    return price.per_hour if isinstance(price, Price) else None


def _product(count: int | None, hours: float | None) -> float | None:
    """Nodes times hours; without nodes, the product is 0 even if the hours are not known."""
    if count == 0:
        return 0.0
    return None if count is None or hours is None else count * hours


def _sum(amounts: Iterable[Amounts]) -> Amounts:
    """The sum of each number; unknown if one of its parts is unknown."""
    found = list(amounts)

    def total(parts: Iterable[float | None]) -> float | None:
        values = list(parts)
        return None if None in values else sum(value for value in values if value is not None)

    return Amounts(
        total(each.least for each in found),
        total(each.expected for each in found),
        total(each.most for each in found),
    )


_PUBLIC_HOST = re.compile(r"[^.]+\.([a-z0-9]+)\.batch\.azure\.com(?::\d+)?", re.IGNORECASE)
"""The host of an account in the public cloud: its name and its region. The price list has no prices
of other clouds."""


def node_type(spec: Spec, observed: Observed) -> NodeType:
    """The nodes of the pool that the spec uses, in the region of the spec or of the account."""
    region = (spec.cost.region if spec.cost is not None else "") or region_of(observed.account)
    size = _pool(spec, observed).pool.string("vmSize") or ""
    return NodeType(size, region, windows=runs_windows(spec, observed))


def region_of(account: AccountNames) -> str:
    """The region of an account of the public cloud; empty for others."""
    match = _PUBLIC_HOST.fullmatch(account.batch)
    return match[1].lower() if match is not None else ""


def node_type_of(pool: PoolFacts, region: str) -> NodeType:
    """The nodes of an existing pool in a region."""
    size = pool.properties.string("vmSize") or ""
    return NodeType(size, region, has_windows(pool.properties))


def pool_kinds(spec: Spec, observed: Observed) -> tuple[NodeKind, ...]:
    """The kinds of nodes that the pool of the spec can have."""
    return node_range(_pool(spec, observed)).kinds


def _pool(spec: Spec, observed: Observed) -> RuleContext:
    # The image of the body does not matter here.
    return RuleContext(spec, observed, spec.pool.properties)


def most_cost(spec: Spec, observed: Observed, uploaded: float) -> float | None:
    """The maximum cost of a run of the spec; ``None`` if it is not known or has no limit.

    ``uploaded`` are the GB of its inputs.
    """
    assert spec.cost is not None and observed.cost is not None
    context = _pool(spec, observed)
    facts = observed.cost
    run = _Run(spec, observed, context, spec.cost, facts.prices, None, facts.earlier, uploaded)
    return run.estimate().total.most
