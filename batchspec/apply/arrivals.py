"""Which files of an upload have arrived, so that their tasks need not wait for all of them.

Uploads start in the order of the blobs' names and end in any order. What is known is a low mark
(all up to it have arrived) and the few beyond it that have, too: as many as there are workers.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field


@dataclass(slots=True)
class _Upload:
    """One container's upload."""

    under_way: deque[str] = field(default_factory=deque)
    arrived: set[str] = field(default_factory=set)
    low: str = ""
    ended: bool = False
    whole: bool = False
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)


class Arrivals:
    """The uploads of a run, by container."""

    def __init__(self) -> None:
        self._uploads: dict[str, _Upload] = {}

    def start(self, container: str, blob: str) -> None:
        """The upload of a file begins; files begin in the order of their names."""
        self._of(container).under_way.append(blob)

    async def arrive(self, container: str, blob: str) -> None:
        """A file has arrived."""
        upload = self._of(container)
        upload.arrived.add(blob)
        while upload.under_way and upload.under_way[0] in upload.arrived:
            upload.low = upload.under_way.popleft()
            upload.arrived.discard(upload.low)
        await _tell(upload)

    async def end(self, container: str, *, whole: bool) -> None:
        """The upload is over; ``whole`` if every file has arrived."""
        upload = self._of(container)
        upload.ended, upload.whole = True, whole
        await _tell(upload)

    async def wait(self, container: str, blob: str) -> bool:
        """Wait until a blob is there that an upload brings, or had no need to.

        ``False`` if the upload ended without it.
        """
        upload = self._of(container)

        def settled() -> bool:
            return upload.ended or blob <= upload.low or blob in upload.arrived

        async with upload.changed:
            await upload.changed.wait_for(settled)
        return not upload.ended or upload.whole or blob <= upload.low or blob in upload.arrived

    def _of(self, container: str) -> _Upload:
        return self._uploads.setdefault(container, _Upload())


async def _tell(upload: _Upload) -> None:
    async with upload.changed:
        upload.changed.notify_all()
