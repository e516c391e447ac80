"""VM images that Azure Batch supports, with their node agents and the end of their support.

The list follows recordings of ``GET /supportedimages``. The list of the account is the source for a
run; this one serves the embedded service, and adds announced dates that an account may not list.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date

from batchspec.frozen import frozen

CHECKED = date(2026, 12, 1)
"""The date of the last comparison of this table with its sources; a test fails six months later."""

GENERATION_2 = "Generation2VMImage"
"""The capability of images that boot by UEFI; those without it boot by BIOS."""

DOCKER = "DockerCompatible"
"""The capability of images with a container engine."""


@frozen
class Image:
    """An image by its names in the REST API; ``ends`` is the end of its support by Batch."""

    publisher: str
    offer: str
    sku: str
    agent: str
    verified: bool = True
    capabilities: tuple[str, ...] = ()
    ends: date | None = None

    @property
    def os_type(self) -> str:
        """``windows`` or ``linux``."""
        return "windows" if self.agent == _WINDOWS else "linux"


_EL8, _EL9 = "batch.node.el 8", "batch.node.el 9"
_U20, _U22, _U24 = (f"batch.node.ubuntu {version}.04" for version in (20, 22, 24))
_D11, _D12 = "batch.node.debian 11", "batch.node.debian 12"
_WINDOWS = "batch.node.windows amd64"

ANNOUNCED_ENDS: Mapping[str, date] = {
    _U20: date(2025, 4, 23),
    _U22: date(2027, 6, 30),
    _D11: date(2026, 8, 31),
    _D12: date(2028, 6, 30),
    _EL8: date(2029, 3, 1),
}
"""The end of Batch support of node agents. Ubuntu 22.04: Azure/Batch issue 200."""

_WINDOWS_2016_ENDS = date(2027, 1, 12)
"""Azure/Batch issue 197."""

FORTHCOMING: Mapping[str, str] = {
    "ubuntu-26.04": "ubuntu-24.04",
    "windowsserver-2025": "windowsserver-2022",
    "windows-2025": "windowsserver-2022",
}
"""Aliases of images that Batch is expected to support, and the images to use until then."""


def announced_end(agent: str, sku: str) -> date | None:
    """The announced end of Batch support of an image, by its node agent and sku."""
    if agent == _WINDOWS:
        return _WINDOWS_2016_ENDS if sku.startswith("2016-") else None
    return ANNOUNCED_ENDS.get(agent)


def _generations(publisher: str, offer: str, skus: tuple[str, str], agent: str) -> Iterator[Image]:
    ends = announced_end(agent, skus[0])
    yield Image(publisher, offer, skus[0], agent, ends=ends)
    yield Image(publisher, offer, skus[1], agent, capabilities=(GENERATION_2,), ends=ends)


def _windows(year: str) -> Iterator[Image]:
    publisher, offer = "microsoftwindowsserver", "windowsserver"
    for kind in ("", "-core", "-smalldisk"):
        sku = f"{year}-datacenter{kind}"
        ends = announced_end(_WINDOWS, sku)
        yield Image(publisher, offer, sku, _WINDOWS, ends=ends)
        if kind != "-core":
            yield Image(publisher, offer, f"{sku}-g2", _WINDOWS, False, (GENERATION_2,), ends=ends)


IMAGES: tuple[Image, ...] = (
    *_generations("almalinux", "almalinux-x86_64", ("8-gen1", "8-gen2"), _EL8),
    *_generations("almalinux", "almalinux-x86_64", ("9-gen1", "9-gen2"), _EL9),
    *_generations(
        "canonical", "0001-com-ubuntu-server-focal", ("20_04-lts", "20_04-lts-gen2"), _U20
    ),
    *_generations(
        "canonical", "0001-com-ubuntu-server-jammy", ("22_04-lts", "22_04-lts-gen2"), _U22
    ),
    *_generations("canonical", "ubuntu-24_04-lts", ("server-gen1", "server"), _U24),
    *_generations("debian", "debian-11", ("11", "11-gen2"), _D11),
    *_generations("debian", "debian-12", ("12", "12-gen2"), _D12),
    Image(
        "microsoft-dsvm",
        "ubuntu-hpc",
        "2204",
        _U22,
        False,
        (DOCKER, "SupportsRDMAOnly", GENERATION_2),
        announced_end(_U22, "2204"),
    ),
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
"""Publishers of images that the service accepts, including images that are no longer listed."""
