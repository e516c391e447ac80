"""Which names a blob can have, checked before anything is sent.

Storage refuses some names late, in words that do not help, and takes others that nobody gets back:
Azurite stores a control character and answers every later listing with 500; a ``..`` segment is
folded by HTTP clients; Azure turns a backslash into a slash.
"""

from __future__ import annotations

import re

from batchspec.diagnostics import Diagnostic, SpecError

LONGEST = 1024
DEEPEST = 254

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ufffe\uffff]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")


def check_blob_name(name: str) -> None:
    """Raise SpecError ``blob-name`` if storage cannot keep a blob of that name."""
    wrong = _wrong(name)
    if wrong:
        shown = name.encode("unicode_escape", "backslashreplace").decode("ascii")
        raise SpecError(
            Diagnostic(
                "blob-name",
                f"no blob can be named {shown[:200]!r}: {wrong}",
                fix="rename the file, or give it another place with `path`",
            )
        )


def _wrong(name: str) -> str:
    segments = name.split("/")
    reasons = (
        (not name, "it is empty"),
        (len(name) > LONGEST, f"it has {len(name)} characters, {LONGEST} are allowed"),
        (_SURROGATE.search(name), "it is not valid text"),
        (_CONTROL.search(name), "it has a control character"),
        ("\\" in name, "it has a backslash"),
        ("." in segments or ".." in segments, "a part of it is . or .."),
        (len(segments) > DEEPEST, f"it has {len(segments)} parts, {DEEPEST} are allowed"),
    )
    return next((reason for holds, reason in reasons if holds), "")
