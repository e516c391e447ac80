"""VM sizes that Azure Batch offers: names, generations, local disks, retirement.

A series is a pattern of names with the numbers that exist: ``d{}s_v5`` with ``2 4 8``. Sources: the
lists of the Batch control plane recorded in two regions until 2025-03, and Azure's page about
retirements and capacity restrictions of 2026-09-24. Series of version 6 and later are newer than
the lists, so their names are not checked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from difflib import get_close_matches
from functools import cache

from batchspec.frozen import frozen

CHECKED = date(2026, 12, 1)
"""The date of the last comparison of this table with its sources; a test fails six months later."""

_FORM = re.compile(r"(standard|basic)_[a-z]+\d+[a-z0-9-]*(_[a-z0-9]+)*", re.IGNORECASE)
_VERSION = re.compile(r"_v(\d{1,4})$", re.ASCII)
_UNLISTED_VERSIONS = range(6, 10)

_TO_64, _TO_96 = "2 4 8 16 32 48 64", "2 4 8 16 32 48 64 96"
_E_TO_64, _E_TO_96 = "2 4 8 16 20 32 48 64", "2 4 8 16 20 32 48 64 96"
_DV1 = "1 2 3 4 11 12 13 14"
_DV2 = "1 2 3 4 5 11 12 13 14 15"

_SERIES: tuple[tuple[str, str], ...] = (
    # General purpose
    ("a{}_v2", "1 2 4 8"),
    ("a{}m_v2", "2 4 8"),
    ("b{}ls", "1"),
    ("b{}s", "1 2"),
    ("b{}ms", "1 2 4 8 12 16 20"),
    *((f"b{{}}{kind}s_v2", "2 4 8 16 32") for kind in ("", "a")),
    *((f"b{{}}{kind}s_v2", "2") for kind in ("l", "t", "al", "at")),
    ("d{}", _DV1),
    ("ds{}", _DV1),
    ("d{}_v2", _DV2),
    ("ds{}_v2", _DV2),
    ("ds{}_v2", "11-1 12-1 12-2 13-2 13-4 14-4 14-8"),
    *((f"d{{}}{kind}_v3", _TO_64) for kind in ("", "s")),
    *((f"d{{}}{kind}_v4", _TO_64) for kind in ("", "s", "d", "ds")),
    *((f"d{{}}{kind}_v4", _TO_96) for kind in ("a", "as")),
    *((f"d{{}}{kind}_v5", _TO_96) for kind in ("", "s", "d", "ds", "as", "ads", "ls", "lds")),
    *((f"d{{}}{kind}_v5", _TO_64) for kind in ("ps", "pds", "pls", "plds")),
    ("dc{}s_v2", "1 2 4"),
    ("dc{}_v2", "8"),
    *((f"dc{{}}{kind}s_v3", "1 2 4 8 16 24 32 48") for kind in ("", "d")),
    *((f"dc{{}}{kind}s_v5", _TO_96) for kind in ("a", "ad", "e", "ed")),
    # Compute
    ("f{}", "1 2 4 8 16"),
    ("f{}s", "1 2 4 8 16"),
    ("f{}s_v2", "2 4 8 16 32 48 64 72"),
    ("fx{}mds", "4 12 24 36 48"),
    *((f"fx{{}}m{kind}s_v2", "2 4 8 12 16 24 32 48 64 96") for kind in ("", "d")),
    # Memory
    *((f"e{{}}{kind}_v3", _E_TO_64) for kind in ("", "s")),
    *((f"e{{}}i{kind}_v3", "64") for kind in ("", "s")),
    *((f"e{{}}{kind}_v4", _E_TO_64) for kind in ("", "s", "d", "ds")),
    *((f"e{{}}i{kind}s_v4", "80") for kind in ("", "d")),
    *((f"e{{}}{kind}_v4", _E_TO_96) for kind in ("a", "as")),
    *((f"e{{}}{kind}_v5", _E_TO_96) for kind in ("", "s", "d", "ds", "as", "ads")),
    *((f"e{{}}i{kind}_v5", "104 112") for kind in ("", "s", "d", "ds", "as", "ads")),
    *((f"e{{}}b{kind}s_v5", "2 4 8 16 32 48 64 96") for kind in ("", "d")),
    *((f"e{{}}ib{kind}s_v5", "112") for kind in ("", "d")),
    *((f"e{{}}{kind}s_v5", "2 4 8 16 20 32") for kind in ("p", "pd")),
    *((f"ec{{}}{kind}s_v5", _E_TO_96) for kind in ("a", "ad", "e", "ed")),
    *(
        (f"e{{}}{kind}", "4-2 8-2 8-4 16-4 16-8 32-8 32-16 64-16 64-32")
        for kind in ("s_v3", "s_v4", "ds_v4")
    ),
    *(
        (f"e{{}}{kind}", "4-2 8-2 8-4 16-4 16-8 32-8 32-16 64-16 64-32 96-24 96-48")
        for kind in ("as_v4", "s_v5", "ds_v5", "as_v5", "ads_v5")
    ),
    *((f"{kind}{{}}", "1 2 3 4 5") for kind in ("g", "gs")),
    ("gs{}", "4-4 4-8 5-8 5-16"),
    *((f"m{{}}{kind}", "64 128") for kind in ("", "m", "s")),
    ("m{}ms", "8 16 32 64 128 8-2 8-4 16-4 16-8 32-8 32-16 64-16 64-32 128-32 128-64"),
    ("m{}ls", "32 64"),
    ("m{}ts", "32"),
    *((f"m{{}}{kind}_v2", "208 416 416-208") for kind in ("s", "ms")),
    *((f"m{{}}{kind}_v2", "32 64 128 192") for kind in ("dms", "ms", "s", "ds")),
    *((f"m{{}}i{kind}_v2", "192") for kind in ("dms", "ds", "ms", "s")),
    # Storage
    ("l{}s", "4 8 16 32"),
    *((f"l{{}}{kind}", "8 16 32 48 64 80") for kind in ("s_v2", "s_v3", "as_v3")),
    *((f"l{{}}{kind}s_v4", "2 4 8 16 32 48 64 80 96") for kind in ("", "a")),
    # High performance
    *((f"h{{}}{kind}", "8 16") for kind in ("", "m", "_promo", "m_promo")),
    *((f"h{{}}{kind}r{end}", "16") for kind in ("", "m") for end in ("", "_promo")),
    ("hb{}rs", "60 60-15 60-30 60-45"),
    *((f"hb{{}}rs_v{v}", "120 120-16 120-32 120-64 120-96") for v in (2, 3)),
    ("hb{}rs_v4", "176 176-24 176-48 176-96 176-144"),
    ("hb{}rs_v5", "368 368-48 368-96 368-144 368-192 368-240 368-288 368-336"),
    ("hx{}rs", "176 176-24 176-48 176-96 176-144"),
    ("hc{}rs", "44 44-16 44-32"),
    # Accelerators
    *((f"n{kind}{{}}", "6 12 24") for kind in ("c", "v")),
    *((f"n{kind}{{}}_promo", "6 12 24") for kind in ("c", "v")),
    *((f"nc{{}}r{end}", "24") for end in ("", "_promo", "s_v2", "s_v3")),
    *((f"nc{{}}s_v{v}", "6 12 24") for v in (2, 3)),
    ("nc{}as_t4_v3", "4 8 16 64"),
    ("nc{}ads_a100_v4", "24 48 96"),
    ("nc{}ads_a10_v4", "8 16 32"),
    ("nc{}ads_h100_v5", "40 80"),
    ("nc{}adis_h100_v5", "80"),
    ("ncc{}ads_h100_v5", "40"),
    ("nd{}s", "6 12 24"),
    ("nd{}rs", "24"),
    ("nd{}rs_v2", "40"),
    ("nd{}asr_v4", "96"),
    ("nd{}amsr_a100_v4", "96"),
    *((f"nd{{}}isr_{chip}_v5", "96") for chip in ("h100", "h200", "mi300x")),
    ("ng{}ads_v620_v1", "8 16 32"),
    ("ng{}adms_v620_v1", "32"),
    ("np{}s", "10 20 40"),
    ("nv{}s_v3", "12 24 48"),
    ("nv{}as_v4", "4 8 16 32"),
    ("nv{}ads_a10_v5", "6 12 18 36 72"),
    ("nv{}adms_a10_v5", "36"),
    ("nv{}ads_v710_v5", "4 8 12 24 28"),
)

_ONLY_GENERATION_1 = re.compile(
    r"basic_a\d+|standard_(?:a\d+m?(?:_v2)?|d\d+(?:_v[23])?|e\d+i?_v3|f\d+|g\d+"
    r"|h\d+m?r?(?:_promo)?|n[cv]\d+r?(?:_promo)?)"
)
"""Sizes whose recorded `HyperVGenerations` is `V1`."""

_ONLY_GENERATION_2 = re.compile(
    r"standard_(?:(?:dc|ec|nd)\d.*|m\d.*_v[23]|fx\d+mds|.*_(?:a100|h100|h200)_.*|.*_v(?:[6-9]|\d\d))"
)
"""Sizes that "cannot boot Hypervisor Generation '1'" (learn.microsoft.com, generation-2)."""

_UNFORMATTED = re.compile(r"standard_(?:[a-z]+\d+(?:-\d+)?[a-z]*d[a-z]*)_v(?:[6-9]|\d\d)")
"""Sizes of version 6 and later with a local disk, which is an unformatted NVMe disk."""

_PARTS = re.compile(
    r"(?:standard_|basic_)?([a-z]+)(\d{1,4})(?:-(\d{1,4}))?([a-z]*)((?:_[a-z0-9]+)*)", re.ASCII
)
"""The series of a size, its number, its constrained number of cores, features, and the rest."""

_CORES_OF_NUMBER: Mapping[str, Mapping[int, int]] = {
    "a": dict(enumerate((1, 1, 2, 4, 8, 2, 4, 8, 8, 16, 8, 16))),
    "d": {1: 1, 2: 2, 3: 4, 4: 8, 5: 16, 11: 2, 12: 4, 13: 8, 14: 16, 15: 20},
    "g": {1: 2, 2: 4, 3: 8, 4: 16, 5: 32},
}
"""Series whose number is not the number of cores: A of version 1, D before version 3, G
(recorded)."""


_FAMILIES = (
    (r"basic_a\d+", "basicAFamily"),
    (r"standard_a[0-7]", "standardA0_A7Family"),
    (r"standard_a\d+m_v2", "standardAv2Family"),
    (r"standard_m\d+(-\d+)?[lmt]?s?", "standardMSFamily"),
    (r"standard_m\d+(-\d+)?ms_v2", "standardMSv2Family"),
)
"""Families that do not have the name of their sizes (recorded)."""


def _day(year: int, month: int, day: int) -> datetime:
    return datetime(year, month, day, tzinfo=UTC)


@frozen
class Retirement:
    """Sizes by the pattern of their names, and the day on which Azure retires them."""

    pattern: str
    day: datetime


RETIREMENTS: tuple[Retirement, ...] = (
    Retirement(
        r"standard_n[cv]\d+r?(_promo)?|standard_nc\d+r?s_v2|standard_nd\d+r?s", _day(2023, 9, 6)
    ),
    Retirement(r"basic_a\d+|standard_a\d+", _day(2024, 8, 31)),
    Retirement(r"standard_h\d+m?r?(_promo)?|standard_hb60(-\d+)?rs", _day(2024, 8, 31)),
    Retirement(r"standard_nc\d+r?s_v3|standard_nd40rs_v2", _day(2025, 9, 30)),
    Retirement(r"standard_dc\d+s?_v2", _day(2026, 6, 30)),
    Retirement(r"standard_[de]c\d+ad?s_cc_v5", _day(2026, 9, 1)),
    Retirement(r"standard_nv\d+s_v3|standard_nv\d+as_v4", _day(2026, 9, 30)),
    Retirement(r"standard_m192i(dms|ds|ms|s)_v2", _day(2027, 3, 31)),
    Retirement(
        r"standard_np\d+s|standard_hc44(-\d+)?rs|standard_hb120(-\d+)?rs_v2", _day(2027, 5, 31)
    ),
    Retirement(r"standard_ds?\d+(-\d+)?(_v2)?(_promo)?|standard_l\d+s", _day(2028, 5, 1)),
    Retirement(
        r"standard_(a\d+m?_v2|b\d+(ls|ms|s)|f\d+s?(_v2)?|gs?\d+(-\d+)?|l\d+s_v2)",
        _day(2028, 11, 15),
    ),
    Retirement(r"standard_dc\d+d?s_v3", _day(2029, 10, 31)),
    Retirement(r"standard_d\d+(-\d+)?s?_v3|standard_e\d+(-\d+)?i?s?_v3", _day(2029, 11, 15)),
)
"""The dates are in ascending order."""

_RESTRICTED = re.compile(
    r"standard_(?:f\d+s?(?:_v2)?|ds?\d+(?:-\d+)?(?:_v2)?|[de]\d+(?:-\d+)?i?s?_v3|b\d+(?:ls|ms|s)"
    r"|a\d+m?_v2|gs?\d+(?:-\d+)?|l\d+s(?:_v2)?)"
)
"""Since July 2026 new subscriptions cannot deploy these sizes, and no quota is added."""


@cache
def names() -> frozenset[str]:
    """The names of all listed sizes in lower case."""
    found = {
        f"standard_{pattern.format(number)}"
        for pattern, numbers in _SERIES
        for number in numbers.split()
    }
    return frozenset(found | {f"basic_a{number}" for number in range(5)}) | {
        f"standard_a{number}" for number in range(12)
    }


def is_well_formed(size: str) -> bool:
    """Whether a text has the form of a VM size, such as ``standard_d2s_v5``."""
    return _FORM.fullmatch(size) is not None


def is_known(size: str) -> bool:
    """Whether the table lists a size, or cannot list it because its version is newer."""
    version = _VERSION.search(size.lower())
    newer = version is not None and int(version[1]) in _UNLISTED_VERSIONS
    return is_well_formed(size) and (newer or size.lower() in names())


def similar(size: str) -> str:
    """The most similar listed size; empty if there is none."""
    name = size.lower().removeprefix("standard_")
    if is_known(f"standard_{name}"):
        return f"standard_{name}"
    listed = sorted(each.removeprefix("standard_") for each in names())
    close = get_close_matches(name, listed, n=1, cutoff=0.75)
    return f"standard_{close[0]}".replace("standard_basic_", "basic_") if close else ""


def cores(size: str) -> int | None:
    """The number of cores of a size; ``None`` if the text does not have the form of a size."""
    match = _PARTS.fullmatch(size.lower())
    if match is None:
        return None
    series, number, constrained = match[1].removesuffix("s"), int(match[2]), match[3]
    if constrained is not None:
        return int(constrained)
    version = _VERSION.search(match[5])
    old = series in ("d", "g") and (version is None or int(version[1]) < 3)
    old = old or (series == "a" and version is None)
    return _CORES_OF_NUMBER[series].get(number) if old else number


def family(size: str) -> str:
    """The family of a VM size as in the quotas of an account: ``standardDSv3Family``.

    In most series it is the name without numbers, in upper case except for the version. This gives
    the families of 299 of the 315 recorded sizes; the others are sizes for GPU and HPC, whose
    families have irregular names, and ``standard_e80ids_v4``. Compare families with
    :func:`family_key`: their spelling varies.
    """
    for pattern, irregular in _FAMILIES:
        if re.fullmatch(pattern, size.lower()):
            return irregular
    match = _PARTS.fullmatch(size.lower())
    if match is None:
        return size
    *others, version = match[5].split("_") if _VERSION.search(match[5]) else (match[5], "")
    name = "".join((match[1], match[4], *others)).replace("_", "")
    return f"standard{name.upper()}{version}Family"


def family_key(name: str) -> str:
    """The part of a family's name that identifies it: ``dsv3`` of ``standardDSv3Family``."""
    text = re.sub(r"[\s_]", "", name.lower())
    return text.removeprefix("standard").removesuffix("family")


def arm_name(size: str) -> str:
    """The name of a size with the letter case of Azure, such as ``Standard_NC24ads_A100_v4``.

    Requests to Azure Batch ignore the case; those for prices do not. The rule gives the names of
    all 504 sizes that the recorded lists contain.
    """
    kind, _, name = size.lower().partition("_")
    series, *rest = name.split("_")
    letters = re.match("[a-z]*", series)
    upper = letters.end() if letters is not None else 0
    parts = [series[:upper].upper() + series[upper:], *map(_arm_part, rest)]
    return "_".join((kind.capitalize(), *parts))


def _arm_part(part: str) -> str:
    if part == "promo":
        return "Promo"
    # `v5` is a version, `cc` stands for confidential child; others are accelerators: `A100`.
    return part if part == "cc" or re.fullmatch(r"v\d{1,2}", part) else part.upper()


def boots(size: str, generation: int) -> bool:
    """Whether VMs of a size boot images of a generation, 1 (BIOS) or 2 (UEFI)."""
    other = _ONLY_GENERATION_2 if generation == 1 else _ONLY_GENERATION_1
    return other.fullmatch(size.lower()) is None


def retirement(size: str) -> datetime | None:
    """The day on which Azure retires a size, or has retired it; ``None`` if none is announced."""
    lower = size.lower()
    return next((each.day for each in RETIREMENTS if re.fullmatch(each.pattern, lower)), None)


def is_restricted(size: str) -> bool:
    """Whether new subscriptions cannot deploy a size, and no more quota for it is granted."""
    return _RESTRICTED.fullmatch(size.lower()) is not None


def has_unformatted_disk(size: str) -> bool:
    """Whether the local disk of a size is not formatted when a node starts."""
    return _UNFORMATTED.fullmatch(size.lower()) is not None
