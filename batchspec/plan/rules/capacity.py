"""Rules about the quotas of the account and its VM sizes, for plans that create something."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from batchspec.catalog import vm_sizes
from batchspec.diagnostics import Diagnostic, abridged, counted
from batchspec.frozen import frozen
from batchspec.plan.actions import (
    CreateJob,
    CreatePool,
    CreateSchedule,
    ReplaceJob,
    ReplacePool,
    ReplaceSchedule,
    ResizePool,
    ScalePool,
)
from batchspec.plan.capacity import CoreLimit, core_limits
from batchspec.plan.cost import node_range
from batchspec.plan.plan import Step
from batchspec.plan.rules.account import ACCOUNT
from batchspec.plan.rules.rule import ERROR, NOTE, WARNING, Finding, RuleContext, RuleGroup
from batchspec.pricing import NodeKind
from batchspec.spec import PoolKind

CAPACITY = RuleGroup(
    "Quotas and VM sizes",
    "Limits of the account, for plans on Azure that create nodes. batchspec reads them from "
    "Azure Resource Manager if AZURE_SUBSCRIPTION_ID is set or you sign in with Microsoft "
    "Entra ID. Otherwise, a plan skips these checks.",
)

_SHOWN = 5
"""How many pools or sizes a message lists."""
_KEYS = ("nodes", "target_dedicated_nodes", "target_low_priority_nodes", "auto_scale_formula")


@frozen
class _Demand:
    """The largest number of nodes of one kind; 1 if a custom formula determines the number."""

    kind: str
    nodes: int
    cores: int
    limits: tuple[CoreLimit, ...]

    @property
    def tightest(self) -> CoreLimit:
        """The quota that allows the fewest nodes."""
        return min(self.limits, key=lambda limit: limit.nodes(self.cores))

    @property
    def possible(self) -> int:
        """The number of nodes that the quotas still allow."""
        return self.tightest.nodes(self.cores)

    @property
    def never(self) -> bool:
        """Whether a quota is smaller than one node, even if no other pool uses it."""
        return any(limit.quota < self.cores for limit in self.limits)


def _demands(context: RuleContext) -> tuple[_Demand, ...]:
    """The demands of the pool at its largest size, without kinds whose quota is not known."""
    capacity, size = context.observed.capacity, context.pool.get("vmSize")
    if capacity is None or not isinstance(size, str):
        return ()
    cores = capacity.cores(size)
    own = "" if context.spec.pool.kind is PoolKind.JOB else context.spec.pool.id
    nodes, found = node_range(context), []
    for kind in nodes.kinds:
        spot = kind is NodeKind.SPOT
        limits = core_limits(capacity, size, spot=spot, without=own)
        most = nodes.of(kind)[1]
        if limits and cores:
            name = "Spot" if spot else "dedicated"
            found.append(_Demand(name, 1 if most is None else most, cores, limits))
    return tuple(found)


def creates_nodes(context: RuleContext, steps: Sequence[Step]) -> bool:
    """Whether steps create nodes: with a pool, a larger pool, or a job that has an auto pool."""
    created: tuple[type, ...] = (CreatePool, ReplacePool, ResizePool, ScalePool)
    if context.spec.pool.kind is PoolKind.JOB:
        created = (CreateJob, ReplaceJob, CreateSchedule, ReplaceSchedule)
    return any(isinstance(step.action, created) for step in steps)


@CAPACITY.rule(
    "no-core-quota",
    ERROR,
    title="The quota of cores allows no node of the pool",
    why="The pool would be created, and its allocation would fail (`AccountCoreQuotaReached`). New"
    " accounts often have no cores in most VM families.",
    fix="Use a VM size of a family with quota, or request cores: Azure portal, the Batch account,"
    " Quotas.",
)
def no_core_quota(context: RuleContext) -> Iterator[Finding]:
    """The quota of each kind of node in the pool is smaller than the cores of one node."""
    demands = _demands(context)
    kinds = node_range(context).kinds
    if not demands or len(demands) < len(kinds) or not all(each.never for each in demands):
        return
    first = demands[0]
    yield Finding(
        f"the pool {context.spec.pool.id!r} would get no nodes: {_limit(first)}",
        context.at_pool("vm_size"),
        _other_families(context),
        _request(context, first),
    )


@CAPACITY.rule(
    "core-quota-exceeded",
    WARNING,
    title="The quota of cores is smaller than the maximum size of the pool",
    why="The service allocates as many nodes as the quota allows (`AccountCoreQuotaReached`,"
    " `AccountLowPriorityCoreQuotaReached`, `AccountVMSeriesCoreQuotaReached`). The cores "
    "that other pools have or have requested also count.",
    fix="Use fewer nodes, delete pools that are not used (`batchspec list --orphans`), or request"
    " cores: Azure portal, the Batch account, Quotas.",
)
def core_quota_exceeded(context: RuleContext) -> Iterator[Finding]:
    """The pool can have more nodes than the quota still allows, also by its scale limits."""
    if any(True for _ in no_core_quota.check(context)):
        return
    for each in _demands(context):
        if each.nodes <= each.possible:
            continue
        users = abridged([f"{pool} {cores:,}" for pool, cores in each.tightest.users], _SHOWN)
        yield Finding(
            f"the pool {context.spec.pool.id!r} can get {each.possible:,} of"
            f" {counted(each.nodes, f'{each.kind} node')}: {_limit(each)}",
            context.at_pool(*_KEYS),
            f"Cores of other pools: {users}" if users else "",
            _request(context, each),
        )


def _limit(demand: _Demand) -> str:
    """The quota, the part of it that other pools use, and the cores of a node."""
    limit = demand.tightest
    used = f", other pools use {limit.used:,}" if limit.used else ""
    each = f"a node has {counted(demand.cores, 'core')}"
    return f"the quota of {limit.name} is {limit.quota:,}{used}, and {each}"


def _request(context: RuleContext, demand: _Demand) -> str:
    limit = demand.tightest
    needed = limit.used + demand.nodes * demand.cores
    portal = "Azure portal, the Batch account, Quotas"
    if context.account is not None and context.account.id:
        portal = f"https://portal.azure.com/#@/resource{context.account.id}, Quotas"
    few = "Use another size"
    if demand.possible:
        few = f"Use at most {counted(demand.possible, f'{demand.kind} node')}"
    return f"{few}, or request at least {needed:,} {limit.name}: {portal}"


def _other_families(context: RuleContext) -> str:
    """Sizes with the same number of cores, of families that have quota."""
    capacity, name = context.observed.capacity, context.pool.get("vmSize")
    if capacity is None or capacity.resource is None or not isinstance(name, str):
        return ""
    quota = capacity.resource.family_cores
    fitting = [
        size
        for size in capacity.alike(name)
        if quota.get(vm_sizes.family_key(size.family), 0) >= (size.cores or 1)
    ]
    words = ", ".join(size.words for size in fitting[:_SHOWN])
    return f"Sizes with quota: {words}" if words else ""


@CAPACITY.rule(
    "core-quota-not-known",
    NOTE,
    title="The quota of cores belongs to the subscription, and is not checked",
    why="The account creates nodes in your subscription (`poolAllocationMode: "
    "UserSubscription`) and has no separate quota of cores.",
    fix="`az vm list-usage --location REGION --output table` lists the quotas of the subscription.",
)
def core_quota_not_known(context: RuleContext) -> Iterator[Finding]:
    """An account that creates nodes in the user's subscription."""
    resource = context.account
    if resource is not None and resource.user_subscription:
        yield Finding(
            "the quota of cores is not known: the account creates nodes in your subscription",
            fix=f"`az vm list-usage --location {resource.region} --output table` lists the quotas"
            " of the subscription.",
        )


@CAPACITY.rule(
    "account-not-read",
    NOTE,
    title="Quotas and VM sizes of the account are not checked",
    why="Only Azure Resource Manager reports them. It needs the subscription and a sign-in with"
    " Microsoft Entra ID, and does not accept account keys.",
    fix="Set AZURE_SUBSCRIPTION_ID, and sign in with an identity that has the role 'Azure Batch"
    " Account Reader' or 'Azure Batch Data Contributor' on the account.",
)
def account_not_read(context: RuleContext) -> Iterator[Finding]:
    """Facts about the account that are not known, with the cause."""
    capacity = context.observed.capacity
    if capacity is None or capacity.problem is None:
        return
    unknown = "VM sizes" if capacity.resource is not None else "quotas and VM sizes"
    if capacity.resource is None and capacity.sizes is not None:
        unknown = "quotas"
    yield Finding(
        f"{unknown} of the account are not checked: {capacity.problem.summary}",
        # The service's reason is the first line; azure-identity adds lines about each credential.
        detail=capacity.problem.detail.partition("\n")[0],
        fix=capacity.problem.fix,
    )


@CAPACITY.rule(
    "account-not-ready",
    WARNING,
    title="The Batch account is not ready",
    why="Its provisioning state is not `Succeeded`: it is being created or deleted, or its creation"
    " or deletion failed.",
    fix="Check the account: `az batch account show --name NAME --resource-group GROUP --query"
    " provisioningState`.",
)
def account_not_ready(context: RuleContext) -> Iterator[Finding]:
    """A provisioning state in which requests may fail."""
    resource = context.account
    if resource is not None and resource.state not in {"", "Succeeded"}:
        yield Finding(f"the provisioning state of the Batch account is {resource.state}")


def check_capacity(context: RuleContext, steps: Sequence[Step]) -> Iterator[Diagnostic]:
    """The findings of this group; none for steps that create no nodes."""
    if creates_nodes(context, steps):
        for rule in CAPACITY.rules:
            yield from rule(context)


_MAX_POOLS = 100
"""Pools that an account can have by default (Batch quotas and limits: 0 to 100)."""
_MAX_JOBS = 100
"""Active jobs and schedules that every account can have (Batch quotas and limits: 100 to 300)."""
_COUNTED = CreateJob | CreateSchedule
"""Without replacements, which do not raise the count."""
_NEAR = 0.9
_LIMITED = "azure"


@ACCOUNT.rule(
    "pools-near-quota",
    WARNING,
    title="The account is close to its quota of pools",
    why="The default quota is up to 100 (at most 500 on request); at the quota the service rejects"
    " new pools (`PoolQuotaReached`).",
    fix="Delete unused pools: `batchspec list --orphans` finds them.",
)
def pools_near_quota(context: RuleContext, steps: Sequence[Step]) -> Iterator[Finding]:
    """A pool to create brings the number of pools close to the quota, or the default quota."""
    most = f"up to {_MAX_POOLS}"
    if near := _near_quota(context, steps, "pools", "pools", _MAX_POOLS, most):
        yield Finding(f"with this pool the account has {near}", context.spec.pool.where)


@ACCOUNT.rule(
    "jobs-near-quota",
    WARNING,
    title="The account is close to its quota of active jobs",
    why="Active jobs and job schedules count together. The default quota is 100 to 300 (at most"
    " 1,000 on request); at the quota the service rejects new jobs"
    " (`ActiveJobAndScheduleQuotaReached`).",
    fix="Terminate jobs that are no longer used: `az batch job stop --job-id ID`.",
)
def jobs_near_quota(context: RuleContext, steps: Sequence[Step]) -> Iterator[Finding]:
    """A job to create brings the number of active jobs close to the quota, or the default quota."""
    most = f"{_MAX_JOBS} to 300"
    if near := _near_quota(context, steps, "jobs", "active jobs and schedules", _MAX_JOBS, most):
        yield Finding(f"with this job the account has {near}", context.spec.job.where)


@ACCOUNT.rule(
    "pool-quota-reached",
    ERROR,
    title="The account has as many pools as its quota allows",
    why="The service rejects new pools (`PoolQuotaReached`). Auto pools also count.",
    fix="Delete pools that are not used (`batchspec list --orphans`), or request a higher quota:"
    " Azure portal, the Batch account, Quotas.",
)
def pool_quota_reached(context: RuleContext, steps: Sequence[Step]) -> Iterator[Finding]:
    """A pool to create in an account whose quota is known and used up."""
    count = _resource_count(context, "pools", steps)
    if count is not None and count.is_exceeded:
        yield Finding(
            f"the account has {count.existing} pools, and its quota is {count.quota}",
            context.spec.pool.where,
        )


@ACCOUNT.rule(
    "job-quota-reached",
    ERROR,
    title="The account has as many active jobs as its quota allows",
    why="The service rejects new jobs and job schedules (`ActiveJobAndScheduleQuotaReached`).",
    fix="Terminate jobs that are no longer used, or request a higher quota: Azure portal, the Batch"
    " account, Quotas.",
)
def job_quota_reached(context: RuleContext, steps: Sequence[Step]) -> Iterator[Finding]:
    """A job to create in an account whose quota is known and used up."""
    count = _resource_count(context, "jobs", steps)
    if count is not None and count.is_exceeded:
        yield Finding(
            f"the account has {count.existing} active jobs and schedules, and its quota is"
            f" {count.quota}",
            context.spec.job.where,
        )


@frozen
class _ResourceCount:
    """The number of existing pools, or of active jobs and schedules; ``total`` includes new ones.

    ``quota`` is ``None`` if it is not known.
    """

    existing: int
    total: int
    quota: int | None

    @property
    def is_exceeded(self) -> bool:
        """Whether the quota is known and does not allow the new ones."""
        return self.quota is not None and self.total > self.quota

    def is_near(self, default: int) -> bool:
        """Whether the total is close to the quota, or to ``default`` if the quota is not known."""
        limit = default if self.quota is None else self.quota
        return self.total >= _NEAR * limit and not self.is_exceeded


def _near_quota(  # noqa: PLR0917 - the words of one sentence
    context: RuleContext,
    steps: Sequence[Step],
    kind: Literal["pools", "jobs"],
    noun: str,
    default: int,
    most: str,
) -> str:
    """The number of resources of a kind as text if it is close to the quota; otherwise empty.

    If the quota is not known, the number is compared with ``default``; ``most`` is the default
    quota as the service documents it.
    """
    count = _resource_count(context, kind, steps)
    if count is None or context.observed.account.target != _LIMITED or not count.is_near(default):
        return ""
    if count.quota is None:
        return f"{count.total} {noun}; the default quota is {most}"
    return f"{count.total} of {count.quota} {noun}"


def _resource_count(
    context: RuleContext, kind: Literal["pools", "jobs"], steps: Sequence[Step]
) -> _ResourceCount | None:
    """The number of resources of a kind; ``None`` if it is not known, or no step creates one."""
    usage, resource = context.observed.usage, context.account
    created = CreatePool if kind == "pools" else _COUNTED
    new = sum(isinstance(step.action, created) for step in steps)
    if usage is None or not new:
        return None
    existing = usage.pools if kind == "pools" else usage.jobs
    quota = None
    if resource is not None:
        quota = resource.pools if kind == "pools" else resource.jobs
    return _ResourceCount(existing, existing + new, quota)
