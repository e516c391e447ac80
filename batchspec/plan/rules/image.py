"""Image aliases, and rules about the VM image of the nodes, its node agent and the VM size.

The service needs a publisher, an offer, a sku and the matching node agent. For an alias such as
``ubuntu-24.04``, they are read from the account's list of supported images.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, time, timedelta

from batchspec.catalog import images as catalog
from batchspec.catalog import vm_sizes
from batchspec.diagnostics import Diagnostic, Diagnostics, Place, nearest
from batchspec.plan.observed import Observed, SupportedImage
from batchspec.plan.rules.rule import ERROR, NOTE, WARNING, Finding, RuleContext, RuleGroup
from batchspec.spec import ImageAlias, Pool, Record, Spec, Value


def resolve_image(
    alias: ImageAlias,
    images: Iterable[SupportedImage],
    now: datetime,
    problems: Diagnostics,
    size: Value = None,
) -> Record:
    """The ``virtualMachineConfiguration`` members of an alias; empty if it cannot be resolved.

    Several images can have the alias. Images that VMs of this ``size`` can boot come first, then
    verified images, then the image with the longest support.
    """
    offered = tuple(images)
    named = [image for image in offered if alias.name in aliases(image)]
    if not named:
        problems.extend(_unknown(alias, offered))
        return Record()
    forever = now + timedelta(days=36500)
    newer = isinstance(size, str) and not vm_sizes.boots(size, 1)

    def rank(image: SupportedImage) -> tuple[object, ...]:
        second = catalog.GENERATION_2 in image.capabilities
        # Some sizes boot only generation 2, older sizes only generation 1, the others both.
        fits = (second or not newer, image.verified, second == newer)
        return (*fits, image.end_of_life or forever, image.sku)

    best = max(named, key=rank)
    return Record(
        imageReference=Record(
            publisher=best.publisher, offer=best.offer, sku=best.sku, version=best.version
        ),
        nodeAgentSKUId=best.node_agent,
    )


def aliases(image: SupportedImage) -> frozenset[str]:
    """The aliases of an image: ``ubuntu-24.04``, ``windowsserver-2022``, ``almalinux-9`` ...

    Name and version are those of its node agent (``batch.node.ubuntu 24.04``). The agent of
    Enterprise Linux (``batch.node.el 9``) is shared by several distributions, so the name is that
    of the offer: ``almalinux-9``, ``rocky-9`` or ``rockylinux-9``. A Windows agent supports all
    versions, so the version is in the sku (``2022-datacenter``). ``offer-sku`` and
    ``publisher:offer:sku`` are aliases of every image.
    """
    names = {
        f"{image.offer}-{image.sku}".lower(),
        f"{image.publisher}:{image.offer}:{image.sku}".lower(),
    }
    agent = image.node_agent.removeprefix("batch.node.").lower()
    if image.windows:
        year = re.match(r"(\d{4})-", image.sku)
        if year and "smalldisk" not in image.sku and "core" not in image.sku:
            names |= {f"windowsserver-{year[1]}", f"windows-{year[1]}"}
    elif " " in agent and not _special(image):
        names.add(agent.replace(" ", "-"))
        names |= {f"{name}-{agent.split()[1]}" for name in _distributions(image, agent)}
    return frozenset(names)


def _distributions(image: SupportedImage, agent: str) -> tuple[str, ...]:
    """The names of the distribution of an image with the agent of Enterprise Linux."""
    if not agent.startswith("el "):
        return ()
    name = re.split(r"[-_]", image.offer.lower())[0]
    return (name, name.removesuffix("linux")) if name == "rockylinux" else (name,)


def _special(image: SupportedImage) -> bool:
    """Whether an image is for a special purpose (HPC, ...), and has no alias but its full name."""
    words = f"{image.offer} {image.sku}".lower()
    return any(word in words for word in ("hpc", "container", "cvm", "arm64", "minimal", "dsvm"))


def _unknown(alias: ImageAlias, images: tuple[SupportedImage, ...]) -> Iterator[Diagnostic]:
    short = sorted({name for image in images for name in aliases(image) if ":" not in name})
    similar = catalog.FORTHCOMING.get(alias.name, nearest(alias.name, short) or "")
    return unknown_image(alias, [name for name in short if len(name) < 24], similar)


IMAGE = RuleGroup(
    "Image and VM size",
    "The image is compared with the account's list of supported images, and the VM size with a"
    " table of known sizes. *Quotas and VM sizes* checks what Batch offers in the region.",
)

_SOON = timedelta(days=90)
_CONTAINERS = "dockercompatible"
_NAMES = ("publisher", "offer", "sku")
_KEYS = (
    "image",
    "virtual_machine_configuration.image_reference",
    "virtual_machine_configuration",
)
_AGENT_KEY = "virtual_machine_configuration.node_agent_sku_id"


@IMAGE.rule(
    "unknown-image",
    ERROR,
    title="The account has no image with that name",
    why="An alias is looked up in the account's list of supported images.",
    fix="Use an image from the list, or write `image_reference` and `node_agent_sku_id`.",
)
def unknown_image(alias: ImageAlias, offered: list[str], similar: str) -> Iterator[Finding]:
    """An alias that the account's list of images does not have; ``similar`` may be empty."""
    fix = f"Did you mean `{similar}`?" if similar else ""
    detail = "Available: " + ", ".join(offered)
    if alias.name in catalog.FORTHCOMING:
        detail = f"Azure Batch is expected to support it. {detail}"
        fix = f"Use `{similar}` until the account lists it."
    yield Finding(f"the account has no image {alias.name!r}", alias.where, detail, fix)


@IMAGE.check(
    "unlisted-image",
    WARNING,
    title="The image is not in the account's list",
    why="The service may reject the image, or its nodes may never become ready.",
    fix="Use a supported image: `az batch pool supported-images list` shows them.",
)
def unlisted_image(context: RuleContext) -> Iterator[Finding]:
    """An image reference that the account does not list."""
    reference = _reference(context)
    if _has_new_image(context) and not _listed(context) and all(map(reference.get, _NAMES)):
        summary = f"the account does not list the image {_urn(reference)}"
        yield Finding(summary, context.at_pool(*_KEYS))


@IMAGE.check(
    "image-agent",
    ERROR,
    title="The node agent does not match the image",
    why="The service rejects such a pool, or its nodes never become ready.",
    fix="Use the node agent that the account lists for the image, or write `image: ALIAS`.",
    offline=True,
)
def image_agent(context: RuleContext) -> Iterator[Finding]:
    """A node agent that the account does not list for the image."""
    agent = context.machine.get("nodeAgentSKUId")
    agents = sorted({image.node_agent for image in _listed(context)})
    if not _has_new_image(context) or not agents or not isinstance(agent, str):
        return
    if agent.lower() not in map(str.lower, agents):
        yield Finding(
            f"the node agent {agent!r} does not match the image",
            context.at_pool(_AGENT_KEY, *_KEYS),
            fix=f"Use `{agents[0]}`.",
        )


@IMAGE.check(
    "unknown-agent",
    WARNING,
    title="The account does not list the node agent",
    why="The service rejects a pool with an unknown node agent.",
    fix="Use a listed node agent, such as `batch.node.ubuntu 24.04`.",
)
def unknown_agent(context: RuleContext) -> Iterator[Finding]:
    """The node agent of an unlisted image is in no entry of the account's list."""
    agents = {image.node_agent.lower(): image.node_agent for image in context.observed.images}
    agent = context.machine.get("nodeAgentSKUId")
    if not _has_new_image(context) or _listed(context) or not isinstance(agent, str):
        return
    if agent.lower() not in agents:
        yield Finding(
            f"the account does not list the node agent {agent!r}",
            context.at_pool(_AGENT_KEY, *_KEYS),
            "Available: " + ", ".join(sorted(agents.values())),
        )


@IMAGE.check(
    "image-ended",
    ERROR,
    title="Batch support of the image has ended",
    why="The service rejects pools with such an image, or they get no nodes.",
    fix="Use a newer image: `az batch pool supported-images list` shows them.",
    offline=True,
)
def image_ended(context: RuleContext) -> Iterator[Finding]:
    """The image of a pool to create is no longer supported by Batch."""
    end = _support_end(context)
    if end is not None and end <= context.observed.now and not context.existing:
        summary = f"Batch support of the image {_name(context)} ended on {end:%Y-%m-%d}"
        yield Finding(summary, context.at_pool(*_KEYS))


@IMAGE.check(
    "image-ends-soon",
    WARNING,
    title="Batch support of the image ends within 90 days",
    why="After that day the pool cannot be created again and gets no new nodes.",
    fix="Use a newer image before that day: `az batch pool supported-images list` shows them.",
    offline=True,
)
def image_ends_soon(context: RuleContext) -> Iterator[Finding]:
    """The support of the image ends soon."""
    end, now = _support_end(context), context.observed.now
    if end is not None and now < end and end - now < _SOON:
        summary = f"Batch support of the image {_name(context)} ends on {end:%Y-%m-%d}"
        yield Finding(summary, context.at_pool(*_KEYS))


@IMAGE.check(
    "pool-image-ended",
    WARNING,
    title="Batch support of the image of an existing pool has ended",
    why="Existing nodes may keep working, but new nodes may never start.",
    fix="Ask the owner of the pool for a newer image.",
)
def pool_image_ended(context: RuleContext) -> Iterator[Finding]:
    """The image of a pool marked ``existing`` is no longer supported by Batch."""
    end = _support_end(context)
    if end is not None and end <= context.observed.now and context.existing:
        summary = f"Batch support of the pool's image {_name(context)} ended on {end:%Y-%m-%d}"
        yield Finding(summary, context.at_pool(*_KEYS))


@IMAGE.check(
    "image-without-containers",
    ERROR,
    title="The image cannot run containers",
    why="`container_images` needs an image with a container engine (capability"
    " `DockerCompatible`); nodes with other images become unusable.",
    fix="Use an image with that capability, such as `ubuntu-hpc-2204`.",
)
def image_without_containers(context: RuleContext) -> Iterator[Finding]:
    """The pool runs containers, and its image has no container engine."""
    found = _listed(context)
    if context.existing or not found or context.machine.get("containerConfiguration") is None:
        return
    if any(map(_runs_containers, found)):
        return
    images = filter(_runs_containers, context.observed.images)
    able = sorted(f"{image.offer}-{image.sku}" for image in images)
    where: Place | None = context.spec.place("pool.container_images")
    yield Finding(
        "the image of the pool cannot run containers",
        where or context.at_pool(*_KEYS),
        "Images that can: " + (", ".join(able) or "none in this account"),
        f"For example, write `image: {able[0].lower()}`." if able else "",
    )


@IMAGE.check(
    "image-generation",
    WARNING,
    title="VMs of the size cannot boot the image",
    why="An image boots with BIOS (generation 1) or UEFI (generation 2), and some VM sizes "
    "support only one of them. The allocation of nodes fails.",
    fix="Use the image of the other generation, or write `image: ALIAS`, which selects it.",
    offline=True,
)
def image_generation(context: RuleContext) -> Iterator[Finding]:
    """An image reference of a generation that VMs of the size cannot boot."""
    size, found = _vm_size(context), _listed(context)
    if not size or not found or context.spec.pool.image is not None:
        return
    generations = {2 if catalog.GENERATION_2 in image.capabilities else 1 for image in found}
    if not any(_boots(context, size, generation) for generation in generations):
        yield Finding(
            f"VMs of size {size!r} cannot boot the image {_name(context)}, which is for generation"
            f" {min(generations)}",
            context.at_pool(*_KEYS),
        )


def _boots(context: RuleContext, size: str, generation: int) -> bool:
    """Whether VMs of a size boot images of a generation: by the account's facts, if known."""
    capacity = context.observed.capacity
    offered = capacity.size(size) if capacity is not None else None
    if offered is None or offered.generations is None:
        return vm_sizes.boots(size, generation)
    return generation in offered.generations


_YEAR = timedelta(days=365)


@IMAGE.check(
    "vm-size-retired",
    WARNING,
    title="Azure retires the VM size",
    why="VMs of a retired size are stopped and cannot be created. The dates are those that Azure"
    " has announced.",
    fix="Use a size of a newer generation.",
    offline=True,
)
def vm_size_retired(context: RuleContext) -> Iterator[Finding]:
    """A VM size that is retired, or will be within a year."""
    name, now = _vm_size(context), context.observed.now
    end = vm_sizes.retirement(name)
    if end is not None and end - now < _YEAR:
        when = "was retired by Azure on" if end <= now else "will be retired by Azure on"
        yield Finding(f"the VM size {name!r} {when} {end:%Y-%m-%d}", context.at_pool("vm_size"))


@IMAGE.check(
    "vm-size-restricted",
    NOTE,
    title="New subscriptions cannot deploy the VM size",
    why="Since July 2026 Azure restricts older series: subscriptions that did not use them cannot"
    " deploy them, and no more quota is granted.",
    fix="Use a size of a newer generation, such as `standard_d2s_v5`.",
)
def vm_size_restricted(context: RuleContext) -> Iterator[Finding]:
    """A VM size of a series that is restricted to its present users."""
    name = _vm_size(context)
    end = vm_sizes.retirement(name)
    retired = end is not None and end - context.observed.now < _YEAR
    if vm_sizes.is_restricted(name) and not retired:
        yield Finding(
            f"new subscriptions cannot deploy the VM size {name!r}", context.at_pool("vm_size")
        )


@IMAGE.check(
    "vm-size-disk",
    NOTE,
    title="The local disk of the VM size is not formatted",
    why="The local NVMe disks of version 6 and later are empty and unformatted when a node starts,"
    " so tasks use the OS disk.",
    fix="Format and mount the disk in the start task, or use a size without a local disk.",
)
def vm_size_disk(context: RuleContext) -> Iterator[Finding]:
    """A VM size with an unformatted local disk, and no start task that could format it."""
    name = _vm_size(context)
    if vm_sizes.has_unformatted_disk(name) and context.pool.get("startTask") is None:
        yield Finding(f"the local disk of {name!r} is not formatted", context.at_pool("vm_size"))


@IMAGE.check(
    "vm-size-odd",
    WARNING,
    title="The VM size is not known",
    why="The service rejects unknown sizes when the pool is created. A size of your region "
    "may be missing in batchspec's table.",
    fix="Write the size as Azure does, such as `standard_d2s_v5`; `az batch location list-skus`"
    " lists the sizes of a region.",
    offline=True,
)
def vm_size_odd(context: RuleContext) -> Iterator[Finding]:
    """A VM size that does not look like one, or that the table does not contain."""
    name = _vm_size(context)
    capacity = context.observed.capacity
    # The list of the region decides: `vm-size-not-offered`.
    listed = capacity is not None and bool(capacity.sizes)
    if not name or listed or vm_sizes.is_known(name):
        return
    near = vm_sizes.similar(name)
    summary = f"{name!r} is not in batchspec's table of VM sizes ({vm_sizes.CHECKED:%Y-%m})"
    if not vm_sizes.is_well_formed(name):
        summary = f"{name!r} does not look like a VM size"
    fix = f"Did you mean `{near}`?" if near else ""
    yield Finding(summary, context.at_pool("vm_size"), fix=fix)


def _has_new_image(context: RuleContext) -> bool:
    """Whether the spec describes a pool whose image can be compared with the account's list."""
    return bool(context.observed.images and context.machine) and not context.existing


def _listed(context: RuleContext) -> list[SupportedImage]:
    """The entries of the account's list for the pool's image."""
    if not context.known or not context.machine:
        return []
    reference = _reference(context)
    names = tuple(str(reference.get(key) or "").lower() for key in _NAMES)
    return [
        image
        for image in context.observed.images
        if names == (image.publisher.lower(), image.offer.lower(), image.sku.lower())
    ]


def _support_end(context: RuleContext) -> datetime | None:
    """The end of Batch support of the pool's image; ``None`` if no end is announced."""
    ends = [_end(image) for image in _listed(context)]
    dates = [end for end in ends if end is not None]
    return max(dates) if dates and len(dates) == len(ends) else None


def _end(image: SupportedImage) -> datetime | None:
    """The end of the support of an image: the earlier one of the listed and the announced day."""
    announced = catalog.announced_end(image.node_agent, image.sku)
    known = datetime.combine(announced, time(), UTC) if announced is not None else None
    return min((end for end in (image.end_of_life, known) if end is not None), default=None)


def _runs_containers(image: SupportedImage) -> bool:
    return _CONTAINERS in map(str.lower, image.capabilities)


def _reference(context: RuleContext) -> Record:
    return context.machine.record("imageReference")


def _urn(reference: Record) -> str:
    return ":".join(str(reference.get(key) or "") for key in _NAMES)


def _name(context: RuleContext) -> str:
    alias = context.spec.pool.image
    return repr(alias.name) if alias is not None else _urn(_reference(context))


def _vm_size(context: RuleContext) -> str:
    """The VM size of a pool to create; empty for an existing pool."""
    return "" if context.existing else context.body.string("vmSize") or ""


def with_image(pool: Pool, observed: Observed, problems: Diagnostics) -> Record:
    """The properties of a pool with the image of its alias, from the list of supported images."""
    body = pool.properties
    if pool.image is None:
        return body
    found = resolve_image(pool.image, observed.images, observed.now, problems, body.get("vmSize"))
    given = body.record("virtualMachineConfiguration")
    return body.with_(virtualMachineConfiguration=Record({**found, **given}))


def runs_windows(spec: Spec, observed: Observed) -> bool:
    """Whether the nodes run Windows, according to the spec or else to the existing pool."""
    if spec.pool.windows is not None:
        return spec.pool.windows
    return observed.pool is not None and has_windows(observed.pool.properties)


def has_windows(pool: Record) -> bool:
    """Whether the nodes of a pool with these properties run Windows."""
    agent = pool.string("virtualMachineConfiguration", "nodeAgentSKUId") or ""
    return "windows" in agent.lower()
