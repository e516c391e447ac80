"""The image, its agent and the size of the nodes, held against what the account lists."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from batchspec.diagnostics import Diagnostic, Place
from batchspec.plan.observed import SupportedImage
from batchspec.plan.rules.catalogue import finding
from batchspec.plan.rules.context import RuleContext, record
from batchspec.spec import Record

_SOON = timedelta(days=90)
_CONTAINERS = "dockercompatible"
_NAMES = ("publisher", "offer", "sku")
_WRITTEN = (
    "image",
    "virtual_machine_configuration.image_reference",
    "virtual_machine_configuration",
)


def machine(scene: RuleContext) -> Iterator[Diagnostic]:
    """What is wrong with the image and its agent, or soon will be."""
    images = scene.observed.images
    if not images or not scene.known or not scene.machine:
        return
    reference = record(scene.machine.get("imageReference"))
    where = scene.at_pool(*_WRITTEN)
    found = [image for image in images if _is(image, reference)]
    if not found and not scene.existing:
        yield from _unlisted(scene, reference, images, where)
    if found:
        yield from _agent(scene, found, where)
        yield from _ends(scene, found, where)
        yield from _containers(scene, found, where)


def _is(image: SupportedImage, reference: Record) -> bool:
    named = tuple(str(reference.get(key) or "").lower() for key in _NAMES)
    return named == (image.publisher.lower(), image.offer.lower(), image.sku.lower())


def _named(reference: Record) -> str:
    return ":".join(str(reference.get(key) or "") for key in _NAMES)


def _unlisted(
    scene: RuleContext, reference: Record, images: tuple[SupportedImage, ...], where: Place
) -> Iterator[Diagnostic]:
    if all(reference.get(key) for key in _NAMES):
        yield finding(
            "unlisted-image",
            f"the account does not list the image {_named(reference)}",
            where=where,
        )
    agents = {image.node_agent.lower(): image.node_agent for image in images}
    agent = scene.machine.get("nodeAgentSKUId")
    if isinstance(agent, str) and agent.lower() not in agents:
        yield finding(
            "unknown-agent",
            f"the account lists no node agent {agent!r}",
            detail="It lists: " + ", ".join(sorted(agents.values())),
            where=scene.at_pool("virtual_machine_configuration.node_agent_sku_id", *_WRITTEN),
        )


def _agent(scene: RuleContext, found: list[SupportedImage], where: Place) -> Iterator[Diagnostic]:
    agent = scene.machine.get("nodeAgentSKUId")
    right = sorted({image.node_agent for image in found})
    if scene.existing or not isinstance(agent, str):
        return
    if agent.lower() not in {name.lower() for name in right}:
        yield finding(
            "image-agent",
            f"the node agent {agent!r} does not go with the image",
            where=scene.spec.place("pool.virtual_machine_configuration.node_agent_sku_id") or where,
            fix=f"For this image it is `{right[0]}`.",
        )


def _ends(scene: RuleContext, found: list[SupportedImage], where: Place) -> Iterator[Diagnostic]:
    dates = [image.end_of_life for image in found if image.end_of_life is not None]
    if len(dates) < len(found):
        return
    end, now = max(dates), scene.observed.now
    alias = scene.spec.pool.image
    image = repr(alias.name) if alias is not None else _named(_reference(scene))
    if end <= now and scene.existing:
        summary = f"Batch support of the image of the pool, {image}, ended on {end:%Y-%m-%d}"
        yield finding("pool-image-ended", summary, where=where)
    elif end <= now:
        summary = f"Batch support of the image {image} ended on {end:%Y-%m-%d}"
        yield finding("image-ended", summary, where=where)
    elif end - now < _SOON:
        summary = f"Batch support of the image {image} ends on {end:%Y-%m-%d}"
        yield finding("image-ends-soon", summary, where=where)


def _reference(scene: RuleContext) -> Record:
    return record(scene.machine.get("imageReference"))


def _containers(
    scene: RuleContext, found: list[SupportedImage], where: Place
) -> Iterator[Diagnostic]:
    if scene.existing or scene.machine.get("containerConfiguration") is None:
        return
    if not any(_CONTAINERS in map(str.lower, image.capabilities) for image in found):
        able = sorted(
            f"{image.offer}-{image.sku}"
            for image in scene.observed.images
            if _CONTAINERS in map(str.lower, image.capabilities)
        )
        yield finding(
            "image-without-containers",
            "the image of the pool cannot run containers",
            detail="These can: " + ", ".join(able) if able else "The account lists none that can.",
            where=scene.spec.place("pool.container_images") or where,
            fix=f"Write `image: {able[0].lower()}`, say." if able else "",
        )


# --- sizes -------------------------------------------------------------------------------------

_SIZE = re.compile(r"(standard|basic)_[a-z]+\d+[a-z0-9-]*(_[a-z0-9]+)*", re.IGNORECASE)
_YEAR = timedelta(days=365)


def _day(year: int, month: int, day: int) -> datetime:
    return datetime(year, month, day, tzinfo=UTC)


_RETIRED: tuple[tuple[str, datetime], ...] = (
    (r"standard_n[cv]\d+r?|standard_nc\d+r?s_v2|standard_nd\d+r?s", _day(2023, 9, 6)),
    (r"basic_a\d|standard_a\d+", _day(2024, 8, 31)),
    (r"standard_h\d+m?r?|standard_hb60(-\d+)?rs", _day(2024, 8, 31)),
    (r"standard_nc\d+r?s_v3|standard_nd40rs_v2", _day(2025, 9, 30)),
    (r"standard_nv\d+s_v3|standard_nv\d+as_v4", _day(2026, 9, 30)),
    (r"standard_ds?\d+(-\d+)?(_v2)?|standard_l\d+s", _day(2028, 5, 1)),
    (r"standard_(a\d+m?_v2|b\d+\w*s|f\d+s?(_v2)?|gs?\d\S*)", _day(2028, 11, 15)),
)
"""Families of sizes by their names, and the day that Azure has announced as their last."""


def size(scene: RuleContext) -> Iterator[Diagnostic]:
    """What the name of a VM size tells; whether the account's region has it, nobody tells."""
    name = scene.body.get("vmSize")
    if scene.existing or not isinstance(name, str):
        return
    where = scene.at_pool("vm_size")
    if not _SIZE.fullmatch(name):
        near = f"standard_{name}"
        yield finding(
            "vm-size-odd",
            f"{name!r} does not look like a VM size",
            where=where,
            fix=f"Did you mean `{near}`?" if _SIZE.fullmatch(near) else "",
        )
    for pattern, end in _RETIRED:
        if re.fullmatch(pattern, name.lower()) and end - scene.observed.now < _YEAR:
            gone = end <= scene.observed.now
            says = f"was retired by Azure on {end:%Y-%m-%d}" if gone else f"goes on {end:%Y-%m-%d}"
            yield finding("vm-size-retired", f"the VM size {name!r} {says}", where=where)
