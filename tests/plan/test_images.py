"""The image of an alias: images that VMs of the pool's size can boot come first.

"The selected VM size 'Standard_D2ads_v6' cannot boot Hypervisor Generation '1'" ends an allocation,
and so does "'Standard_D1_v2' cannot boot Hypervisor Generation '2'".
"""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from batchspec.catalog.images import IMAGES
from batchspec.cloud.facts import image
from batchspec.diagnostics import Diagnostics, Place
from batchspec.local.api import serialize_image
from batchspec.plan.rules.image import resolve_image
from batchspec.spec import ImageAlias, Record

OFFERED = tuple(image(serialize_image(one)) for one in IMAGES)
NOW = datetime(2026, 11, 22, tzinfo=UTC)


def chosen(alias: str, size: str) -> object:
    place = Place("topn.yaml", 1, 1)
    found = resolve_image(ImageAlias(alias, place), OFFERED, NOW, Diagnostics(), size)
    reference = found["imageReference"]
    assert isinstance(reference, Record)
    return reference["sku"]


@pytest.mark.parametrize(
    "size",
    [
        "standard_d2ads_v6",
        "Standard_D4s_v7",
        "STANDARD_DC2s_V2",
        "standard_nd96asr_v4",
        "standard_nc24ads_a100_v4",
        "standard_nc40ads_h100_v5",
        "standard_m208ms_v2",
    ],
)
def test_some_sizes_boot_only_generation_2(size: str) -> None:
    assert chosen("ubuntu-24.04", size) == "server"
    assert chosen("ubuntu-22.04", size) == "22_04-lts-gen2"
    # The verified image is for generation 1.
    assert chosen("windowsserver-2022", size) == "2022-datacenter-g2"


@pytest.mark.parametrize("size", ["standard_d1_v2", "standard_a2_v2", "standard_d2s_v5", ""])
def test_all_other_sizes_boot_generation_1(size: str) -> None:
    assert chosen("ubuntu-24.04", size) == "server-gen1"
    assert chosen("ubuntu-22.04", size) == "22_04-lts"
    assert chosen("windowsserver-2022", size) == "2022-datacenter"


def test_the_only_generation_is_chosen() -> None:
    assert chosen("ubuntu-hpc-2204", "standard_d2s_v5") == "2204"


@pytest.mark.parametrize(
    ("alias", "sku"),
    [("rocky-9", "9-lvm-gen1"), ("rockylinux-9", "9-lvm-gen1"), ("almalinux-9", "9-gen1")],
)
def test_each_distribution_of_enterprise_linux_has_an_alias(alias: str, sku: str) -> None:
    assert chosen(alias, "standard_d2s_v5") == sku
