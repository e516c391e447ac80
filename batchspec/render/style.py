"""Colours of text outside the live view, by name, and the choice to use any."""

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
    "fix": "32",
    "create": "32",
    "change": "33",
    "delete": "31",
    "move": "36",
    "keep": "2",
}


@dataclass(frozen=True, slots=True)
class Style:
    """Adds a colour to a text if ``on``."""

    on: bool

    def __call__(self, style: str, text: str) -> str:
        """The text in the style of that name; an empty text stays empty."""
        return f"\x1b[{_CODES[style]}m{text}\x1b[0m" if self.on and text else text


def wants_color(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether to use colours on ``stream``.

    ``NO_COLOR`` (https://no-color.org) turns them off, ``FORCE_COLOR`` on; otherwise a
    terminal that is not dumb has colours.
    """
    if environ.get("NO_COLOR"):
        return False
    if environ.get("FORCE_COLOR"):
        return True
    return stream.isatty() and environ.get("TERM") != "dumb"
