"""Rules about the VM size of the pool: whether Batch offers it and it has what the spec requests.

The facts are those of the service (`virtualMachineSkus`). Sizes that the service does not list are
not checked further.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta

from batchspec.catalog import vm_sizes
from batchspec.diagnostics import Diagnostic, counted
from batchspec.frozen import frozen
from batchspec.plan.capacity import VmSize
from batchspec.plan.cost import node_range
from batchspec.plan.plan import Step
from batchspec.plan.rules.capacity import creates_nodes
from batchspec.plan.rules.rule import (
    WARNING,
    Finding,
    RuleContext,
    RuleGroup,
    place_of,
)
from batchspec.pricing import NodeKind
from batchspec.spec import Record

VM_SIZE = RuleGroup(
    "VM size",
    "Sizes that Batch offers in the region, for plans on Azure that create nodes. Azure Resource"
    " Manager reports them, as it reports the quotas.",
)

_YEAR = timedelta(days=365)
_SHOWN = 5
"""The number of sizes that a message lists."""
_KEYS = ("nodes", "target_dedicated_nodes", "target_low_priority_nodes", "auto_scale_formula")


@VM_SIZE.rule(
    "vm-size-not-offered",
    WARNING,
    title="Batch does not offer the VM size in the region of the account",
    why="The service lists the sizes that your subscription can use in the region.",
    fix="Use a size that `az batch location list-skus --location REGION` lists.",
)
def vm_size_not_offered(context: RuleContext) -> Iterator[Finding]:
    """A size that is not in the list of the region."""
    capacity, name = context.observed.capacity, context.pool.get("vmSize")
    if capacity is None or not capacity.sizes or not isinstance(name, str):
        return
    if capacity.size(name) is not None:
        return
    near = ", ".join(size.words for size in capacity.alike(name)[:_SHOWN])
    region = context.account.region if context.account is not None else ""
    where = f" in {region}" if region else ""
    yield Finding(
        f"Batch does not offer the VM size {name!r}{where}",
        context.at_pool("vm_size"),
        f"Sizes with as many cores: {near}" if near else "",
        f"`az batch location list-skus --location {region}` lists the sizes" if region else "",
    )


@VM_SIZE.rule(
    "vm-size-support-ends",
    WARNING,
    title="Batch ends its support of the VM size",
    why="The Batch service reports this date for your region. It can be earlier than the date on"
    " which Azure retires the size.",
    fix="Use a size of a newer generation.",
)
def vm_size_support_ends(context: RuleContext) -> Iterator[Finding]:
    """Support that has ended or ends within a year, unless ``vm-size-retired`` reports it."""
    size, now = _offered(context), context.observed.now
    if size is None or size.ends is None or size.ends - now >= _YEAR:
        return
    announced = vm_sizes.retirement(size.name)
    if announced is not None and announced - now < _YEAR and announced <= size.ends:
        return
    verb = "ended" if size.ends <= now else "ends"
    yield Finding(
        f"Batch {verb} its support of the VM size {size.name.lower()!r} on {size.ends:%Y-%m-%d}",
        context.at_pool("vm_size"),
    )


@VM_SIZE.rule(
    "vm-size-without-spot",
    WARNING,
    title="The VM size has no Spot nodes",
    why="Azure does not offer Spot VMs of every size (`LowPriorityCapable`).",
    fix="Use dedicated nodes, or another size.",
)
def vm_size_without_spot(context: RuleContext) -> Iterator[Finding]:
    """Spot nodes of a size for which Azure offers none."""
    size = _offered(context)
    if size is not None and not size.spot and NodeKind.SPOT in node_range(context).kinds:
        yield Finding(
            f"the VM size {size.name.lower()!r} has no Spot nodes",
            context.at_pool(*_KEYS),
        )


def _offered(context: RuleContext) -> VmSize | None:
    capacity, name = context.observed.capacity, context.pool.string("vmSize")
    return capacity.size(name) if capacity is not None and name is not None else None


@VM_SIZE.rule(
    "vm-size-lacks",
    WARNING,
    title="The VM size does not have what the pool requests",
    why="The service lists what each size has in the region (`MaxDataDiskCount`, `GPUs`,"
    " `PremiumIO`, `AcceleratedNetworkingEnabled`, `EncryptionAtHostSupported`,"
    " `EphemeralOSDiskSupported`, `TrustedLaunchDisabled`). The allocation of nodes that"
    " request more fails, and a GPU driver is not installed on a node without a GPU.",
    fix="Use another size, or remove the property.",
)
def vm_size_lacks(context: RuleContext) -> Iterator[Finding]:
    """A property of the pool that the size does not support."""
    size, spec = _offered(context), context.spec
    if size is None or context.existing:
        return
    for asked in _asked(context):
        if asked.fits(size):
            continue
        most = f"supports at most {size.disks}" if asked.counts_disks else "does not support it"
        yield Finding(
            f"the pool requests {asked.what}; {size.words} {most}",
            place_of(spec, f"pool.{asked.path}", spec.pool.where),
            _sizes_that_fit(context, asked.fits),
        )


@VM_SIZE.rule(
    "vm-size-too-small",
    WARNING,
    title="Containers of tasks request more than a node has",
    why="The options of `docker run` (`--cpus`, `--memory`, `--gpus`) apply to one container, and a"
    " node runs a task in each slot. Docker refuses more cores than the node has, and a GPU that"
    " the node does not have. If the memory is too small, processes end.",
    fix="Use a larger size, fewer slots (`task_slots_per_node`), or smaller numbers.",
)
def vm_size_too_small(context: RuleContext) -> Iterator[Finding]:
    """Containers of a stage that request more cores, memory or GPUs than a node has."""
    size = _offered(context)
    if size is None:
        return
    for stage in context.spec.stages:
        options = stage.body.string("containerSettings", "containerRunOptions")
        if options is None:
            continue
        where = context.at_stage(
            stage, "container_settings.container_run_options", "container_settings", "container"
        )
        tasks = max(context.slots // max(stage.body.number("requiredSlots", 1), 1), 1)
        for problem in _exceeded(options, size, tasks):
            yield Finding(f"tasks of {stage.name}: {problem}; a node is {size.words}", where)


Fits = Callable[[VmSize], bool]


def _has(capability: str) -> Fits:
    return lambda size: capability not in size.lacks


_GPU_DRIVER = re.compile(r"(nvidia|amd)gpudriver", re.IGNORECASE)
"""Types of the VM extensions that install the driver of a GPU (publisher Microsoft.HpcCompute)."""


@frozen
class _Asked:
    """A request of the pool to its VM size: as text, its path in the pool, and a test of sizes."""

    what: str
    path: str
    fits: Fits
    counts_disks: bool = False


def _asked(context: RuleContext) -> Iterator[_Asked]:
    machine, at = context.machine, "virtual_machine_configuration"
    if count := len(machine.array("dataDisks")):
        yield _Asked(
            counted(count, "data disk"),
            f"{at}.data_disks",
            lambda size: size.disks is None or size.disks >= count,
            counts_disks=True,
        )
    if any(_is_premium(disk) for disk in machine.records("dataDisks")):
        yield _Asked("premium data disks", f"{at}.data_disks", _has("PremiumIO"))
    os_disk = machine.record("osDisk")
    if _is_premium(os_disk):
        yield _Asked("a premium OS disk", f"{at}.os_disk.managed_disk", _has("PremiumIO"))
    if "ephemeralOSDiskSettings" in os_disk:
        path = f"{at}.os_disk.ephemeral_os_disk_settings"
        yield _Asked("an ephemeral OS disk", path, _has("EphemeralOSDiskSupported"))
    security = machine.record("securityProfile")
    if security.get("encryptionAtHost") is True:
        path = f"{at}.security_profile.encryption_at_host"
        yield _Asked("encryption at host", path, _has("EncryptionAtHostSupported"))
    if (security.string("securityType") or "").lower() == "trustedlaunch":
        path = f"{at}.security_profile.security_type"
        yield _Asked("trusted launch", path, _has("TrustedLaunchDisabled"))
    network = context.pool.record("networkConfiguration")
    if network.get("enableAcceleratedNetworking") is True:
        path = "network_configuration.enable_accelerated_networking"
        yield _Asked("accelerated networking", path, _has("AcceleratedNetworkingEnabled"))
    for index, extension in enumerate(machine.records("extensions")):
        if _GPU_DRIVER.match(extension.string("type") or ""):
            yield _Asked("a GPU driver", f"{at}.extensions[{index}]", lambda size: size.gpus > 0)


def _is_premium(disk: Record) -> bool:
    return (disk.string("managedDisk", "storageAccountType") or "").lower() == "premium_lrs"


def _sizes_that_fit(context: RuleContext, fits: Fits) -> str:
    """Offered sizes that fit and have at least as many cores."""
    capacity, name = context.observed.capacity, context.pool.string("vmSize") or ""
    assert capacity is not None
    cores = capacity.cores(name) or 0
    found = [size for size in (capacity.sizes or {}).values() if fits(size) and size.ends is None]
    found = [size for size in found if (size.cores or 0) >= cores]
    found.sort(key=lambda size: (size.cores or 0, vm_sizes.is_restricted(size.name), size.name))
    words = ", ".join(size.words for size in found[:_SHOWN])
    return f"Sizes that have it: {words}" if words else ""


_OPTION = r"(?:^|\s)(?:{})(?:\s+|=)['\"]?{}(?=['\"\s]|$)"
_CPUS = re.compile(_OPTION.format("--cpus", r"(\d+(?:\.\d+)?)"))
_MEMORY = re.compile(_OPTION.format("--memory|-m", r"(\d+(?:\.\d+)?)([bkmgBKMG]?)"))
_GPUS = re.compile(_OPTION.format("--gpus", r"[^\s]+"))
_IN_GIB = {"": 1 << 30, "b": 1 << 30, "k": 1 << 20, "m": 1 << 10, "g": 1}
"""The number of each unit of `docker run --memory` in one GiB."""


def _exceeded(options: str, size: VmSize, tasks: int) -> Iterator[str]:
    """The options of `docker run` that exceed a node which runs this number of tasks."""
    each = f"{counted(tasks, 'task')} at a time" if tasks > 1 else "a task"
    found = _CPUS.search(options)
    cpus = float(found[1]) if found is not None else None
    if cpus is not None and size.cores and cpus > size.cores:
        yield f"a container may use {cpus:g} cores (`--cpus`)"
    found = _MEMORY.search(options)
    memory = float(found[1]) / _IN_GIB[found[2].lower()] if found is not None else None
    if memory is not None and size.memory is not None and memory * tasks > size.memory:
        total = f", {memory * tasks:g} GB together" if tasks > 1 else ""
        yield f"{each} may use {memory:g} GB (`--memory`){' each' if tasks > 1 else ''}{total}"
    if not size.gpus and _GPUS.search(options):
        yield "a container requests a GPU (`--gpus`)"


def check_vm_size(context: RuleContext, steps: Sequence[Step]) -> Iterator[Diagnostic]:
    """The findings of this group; none for steps that create no nodes."""
    if creates_nodes(context, steps):
        for rule in VM_SIZE.rules:
            yield from rule(context)
