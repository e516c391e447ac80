"""What a start is busy with, as values; the words for them belong to whoever shows them."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum


class StartupPhase(StrEnum):
    """A stage of ``install`` or ``start`` that may take long enough to be worth a word."""

    WAITING = "waiting"
    """Another process is installing or starting the same thing; this one waits for it."""
    INSTALLING_AZURITE = "installing-azurite"
    """Once for each version of Azurite; needs the npm registry and takes seconds."""
    STARTING = "starting"
    """The service and Azurite are being started; takes about a second."""


Notify = Callable[[StartupPhase], None]
"""Told of each phase as it begins."""
