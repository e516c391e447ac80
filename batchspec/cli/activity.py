"""A line on a terminal that says what a command does, until its first output replaces it.

It is on standard error, and only if that is a terminal. A separate module, because it is used
before everything else is imported.
"""

from __future__ import annotations

import os
import shutil
import sys
import time

_PAUSE = 0.1
"""Seconds between two texts about the same subject."""
_ERASE = "\r\x1b[2K"

_subject = ""
_shown_at = 0.0


def show_activity(subject: str, detail: str = "") -> None:
    """Show what the command does, such as ``reading files of input``; ``detail`` changes often."""
    global _subject, _shown_at
    now = time.monotonic()
    if (subject == _subject and now - _shown_at < _PAUSE) or not _has_terminal():
        return
    _subject, _shown_at = subject, now
    text = f"{subject}: {detail} ..." if detail else f"{subject} ..."
    room = shutil.get_terminal_size((80, 24)).columns - 1
    _write(_ERASE + "".join(filter(str.isprintable, text))[:room])


def clear_activity() -> None:
    """Remove the line, because something else is written."""
    global _subject  # noqa: PLW0603
    if _subject:
        _subject = ""
        _write(_ERASE)


def _has_terminal() -> bool:
    return sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def _write(text: str) -> None:
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except (OSError, UnicodeEncodeError):
        # The line is a convenience: a terminal that was closed or cannot show it is no error.
        return
