"""What the task program counts: against an independent count, however the text is cut."""

from __future__ import annotations

import re
import sys
import tracemalloc
import unicodedata
from collections import Counter
from itertools import pairwise
from types import ModuleType
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.task_app.naive import naive_count

ALPHABET = st.one_of(
    st.sampled_from("aAbé'’ \n-_.1²\u0301\u0307İßſΣςǅ\u200d\u093fक中\U0001f600\u0345ﬁ"),
    st.characters(exclude_categories=["Cs"]),
)
TEXTS = st.text(ALPHABET, max_size=60)
CUTS = st.lists(st.integers(0, 120), max_size=8)
"""In bytes of UTF-8: also within a character."""
BLOCKS = st.sampled_from([1, 5, 1 << 16])
"""The longest stretch without an ASCII separator that is kept whole."""


def counted(topn: ModuleType, text: str, places: list[int], block: int, part: int = 1 << 24) -> Any:
    """The words of a text that is cut at these places, with these limits of the program."""
    data = text.encode("utf-8")
    edges = [0, *sorted(places), len(data)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(topn, "BLOCK", block)
        patch.setattr(topn, "PART", part)
        return topn.count_words([data[start:end] for start, end in pairwise(edges)])


@settings(deadline=None)
@given(TEXTS, CUTS, BLOCKS, st.sampled_from([1, 20, 1 << 24]))
@example("don't", [3], 1, 1)
@example("don't", [4], 1, 1)
@example("don''t", [4], 1, 1)
@example("a'\u0301b", [2], 1, 1)
@example("e\u0301", [1], 1, 1)
@example("e\u0301", [2], 1, 1)
def test_words_are_counted_by_the_stated_rule_wherever_the_blocks_are_cut(
    topn: ModuleType, text: str, places: list[int], block: int, part: int
) -> None:
    assert counted(topn, text, places, block, part) == naive_count(text, topn.LONGEST)


@settings(deadline=None)
@given(
    st.text("ab'’\u0301", max_size=30).map(lambda text: text * 40),
    st.lists(st.integers(0, 2400)),
    BLOCKS,
)
@example("a" * 255 + "'" + "b" * 9 + "\u0301c", [265], 1)
@example("a" * 255 + "'" + "b" * 9 + "\u0301c", [266], 1)
@example("a" * 300 + "''b", [301], 1)
@example("a" * 300 + "'b", [301], 1)
@example("a" * 300 + "\u0301b", [300], 1)
def test_very_long_words_count_by_their_start_wherever_the_blocks_are_cut(
    topn: ModuleType, text: str, places: list[int], block: int
) -> None:
    assert counted(topn, text, places, block) == naive_count(text, topn.LONGEST)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The the THE", {"the": 3}),
        ("don't don’t DON'T", {"don't": 3}),
        ("'tis rock'n'roll the dogs' bone", {"tis", "rock'n'roll", "the", "dogs", "bone"}),
        ("well-known snake_case", {"well", "known", "snake", "case"}),
        ("Straße STRASSE", {"strasse": 2}),
        ("caf\u00e9 cafe\u0301 CAFÉ", {"café": 3}),
        ("हिन्दी", {"हिन्दी"}),
        ("Ὀδυσσεύς ΟΔΥΣΣΕΎΣ", {"ὀδυσσεύσ", "οδυσσεύσ"}),
        ("1984 3.14", {"1984", "3", "14"}),
        ("… — !? \u0301", set()),
    ],
)
def test_examples(topn: ModuleType, text: str, words: dict[str, int] | set[str]) -> None:
    expected = words if isinstance(words, dict) else dict.fromkeys(words, 1)
    assert topn.count_words([text.encode("utf-8")]) == expected


def test_the_pattern_knows_every_letter_digit_and_mark_of_unicode(topn: ModuleType) -> None:
    everything = [chr(code) for code in range(sys.maxunicode + 1)]
    letters = {char for char in everything if unicodedata.category(char)[0] in "LN"}
    marks = {char for char in everything if unicodedata.category(char)[0] == "M"}
    starts = set(topn._WORD.findall("\n".join(everything)))
    assert starts - {""} == letters
    goes_on = topn._WORD.findall("\n".join("a" + char for char in everything if char != "\n"))
    assert {word[1] for word in goes_on if len(word) == 2} == letters | marks


@given(st.dictionaries(st.text(max_size=3), st.integers(1, 3)), st.integers(1, 9))
def test_ties_are_ordered_by_code_points(
    topn: ModuleType, words: dict[str, int], number: int
) -> None:
    ordered = sorted(words.items(), key=lambda item: item[0])
    ordered = sorted(ordered, key=lambda item: item[1], reverse=True)
    assert topn.most_frequent(Counter(words), number) == ordered[:number]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x" * 1000, {"x" * 256: 1}),
        ("\u4e2d\u56fd\uff0c" * 400, {"\u4e2d\u56fd": 400 * 3000}),
        ("all is well " * 90, {"all": 90 * 3000, "is": 90 * 3000, "well": 90 * 3000}),
    ],
    ids=["an endless word", "no ASCII separator", "prose"],
)
def test_memory_does_not_grow_with_the_text(
    topn: ModuleType, text: str, words: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(topn, "BLOCK", 1 << 12)
    block = text.encode("utf-8")
    tracemalloc.start()
    try:
        assert topn.count_words(block for _ in range(3000)) == words
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1_500_000


def test_memory_does_not_grow_with_the_spellings_of_few_words(
    topn: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(topn, "PART", 1 << 16)
    blocks = (("a\u2026b" + "\u2014" * number + "\n").encode("utf-8") for number in range(999))
    tracemalloc.start()
    try:
        assert topn.count_words(blocks) == {"a": 999, "b": 999}
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 300_000


def test_the_naive_count_is_independent_of_the_pattern() -> None:
    assert naive_count("One two, one.", 99) == Counter(re.findall("[a-z]+", "one two, one."))
