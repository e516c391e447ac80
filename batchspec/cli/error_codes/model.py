"""The description of an error code."""

from __future__ import annotations

from typing import NamedTuple


class ErrorCode(NamedTuple):
    """A code with what it means, why it happens, and what to do.

    ``severity`` is that of the message: ``error``, ``warning``, ``note``, or ``warning or error``
    where it depends on the situation; ``cause`` is a cause of failed tasks or nodes.
    """

    code: str
    title: str
    why: str
    fix: str
    severity: str = "error"


class ErrorGroup(NamedTuple):
    """Errors about one subject."""

    title: str
    codes: tuple[ErrorCode, ...]
