"""The limits of an account: its quotas, the VM sizes of its region, and the use by its pools."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field
from datetime import datetime

from batchspec.catalog import vm_sizes
from batchspec.diagnostics import Diagnostic
from batchspec.frozen import frozen
from batchspec.plan.observed import PoolFacts


@frozen
class AccountResource:
    """A Batch account as Azure Resource Manager describes it. Absent values are ``None`` or empty.

    ``id`` is the resource id, ``state`` the provisioning state. ``user_subscription``: nodes are
    created in the subscription of the user (``poolAllocationMode``), whose quotas limit the cores;
    the account then has no quota of cores. ``authentication`` are the allowed modes, empty if not
    restricted. ``storage`` is the resource id of the auto-storage account,
    ``storage_authentication`` how Batch signs in there. ``dedicated_cores``, ``spot_cores``,
    ``pools`` and ``jobs`` (with schedules) are quotas; ``family_cores`` are those of dedicated
    cores by :func:`~batchspec.catalog.vm_sizes.family_key`, which apply in addition to
    ``dedicated_cores`` if ``families_enforced``.
    """

    id: str
    region: str = ""
    state: str = ""
    user_subscription: bool = False
    public_access: str = ""
    authentication: tuple[str, ...] = ()
    storage: str = ""
    storage_authentication: str = ""
    dedicated_cores: int | None = None
    spot_cores: int | None = None
    family_cores: Mapping[str, int] = field(default_factory=dict)
    families_enforced: bool = False
    pools: int | None = None
    jobs: int | None = None


@frozen
class VmSize:
    """A VM size of the region: ``cores`` are those that are available, ``memory`` is in GB.

    ``family`` is that of the quotas, ``generations`` are those of images that boot (``None``: not
    known), ``ends`` is when Batch ends its support. ``spot``: Spot nodes can have this size.
    ``disks`` is the largest number of data disks. ``lacks`` are the capabilities that the service
    lists as absent, by its names, e.g. ``PremiumIO``; ``TrustedLaunchDisabled`` if it is true.
    """

    name: str
    family: str
    cores: int | None = None
    memory: float | None = None
    gpus: int = 0
    generations: tuple[int, ...] | None = None
    spot: bool = True
    ends: datetime | None = None
    disks: int | None = None
    lacks: frozenset[str] = frozenset()

    @property
    def words(self) -> str:
        """Name, cores, memory and GPUs in one phrase."""
        parts = [f"{self.cores} cores" if self.cores is not None else ""]
        parts.append(f"{self.memory:g} GB" if self.memory is not None else "")
        parts.append(f"{self.gpus} GPU" + "s" * (self.gpus > 1) if self.gpus else "")
        return f"{self.name.lower()} ({', '.join(part for part in parts if part)})"


@frozen
class PoolCores:
    """The cores that a pool has or has requested, whichever number is larger.

    ``family`` is that of its size, as :func:`~batchspec.catalog.vm_sizes.family_key` writes it.
    """

    pool: str
    family: str
    dedicated: int
    spot: int


@frozen
class Capacity:
    """The limits of an account, and their use by its pools. ``resource`` and ``sizes`` (by name in
    lower case) are ``None`` if they are not known; ``problem`` is the reason. ``pools`` are all
    pools of the account.
    """

    resource: AccountResource | None = None
    sizes: Mapping[str, VmSize] | None = None
    pools: tuple[PoolFacts, ...] = ()
    problem: Diagnostic | None = None

    def size(self, name: str) -> VmSize | None:
        """The facts of a size; ``None`` if the region does not offer it, or it is not known."""
        return (self.sizes or {}).get(name.lower())

    def cores(self, size: str) -> int | None:
        """The cores of a size; ``None`` if they are not known."""
        found = self.size(size)
        return found.cores if found is not None and found.cores else vm_sizes.cores(size)

    def family(self, size: str) -> str:
        """The family of a size as in the quotas; compare it by ``vm_sizes.family_key``."""
        found = self.size(size)
        return found.family if found is not None and found.family else vm_sizes.family(size)

    def alike(self, name: str) -> list[VmSize]:
        """The offered sizes with as many cores, and with GPUs if this one has any, by memory."""
        known, cores = self.size(name), self.cores(name)
        has_gpus = known.gpus > 0 if known is not None else name.lower().startswith("standard_n")
        memory = known.memory if known is not None else None
        found = [
            size
            for size in (self.sizes or {}).values()
            if size.cores == cores and (size.gpus > 0) == has_gpus and size.ends is None
        ]

        def rank(size: VmSize) -> tuple[float, bool, str]:
            distance = abs((size.memory or 0) - memory) if memory is not None else 0
            return distance, vm_sizes.is_restricted(size.name), size.name

        return sorted((size for size in found if size.name.lower() != name.lower()), key=rank)

    def used(self, *, without: str = "") -> tuple[PoolCores, ...]:
        """The cores of each pool that has cores, except the pool ``without`` (an id), in descending
        order."""
        pools = (pool for pool in self.pools if pool.id.lower() != without.lower())
        found = sorted(self._used(pools), key=lambda each: (-each.dedicated - each.spot, each.pool))
        return tuple(found)

    def _used(self, pools: Iterable[PoolFacts]) -> Iterator[PoolCores]:
        for pool in pools:
            size = pool.properties.get("vmSize")
            cores = self.cores(size) if isinstance(size, str) else None
            if not isinstance(size, str) or cores is None:
                continue
            dedicated = max(pool.dedicated, pool.target_dedicated) * cores
            spot = max(pool.spot, pool.target_spot) * cores
            if dedicated or spot:
                yield PoolCores(pool.id, vm_sizes.family_key(self.family(size)), dedicated, spot)


@frozen
class CoreLimit:
    """A quota of cores: its name, its value, and the cores that other pools use. ``users`` are
    those pools, each with its cores.
    """

    name: str
    quota: int
    users: tuple[tuple[str, int], ...] = ()

    @property
    def used(self) -> int:
        """The cores that other pools use."""
        return sum(cores for _, cores in self.users)

    def nodes(self, cores: int) -> int:
        """The number of further nodes with this number of cores that the quota allows."""
        return max(0, self.quota - self.used) // cores


def core_limits(
    capacity: Capacity, size: str, *, spot: bool, without: str = ""
) -> tuple[CoreLimit, ...]:
    """The known quotas that limit nodes of a size; ``without`` is the id of a pool to ignore. One
    quota of Spot cores applies to all families. The quota of the account limits dedicated cores,
    and the quota of the family does if it is enforced.
    """
    resource, used = capacity.resource, capacity.used(without=without)
    if resource is None:
        return ()
    if spot:
        users = tuple((each.pool, each.spot) for each in used if each.spot)
        known = resource.spot_cores
        return (CoreLimit("Spot cores", known, users),) if known is not None else ()
    found = []
    if resource.dedicated_cores is not None:
        users = tuple((each.pool, each.dedicated) for each in used if each.dedicated)
        found.append(CoreLimit("dedicated cores", resource.dedicated_cores, users))
    family = capacity.family(size)
    key = vm_sizes.family_key(family)
    quota = resource.family_cores.get(key)
    if resource.families_enforced and quota is not None:
        users = tuple(
            (each.pool, each.dedicated) for each in used if each.dedicated and each.family == key
        )
        found.append(CoreLimit(f"dedicated cores of {family}", quota, users))
    return tuple(found)


QUOTA_ERRORS: Mapping[str, str] = {
    "AccountCoreQuotaReached": "dedicated cores",
    "AccountVMSeriesCoreQuotaReached": "dedicated cores of ",
    "AccountLowPriorityCoreQuotaReached": "Spot cores",
    "AccountSpotCoreQuotaReached": "Spot cores",
}
"""Error code of a resize → the start of the name of its quota."""


def quota_numbers(capacity: Capacity | None, pool: PoolFacts, code: str) -> str:
    """The quota that a resize of a pool reached, and which pools use it; empty if not known."""
    name, size = QUOTA_ERRORS.get(code), pool.properties.get("vmSize")
    if capacity is None or name is None or not isinstance(size, str):
        return ""
    spot = name.startswith("Spot")
    for limit in core_limits(capacity, size, spot=spot):
        if limit.name == name or (name.endswith(" ") and limit.name.startswith(name)):
            users = ", ".join(f"{user} {cores:,}" for user, cores in limit.users)
            requested = f", and pools have or request {limit.used:,} ({users})" if users else ""
            return f"the quota of {limit.name} is {limit.quota:,}{requested}"
    return ""
