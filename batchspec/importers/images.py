"""Images and VM sizes of other tools, which are often years old, as a spec names them today."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from batchspec.catalog import images, vm_sizes
from batchspec.importers.draft import Body

_UBUNTU, _WINDOWS = "ubuntu-24.04", "windowsserver-2022"
WITH_CONTAINERS = "ubuntu-hpc-2204"
"""The alias of an image with a container engine, which others lack."""
_SYSTEMS = (
    (r"canonical .*24[._]04", "ubuntu-24.04"),
    (r"canonical .*22[._]04", "ubuntu-22.04"),
    (r"almalinux .*\b8-gen", "almalinux-8"),
    (r"almalinux .*\b9-gen", "almalinux-9"),
    (r"debian .*\b12\b", "debian-12"),
    (r"windowsserver 2019", "windowsserver-2019"),
    (r"windowsserver 2022", "windowsserver-2022"),
)
"""Publisher, offer and sku, and the alias of the image."""


def image_members(reference: Mapping[str, Any], agent: str = "") -> tuple[Body, str]:
    """The members of a pool for an image reference and its node agent SKU, and a note about it."""
    plain = {
        key.replace("_", "").lower(): str(value)
        for key, value in reference.items()
        if value is not None
    }
    if own := plain.get("virtualmachineimageid"):
        return _machine({"virtual_machine_image_id": own}, agent), ""
    names = [plain.get(key, "") for key in ("publisher", "offer", "sku")]
    text = " ".join(names).lower()
    for system, alias in _SYSTEMS:
        if re.search(system, text) and "core" not in text:
            return {"image": alias}, ""
    for image in images.IMAGES:
        if [image.publisher, image.offer, image.sku] == [name.lower() for name in names]:
            kept: Body = {
                key: plain[key] for key in ("publisher", "offer", "sku", "version") if key in plain
            }
            return _machine(kept, agent or image.agent), ""
    shown = " ".join(filter(None, names[1:]))
    note = (
        f"The image was {shown}, which Batch no longer lists."
        if shown
        else "The original names no image."
    )
    return {"image": _WINDOWS if "windows" in text else _UBUNTU}, note


def _machine(reference: Body, agent: str) -> Body:
    machine: Body = {"image_reference": reference}
    if agent:
        machine["node_agent_sku_id"] = agent
    return {"virtual_machine_configuration": machine}


def container_image(members: Body) -> str:
    """A note if a pool with containers has an image without an engine; it then gets another."""
    machine = members.get("virtual_machine_configuration", {})
    image = members.get("image")
    if not members.get("container_images") and "container_configuration" not in machine:
        return ""
    if image in (None, WITH_CONTAINERS, _WINDOWS):
        return ""
    members["image"] = WITH_CONTAINERS
    return f"{WITH_CONTAINERS} has a container engine; {image} has none."


def cloud_service(family: object) -> tuple[Body, str]:
    """``image`` for a cloud service of an OS family (1-7: Windows Server), and a note."""
    return {"image": _WINDOWS}, f"The nodes were cloud services (OS family {family}), now retired."


def vm_size_note(size: str) -> str:
    """What is wrong with a VM size today; empty if nothing is."""
    if not size or not vm_sizes.is_well_formed(size.lower()):
        return ""
    end = vm_sizes.retirement(size)
    if end is not None:
        return f"Azure retires {size} on {end:%Y-%m-%d}; `batchspec validate` names other sizes."
    if vm_sizes.is_restricted(size):
        return f"New subscriptions get no quota for {size}; standard_d2s_v5 is a current size."
    return ""
