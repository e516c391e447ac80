"""Secrets are removed in every form in which they can be quoted."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote, quote_plus

import pytest

from batchspec.diagnostics import Secret, conceal, redact
from batchspec.plan.changes import differences
from batchspec.spec import Record

ODD = "Odd/Secret with 100% + ünïcode"


@pytest.mark.parametrize("form", [ODD, quote(ODD), quote(ODD, safe="")])
def test_a_secret_is_removed_in_each_of_its_forms(form: str) -> None:
    conceal(Secret(ODD))
    assert redact(f"CommandLine: run '{form}' now") == "CommandLine: run '***' now"


QUOTED = 'Say "hi" \\ to o\'Brien/ünï+5'


@pytest.mark.parametrize(
    "form",
    [
        json.dumps(QUOTED),
        json.dumps(QUOTED, ensure_ascii=False),
        repr(QUOTED),
        repr(QUOTED.encode()),
        ascii(QUOTED),
        quote_plus(QUOTED),
    ],
)
def test_a_secret_is_removed_as_programs_print_it(form: str) -> None:
    conceal(Secret(QUOTED))
    assert "Brien" not in redact(f"value = {form}")


@pytest.mark.parametrize("before", ["", "a", "ab", "abc", "password="])
@pytest.mark.parametrize("after", ["", "z", "\n"])
def test_a_secret_is_removed_in_base64(before: str, after: str) -> None:
    secret = "correct horse battery"
    conceal(Secret(secret))
    data = f"{before}{secret}{after}".encode()
    for encoded in (base64.b64encode(data), base64.urlsafe_b64encode(data)):
        shown = redact(f"header: {encoded.decode()}")
        assert "***" in shown
        # What is left are the characters that other bytes determine, too.
        left = len(shown) - len("header: ***")
        assert left <= (len(before) + len(after) + 2) * 4 // 3 + 4


@pytest.mark.parametrize(
    "url",
    ["a?sv=1\\u0026sig\\u003dSECRET", "a?sig=SECRET\\u0026se=1", "a%26sig%3DSECRET"],
)
def test_a_signature_is_removed_as_json_escapes_it(url: str) -> None:
    assert "SECRET" not in redact(url)


def test_each_line_of_a_secret_counts() -> None:
    conceal(Secret("first-line-of-it\nsecond-line-of-it\n"))
    assert redact("said: second-line-of-it") == "said: ***"


def test_a_secret_within_a_secret_leaves_nothing_of_the_longer() -> None:
    conceal(Secret("inner-value-9"), Secret("outer-inner-value-9-outer"))
    assert redact("outer-inner-value-9-outer inner-value-9") == "*** ***"


def test_what_is_too_short_is_left_alone() -> None:
    conceal(Secret("no"), Secret(""))
    assert redact("no news") == "no news"


def test_environment_settings_are_identified_by_name() -> None:
    """The account may still have the value of a secret that is no longer given."""
    there = Record(environmentSettings=(Record(name="A", value="an old secret"),))
    wanted = Record(environmentSettings=(Record(name="A", value="a"), Record(name="B", value="b")))
    words = [difference.words for difference in differences(wanted, there)]
    assert words == ['environmentSettings: ["A"] -> ["A", "B"]']
