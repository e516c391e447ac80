"""What everything that talks to the Batch service shares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchspec.cloud.limiter import Limiter, Limits, Timing
from batchspec.cloud.signing import Mint

if TYPE_CHECKING:
    from azure.batch.aio import BatchClient


@dataclass(slots=True)
class Session:
    """An open Batch account: its client, who signs for it, and how long to wait for what.

    ``fit`` is how many tasks one request may hold: it shrinks when the service says "too large".
    """

    client: BatchClient
    mint: Mint
    limiter: Limiter
    limits: Limits
    timing: Timing
    fit: int = 100
