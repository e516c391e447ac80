"""The phases of a start that may take long enough to be reported; values, without texts."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum


class StartupPhase(StrEnum):
    """A phase of ``install`` or ``start``."""

    WAITING = "waiting"
    """Another process is installing or starting the same thing; this one waits for it."""
    INSTALLING_AZURITE = "installing-azurite"
    """Happens once for each version of Azurite; needs the npm registry and takes seconds."""
    STARTING = "starting"
    """The service and Azurite are being started; takes about a second."""


Notify = Callable[[StartupPhase], None]
"""Called at the start of each phase."""
