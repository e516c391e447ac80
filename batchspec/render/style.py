"""Colour for text that is not drawn by rich: a few names, and whether to use any at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TextIO

_CODES = {
    "bold": "1",
    "dim": "2",
    "error": "1;31",
    "question": "1;35",
    "warning": "1;33",
    "note": "1;36",
    "hint": "32",
    "create": "32",
    "change": "33",
    "delete": "31",
    "move": "36",
    "keep": "2",
}


@dataclass(frozen=True, slots=True)
class Style:
    """Colours a text, or leaves it as it is."""

    on: bool

    def __call__(self, style: str, text: str) -> str:
        """``text`` in a style by name; nothing around an empty text."""
        return f"\x1b[{_CODES[style]}m{text}\x1b[0m" if self.on and text else text


def wants_color(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether to colour what goes to ``stream``.

    ``NO_COLOR`` (https://no-color.org) says no, ``FORCE_COLOR`` yes; otherwise a terminal that is
    not dumb gets colour.
    """
    if environ.get("NO_COLOR"):
        return False
    if environ.get("FORCE_COLOR"):
        return True
    return stream.isatty() and environ.get("TERM") != "dumb"
