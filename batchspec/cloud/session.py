"""What everything that talks to the Batch service shares."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from batchspec.cloud.limiter import Limiter, Limits, Timing
from batchspec.cloud.service_time import ServiceTime
from batchspec.cloud.signing import Mint

if TYPE_CHECKING:
    from azure.batch.aio import BatchClient


@dataclass(slots=True)
class Session:
    """An open Batch account: its client, who signs for it, and how long to wait for what.

    ``time`` is the time at the service.

    ``fit`` is how many tasks one request may hold: it shrinks when the service says "too large".
    """

    client: BatchClient
    mint: Mint
    limiter: Limiter
    limits: Limits
    timing: Timing
    time: ServiceTime
    fit: int = 100

    def now(self) -> datetime:
        """The time at the service (UTC), as its latest answers say."""
        return self.time.now()
