"""The tables of VM sizes and images."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest

from batchspec.catalog import images, vm_sizes

MAX_AGE = timedelta(days=183)
"""Azure announces retirements about twice a year."""


@pytest.mark.parametrize("checked", [vm_sizes.CHECKED, images.CHECKED])
def test_the_tables_were_checked_in_the_last_six_months(checked: datetime) -> None:
    """When this fails: compare the table with its sources, and update its date."""
    assert datetime.now(UTC).date() - checked <= MAX_AGE


@pytest.mark.parametrize(
    ("size", "number"),
    [
        *(("standard_d2s_v5", 2), ("STANDARD_E96as_v5", 96), ("standard_hb120-16rs_v3", 16)),
        *(("standard_nc24ads_a100_v4", 24), ("standard_f72s_v2", 72), ("standard_m64-16ms_v3", 16)),
        # In these series the number is an ordinal.
        *(("standard_d3_v2", 4), ("standard_a1", 1), ("standard_ds14_v2", 16), ("standard_g5", 32)),
        *(("standard_ds13-2_v2", 2), ("basic_a4", 8), ("standard_a8m_v2", 8)),
        *(("standard_d99_v2", None), ("x", None), ("mix", None)),
        # The service ignores the case of a name.
        *(("STANDARD_D4_V3", 4), ("Standard_A4_V2", 4), ("STANDARD_D4_V2", 8)),
    ],
)
def test_cores_of_a_size(size: str, number: int | None) -> None:
    assert vm_sizes.cores(size) == number


@pytest.mark.parametrize(
    ("size", "number"),
    [("standard_d{}s_v3", None), ("standard_d8-{}s_v3", None), ("standard_d2s_v{}", 2)],
)
def test_a_size_with_thousands_of_digits_is_not_known(size: str, number: int | None) -> None:
    """Python converts at most 4,300 digits."""
    text = size.format("1" * 5000)
    assert not vm_sizes.is_known(text)
    assert vm_sizes.cores(text) == number


@pytest.mark.parametrize(
    ("size", "family"),
    [
        *(("standard_d2s_v3", "standardDSv3Family"), ("Standard_DS2_v2", "standardDSv2Family")),
        *(("standard_a4_v2", "standardAv2Family"), ("standard_d1", "standardDFamily")),
        *(("standard_e8-4s_v3", "standardESv3Family"), ("standard_f4s_v2", "standardFSv2Family")),
        ("standard_nc24ads_a100_v4", "standardNCADSA100v4Family"),
        # Families that do not have the name of their sizes.
        *(("basic_a2", "basicAFamily"), ("Standard_A7", "standardA0_A7Family")),
        *(("standard_a4m_v2", "standardAv2Family"), ("standard_m64", "standardMSFamily")),
        *(("standard_m32ts", "standardMSFamily"), ("standard_m8-2ms", "standardMSFamily")),
        *(
            ("standard_m208ms_v2", "standardMSv2Family"),
            ("standard_m208s_v2", "standardMSv2Family"),
        ),
    ],
)
def test_the_family_of_a_size(size: str, family: str) -> None:
    """The families are those of recorded quotas."""
    assert vm_sizes.family(size) == family
    short = family.removeprefix("standard").removesuffix("Family")
    assert vm_sizes.family_key(family) == vm_sizes.family_key(f"{short} Family".upper())


def test_retirements_are_in_the_order_of_their_days_and_match_listed_sizes() -> None:
    days = [each.day for each in vm_sizes.RETIREMENTS]
    assert days == sorted(days)
    for each in vm_sizes.RETIREMENTS:
        for pattern in each.pattern.split("|standard_"):
            found = [name for name in vm_sizes.names() if re.fullmatch(each.pattern, name)]
            assert found or "_cc_" in pattern, pattern


@pytest.mark.parametrize(
    ("size", "similar"),
    [
        ("d2s_v5", "standard_d2s_v5"),
        ("standard_d2_s_v5", "standard_d2s_v5"),
        ("Standard_D2SV5", "standard_d2s_v5"),
        ("standard_ds2v2", "standard_ds2_v2"),
        ("standard_hb120_rs_v3", "standard_hb120rs_v3"),
        ("large", ""),
    ],
)
def test_a_size_that_was_probably_meant(size: str, similar: str) -> None:
    assert not vm_sizes.is_known(size)
    assert vm_sizes.similar(size) == similar


@pytest.mark.parametrize(
    "size", ["standard_d2s_v5", "STANDARD_D2S_V3", "standard_d2ads_v6", "standard_e8s_v7"]
)
def test_known_sizes_include_versions_newer_than_the_table(size: str) -> None:
    assert vm_sizes.is_known(size)


@pytest.mark.parametrize(
    ("size", "first", "second"),
    [
        ("standard_d2s_v5", True, True),
        ("standard_d1_v2", True, False),
        ("Standard_D2ads_v6", False, True),
        ("standard_nd96asr_v4", False, True),
    ],
)
def test_the_generations_that_a_size_boots(size: str, first: bool, second: bool) -> None:
    assert (vm_sizes.boots(size, 1), vm_sizes.boots(size, 2)) == (first, second)


@pytest.mark.parametrize(
    ("size", "unformatted"),
    [
        ("standard_d2ds_v6", True),
        ("standard_e96-24ads_v6", True),
        ("standard_d2s_v6", False),
        ("standard_d2ds_v5", False),
    ],
)
def test_local_disks_of_newer_sizes_are_not_formatted(size: str, unformatted: bool) -> None:
    assert vm_sizes.has_unformatted_disk(size) is unformatted


def test_each_listed_image_has_the_announced_end_of_its_agent() -> None:
    for image in images.IMAGES:
        assert image.ends == images.announced_end(image.agent, image.sku)
