"""The last net before a text goes out, and the writer that no text goes past.

A task's stderr, a file name or a service's message may hold anything: signatures, keys, escape
sequences that would move the cursor or change the title of a terminal. :func:`clean` takes both
out. Lines are written whole and at once.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TextIO

from batchspec.diagnostics import redact

_SEQUENCE = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # colours, cursor moves
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?"  # titles, links
    r"|\x1b[@-Z\\-_]"
)
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
"""Controls but tab and newline; and what would break a line or turn its direction round."""

_ESCAPE = re.compile(r"\\.")
"""An escape of JSON; a quote and the backslash before it are taken together."""


def clean(text: str) -> str:
    """A text without secrets and without what a terminal would obey.

    Escape sequences go; a carriage return leaves what was last written on the line, as a terminal
    would show it; other control characters become ``?``.
    """
    text = _SEQUENCE.sub("", text.replace("\r\n", "\n"))
    if "\r" in text:
        text = "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))
    return redact(_CONTROL.sub("?", text))


def flat(text: str) -> str:
    """A cleaned text on one line."""
    return " ".join(clean(text).split())


def clean_json(value: object) -> object:
    """A JSON value with every text in it (keys too) without secrets.

    This is done before the value becomes text: in text, a secret may end in the quote or the
    backslash that belongs to the JSON.
    """
    match value:
        case str():
            return redact(value)
        case Mapping():
            return {redact(str(key)): clean_json(item) for key, item in value.items()}
        case list() | tuple():
            return [clean_json(item) for item in value]
    return value


def json_text(value: object, *, indent: int | None = None) -> str:
    """A JSON value as text, without secrets; on one line unless ``indent`` is given.

    Where a net that goes over the whole would take an escaped quote with what follows a ``sig=``,
    quotes are written as ``\\u0022``, so that it stays JSON.
    """
    separators = (",", ":") if indent is None else (",", ": ")
    text = json.dumps(clean_json(value), ensure_ascii=False, indent=indent, separators=separators)
    if redact(text) == text:
        return text
    return _ESCAPE.sub(lambda match: "\\u0022" if match[0] == '\\"' else match[0], text)


def encodes(stream: TextIO, sample: str = "✓→█…") -> bool:
    """Whether a stream can take these characters."""
    try:
        sample.encode(getattr(stream, "encoding", None) or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


class LineWriter:
    """Writes lines to a stream. A character the stream cannot take is written as an escape."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def line(self, text: str) -> None:
        """Write one line (or several) and flush, so that a reader sees it now."""
        try:
            self._stream.write(text + "\n")
        except UnicodeEncodeError:
            encoding = self._stream.encoding
            self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
        self._stream.flush()
