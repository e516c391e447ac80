"""The description of an error code."""

from __future__ import annotations

from typing import NamedTuple


class ErrorCode(NamedTuple):
    """A code with what it means, why it happens, and what to do."""

    code: str
    title: str
    why: str
    fix: str


class ErrorGroup(NamedTuple):
    """Errors about one subject."""

    title: str
    codes: tuple[ErrorCode, ...]
