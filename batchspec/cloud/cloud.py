"""An open account, as the rest of batchspec is handed it. Nothing of Azure is imported here."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batchspec.cloud.batch import BatchService
    from batchspec.cloud.reader import AccountReader
    from batchspec.cloud.storage import BlobStorage


@dataclass(frozen=True, slots=True)
class Cloud:
    """An open account: ``reader`` for ``observe``, ``storage`` and ``batch`` for ``apply``.

    ``longest_sas`` bounds how long an address can be signed for; ``None`` is no bound.
    """

    reader: AccountReader
    storage: BlobStorage
    batch: BatchService
    longest_sas: timedelta | None
