"""Names in an id: what a text becomes when it is to be a part of one."""

from __future__ import annotations

import re
import unicodedata


def slug(text: str, longest: int = 64) -> str:
    """A text as part of an id: ``A-Za-z0-9_`` and single hyphens, at most ``longest`` long.

    Letters lose their accents; what is left of no letter is an empty text.
    """
    if not text.isascii():
        text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9_]+", "-", text).strip("-")[:longest].rstrip("-")
