"""An image alias (``ubuntu-24.04``) resolved with the account's list of supported images.

The service needs a publisher, an offer, a sku and the matching node agent; the account's list is
the only source for them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from difflib import get_close_matches

from batchspec.diagnostics import Diagnostic, Diagnostics
from batchspec.plan.observed import SupportedImage
from batchspec.plan.rules.image import unknown_image
from batchspec.spec import ImageAlias, Record, Value

_GENERATION_2 = "Generation2VMImage"
"""The capability of images that boot by UEFI; those without it boot by BIOS."""


_ONLY_GENERATION_2 = re.compile(
    r"standard_(?:(?:dc|ec|nd)\d|m\d.*_v[23]$|.*_(?:a100|h100|h200)_|.*_v(?:[6-9]|\d\d)$)"
)
"""Sizes that "cannot boot Hypervisor Generation '1'" (learn.microsoft.com, generation-2)."""


def resolve_image(
    alias: ImageAlias,
    images: Iterable[SupportedImage],
    now: datetime,
    problems: Diagnostics,
    size: Value = None,
) -> Record:
    """The ``virtualMachineConfiguration`` members of an alias; empty if it cannot be resolved.

    Of several images with the alias, it prefers those that VMs of this ``size`` can boot, then
    verified ones, then the one with the longest support.
    """
    offered = tuple(images)
    named = [image for image in offered if alias.name in aliases(image)]
    if not named:
        problems.extend(_unknown(alias, offered))
        return Record()
    forever = now + timedelta(days=36500)
    newer = isinstance(size, str) and _ONLY_GENERATION_2.match(size.lower()) is not None

    def rank(image: SupportedImage) -> tuple[object, ...]:
        second = _GENERATION_2 in image.capabilities
        # Some sizes boot only generation 2; all others boot generation 1, older ones nothing else.
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

    Name and version are those of its node agent (``batch.node.ubuntu 24.04``). A Windows agent
    supports all versions, so the version is in the sku (``2022-datacenter``). ``offer-sku`` and
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
    return frozenset(names)


def _special(image: SupportedImage) -> bool:
    """Whether an image is for a special purpose (HPC, ...), so that only its full name counts."""
    words = f"{image.offer} {image.sku}".lower()
    return any(word in words for word in ("hpc", "container", "cvm", "arm64", "minimal", "dsvm"))


def _unknown(alias: ImageAlias, images: tuple[SupportedImage, ...]) -> Iterator[Diagnostic]:
    short = sorted({name for image in images for name in aliases(image) if ":" not in name})
    near = get_close_matches(alias.name, short, n=1)
    return unknown_image(alias, [name for name in short if len(name) < 24], near[0] if near else "")
