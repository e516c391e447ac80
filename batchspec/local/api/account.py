"""Operations on the account: supported images and the retired pool usage metrics.

The table of images follows the list of the real service. Nodes always run the operating system of
this machine, whatever image their pool names.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from batchspec.local.api.resources import Context, filtered
from batchspec.local.wire import Fault, FieldType, Reply, Request, list_reply

GEN2 = "Generation2VMImage"
DOCKER = "DockerCompatible"


@dataclass(frozen=True, slots=True)
class Image:
    """One entry of the list; ``ends`` is the date of ``batchSupportEndOfLife``."""

    publisher: str
    offer: str
    sku: str
    agent: str
    verified: bool = True
    capabilities: tuple[str, ...] = ()
    ends: str | None = None


_EL8, _EL9 = "batch.node.el 8", "batch.node.el 9"
_U20, _U22, _U24 = (f"batch.node.ubuntu {version}.04" for version in (20, 22, 24))
_D11, _D12 = "batch.node.debian 11", "batch.node.debian 12"
_WINDOWS = "batch.node.windows amd64"


def _generations(
    publisher: str, offer: str, skus: tuple[str, str], agent: str, ends: str | None = None
) -> Iterator[Image]:
    yield Image(publisher, offer, skus[0], agent, ends=ends)
    yield Image(publisher, offer, skus[1], agent, capabilities=(GEN2,), ends=ends)


def _windows(year: str) -> Iterator[Image]:
    publisher, offer = "microsoftwindowsserver", "windowsserver"
    yield Image(publisher, offer, f"{year}-datacenter", _WINDOWS)
    yield Image(publisher, offer, f"{year}-datacenter-g2", _WINDOWS, False, (GEN2,))
    yield Image(publisher, offer, f"{year}-datacenter-core", _WINDOWS)
    yield Image(publisher, offer, f"{year}-datacenter-smalldisk", _WINDOWS)
    yield Image(publisher, offer, f"{year}-datacenter-smalldisk-g2", _WINDOWS, False, (GEN2,))


IMAGES: tuple[Image, ...] = (
    *_generations("almalinux", "almalinux-x86_64", ("8-gen1", "8-gen2"), _EL8, ends="2029-03-01"),
    *_generations("almalinux", "almalinux-x86_64", ("9-gen1", "9-gen2"), _EL9),
    *_generations(
        "canonical",
        "0001-com-ubuntu-server-focal",
        ("20_04-lts", "20_04-lts-gen2"),
        _U20,
        ends="2025-04-23",
    ),
    *_generations(
        "canonical", "0001-com-ubuntu-server-jammy", ("22_04-lts", "22_04-lts-gen2"), _U22
    ),
    *_generations("canonical", "ubuntu-24_04-lts", ("server-gen1", "server"), _U24),
    *_generations("debian", "debian-11", ("11", "11-gen2"), _D11, ends="2026-08-31"),
    *_generations("debian", "debian-12", ("12", "12-gen2"), _D12, ends="2028-06-30"),
    Image("microsoft-dsvm", "ubuntu-hpc", "2204", _U22, False, (DOCKER, "SupportsRDMAOnly", GEN2)),
    *_windows("2016"),
    *_windows("2019"),
    *_windows("2022"),
    *_generations("resf", "rockylinux-x86_64", ("9-lvm-gen1", "9-lvm"), _EL9),
)


PUBLISHERS = frozenset(image.publisher for image in IMAGES) | {
    "batch",
    "credativ",
    "microsoft-ads",
    "microsoft-azure-batch",
    "openlogic",
    "oracle",
    "redhat",
    "xilinx",
}
"""Publishers of images that the real service accepts, including images no longer listed."""


def serialize_image(image: Image) -> dict[str, Any]:
    """An image as JSON."""
    shown: dict[str, Any] = {
        "imageReference": {
            "publisher": image.publisher,
            "offer": image.offer,
            "sku": image.sku,
            "version": "latest",
        },
        "verificationType": "verified" if image.verified else "unverified",
        "nodeAgentSKUId": image.agent,
    }
    if image.capabilities:
        shown["capabilities"] = list(image.capabilities)
    if image.ends is not None:
        shown["batchSupportEndOfLife"] = f"{image.ends}T00:00:00Z"
    shown["osType"] = "windows" if image.agent == _WINDOWS else "linux"
    return shown


_IMAGE_FILTER = {
    "osType": FieldType.WORD,
    "verificationType": FieldType.WORD,
    "nodeAgentSKUId": FieldType.TEXT,
}


def list_supported_images(_context: Context, request: Request) -> Reply:
    """``GET /supportedimages``."""
    limit, after = request.max_results(), request.after()
    start = int(after) if after.isdecimal() else 0
    images = filtered(request, _IMAGE_FILTER, [serialize_image(image) for image in IMAGES])
    end = start + limit
    link = request.next_link(str(end)) if len(images) > end else None
    return list_reply(images[start:end], "supportedimages", link)


def list_pool_usage_metrics(_context: Context, _request: Request) -> Reply:
    """``GET /poolusagemetrics``: retired; the error is that of the real service."""
    raise Fault("PoolUsageMetricAPIRetired")
