"""Times, durations and ETags in the notation of recorded replies."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from azure.batch._utils.serialization import Serializer
from hypothesis import given, settings
from hypothesis import strategies as st

from batchspec.local.wire import (
    UNLIMITED,
    Fault,
    add_duration,
    check_conditions,
    etag_of,
    read_duration,
    read_time,
    ticks_of,
    write_duration,
    write_time,
)
from batchspec.local.wire.times import UNLIMITED_TICKS


@settings(deadline=None)
@given(st.integers(0, UNLIMITED_TICKS))
def test_durations_round_trip(ticks: int) -> None:
    assert ticks_of(write_duration(ticks)) == ticks


@settings(deadline=None)
@given(st.timedeltas(timedelta(microseconds=1), timedelta(days=10_000)))
def test_durations_written_by_the_sdk_are_parsed(span: timedelta) -> None:
    assert read_duration(Serializer.serialize_duration(span)) == span


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("PT15M00S", "PT15M"),
        ("PT01H00M00S", "PT1H"),
        ("PT0H20M", "PT20M"),
        ("P2D", "P2D"),
        ("P1DT00H00M05S", "P1DT5S"),
        ("PT01.5S", "PT1.5S"),
        ("P3Y6M4DT12H30M5S", "P1279DT12H30M5S"),
        ("P0D", "PT0S"),
        (UNLIMITED, UNLIMITED),
    ],
)
def test_durations_have_the_notation_of_the_service(text: str, written: str) -> None:
    assert write_duration(ticks_of(text)) == written


@pytest.mark.parametrize(
    "text", ["", "P", "PT", "P1DT", "1D", "PT1", "P1000000000D", "PT1H ", "pt1h"]
)
def test_invalid_durations(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a duration|is too long"):
        ticks_of(text)


def test_no_limit_is_none() -> None:
    assert read_duration(UNLIMITED) is None
    assert read_duration(None) is None
    assert read_duration("P7D") == timedelta(days=7)


def test_a_time_after_the_last_year_does_not_exist() -> None:
    start = read_time("2026-01-01T00:00:00Z")
    assert add_duration(start, timedelta(days=1)) == read_time("2026-01-02T00:00:00Z")
    assert add_duration(read_time("9999-12-31T00:00:00Z"), timedelta(days=1)) is None
    assert add_duration(start, None) is None


def test_an_etag_is_the_time_of_the_last_change_in_ticks() -> None:
    # Recorded: lastModified 2024-10-24T00:18:18.933609Z with ETag 0x8DCF3C15CB4761A.
    assert etag_of(read_time("2024-10-24T00:18:18.933609Z")) == "0x8DCF3C15CB4761A"


@settings(deadline=None)
@given(st.datetimes(datetime(1970, 1, 1), datetime(9999, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_times_round_trip(moment: datetime) -> None:
    text = write_time(moment)
    assert read_time(text) == moment
    assert not text.endswith("0Z") or "." not in text


NOW = datetime(2026, 1, 2, 3, 4, 5, 600_000, tzinfo=UTC)
TAG = etag_of(NOW)


@pytest.mark.parametrize(
    ("headers", "holds"),
    [
        ({}, True),
        ({"if-match": TAG}, True),
        ({"if-match": f'"{TAG}"'}, True),
        ({"if-match": f'"0x1", W/"{TAG}"'}, True),
        ({"if-match": "*"}, True),
        ({"if-match": "0x1"}, False),
        ({"if-none-match": TAG}, False),
        ({"if-none-match": "*"}, False),
        ({"if-none-match": "0x1"}, True),
        ({"if-modified-since": "Fri, 02 Jan 2026 03:04:05 GMT"}, False),
        ({"if-modified-since": "Fri, 02 Jan 2026 03:04:04 GMT"}, True),
        ({"if-unmodified-since": "Fri, 02 Jan 2026 03:04:05 GMT"}, True),
        ({"if-unmodified-since": "Fri, 02 Jan 2026 03:04:04 GMT"}, False),
    ],
)
def test_conditions(headers: dict[str, str], holds: bool) -> None:
    for reads, status in ((True, 304), (False, 412)):
        if holds:
            check_conditions(headers, NOW, reads=reads)
        else:
            with pytest.raises(Fault) as fault:
                check_conditions(headers, NOW, reads=reads)
            assert (fault.value.code, fault.value.status) == ("ConditionNotMet", status)


def test_an_invalid_date_is_an_invalid_header_value() -> None:
    with pytest.raises(Fault) as fault:
        check_conditions({"if-modified-since": "yesterday"}, NOW, reads=True)
    assert fault.value.code == "InvalidHeaderValue"
