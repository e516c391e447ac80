"""The rule of topn.py's docstring, written a second time: without patterns, letter by letter."""

from __future__ import annotations

import unicodedata
from collections import Counter


def naive_count(text: str, longest: int) -> Counter[str]:
    """The words of a text and their counts; of a word the first ``longest`` characters count."""
    found: Counter[str] = Counter()
    word = ""
    for here, char in enumerate(text + " "):
        kind = unicodedata.category(char)[0]
        after = text[here + 1 : here + 2]
        inner = char in "'’" and after and unicodedata.category(after)[0] in "LN"
        if kind in "LN" or (word and (kind == "M" or inner)):
            word += char
        elif word:
            word = word[:longest]
            while word[-1] in "'’":
                word = word[:-1]
            apart = unicodedata.normalize("NFD", word)
            whole = unicodedata.normalize("NFC", apart.casefold())
            found[whole.replace("’", "'")] += 1
            word = ""
    return found
