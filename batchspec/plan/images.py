"""An image alias (``ubuntu-24.04``) resolved among the account's supported images.

An alias is what people call an image; what the service wants is a publisher, an offer, a sku and
the node agent that goes with them. The account's list is the only source: nothing is guessed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime, timedelta
from difflib import get_close_matches

from batchspec.diagnostics import Diagnostic, Diagnostics
from batchspec.plan.observed import SupportedImage
from batchspec.plan.rules.catalogue import finding
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

    Of several images of one alias it is one that machines of this ``size`` boot, then a verified
    one, then the one that is supported longest.
    """
    offered = tuple(images)
    named = [image for image in offered if alias.name in aliases(image)]
    if not named:
        problems.add(_unknown(alias, offered))
        return Record()
    forever = now + timedelta(days=36500)
    newer = isinstance(size, str) and _ONLY_GENERATION_2.match(size.lower()) is not None

    def rank(image: SupportedImage) -> tuple[object, ...]:
        second = _GENERATION_2 in image.capabilities
        # Where the one has to be, the other is of no use; else all sizes boot the first generation,
        # and older ones no other.
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
    """What an image may be called: ``ubuntu-24.04``, ``windowsserver-2022``, ``almalinux-9`` ...

    The system's name and version are those of its node agent (``batch.node.ubuntu 24.04``); a
    Windows agent serves all versions, so the version is in the sku (``2022-datacenter``); the full
    ``offer-sku`` and ``publisher:offer:sku`` are always good.
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
    """Images with a purpose of their own (containers, HPC, confidential) go by their full name."""
    words = f"{image.offer} {image.sku}".lower()
    return any(word in words for word in ("hpc", "container", "cvm", "arm64", "minimal", "dsvm"))


def _unknown(alias: ImageAlias, images: tuple[SupportedImage, ...]) -> Diagnostic:
    short = sorted({name for image in images for name in aliases(image) if ":" not in name})
    near = get_close_matches(alias.name, short, n=1)
    return finding(
        "unknown-image",
        f"the account has no image {alias.name!r}",
        detail="It offers: " + ", ".join(name for name in short if len(name) < 24),
        where=alias.where,
        fix=f"Did you mean `{near[0]}`?" if near else "",
    )
