"""What a request and a command line have room for, and how much of it a value takes."""

from __future__ import annotations

import json

from batchspec.spec import Record, Text, Value

REQUEST = 1_000_000
"""Bytes; the service takes requests of up to 1 MB (Create Task Collection)."""
CMD_LINE = 8191
"""What cmd.exe takes ("Command prompt line string limitation")."""
PROGRAM_LINE = 32_767
"""What CreateProcess takes, of which no task comes near."""
SH_ARGUMENT = 131_071
"""What Linux takes as one argument in bytes (MAX_ARG_STRLEN less the NUL): all of ``sh -c``."""
_SIGNATURE = 300
"""About the length of a signature that is added to a URL at submission."""


def size_of(value: Value) -> int:
    """About how many bytes a value is as JSON, signatures included."""
    match value:
        case Record():
            return sum(len(key) + 6 + size_of(item) for key, item in value.items())
        case tuple():
            return sum(1 + size_of(item) for item in value)
        case str():
            return len(value) + 2 if value.isascii() else len(json.dumps(value))
        case Text():
            urls = sum(1 for _ in value.urls())
            return size_of(value.shown) + urls * _SIGNATURE
        case None | bool() | int() | float():
            return 8
    return _SIGNATURE
