"""Which files of an upload are complete, so that tasks wait for their own inputs only.

Uploads start in the order of the blob names and end in any order. Stored are the last name up to
which all uploads are complete, and the completed ones after it: at most one for each worker.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field


@dataclass(slots=True)
class _Upload:
    """The upload to one container; every blob up to ``low`` is complete."""

    started: deque[str] = field(default_factory=deque)
    completed: set[str] = field(default_factory=set)
    low: str = ""
    ended: bool = False
    succeeded: bool = False
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)


class UploadProgress:
    """The uploads of a run, by container."""

    def __init__(self) -> None:
        self._uploads: dict[str, _Upload] = {}

    def start(self, container: str, blob: str) -> None:
        """Record the start of a file; files start in the order of their names."""
        self._of(container).started.append(blob)

    async def complete(self, container: str, blob: str) -> None:
        """Record that a file is uploaded."""
        upload = self._of(container)
        upload.completed.add(blob)
        while upload.started and upload.started[0] in upload.completed:
            upload.low = upload.started.popleft()
            upload.completed.discard(upload.low)
        await _notify(upload)

    async def end(self, container: str, *, succeeded: bool) -> None:
        """Record the end of the upload; ``succeeded`` if every file is uploaded."""
        upload = self._of(container)
        upload.ended, upload.succeeded = True, succeeded
        await _notify(upload)

    async def wait(self, container: str, blob: str) -> bool:
        """Wait until a blob exists that an upload creates or has found up to date.

        ``False`` if the upload ended without it.
        """
        upload = self._of(container)

        def settled() -> bool:
            return upload.ended or blob <= upload.low or blob in upload.completed

        async with upload.changed:
            await upload.changed.wait_for(settled)
        if not upload.ended or upload.succeeded:
            return True
        return blob <= upload.low or blob in upload.completed

    def _of(self, container: str) -> _Upload:
        return self._uploads.setdefault(container, _Upload())


async def _notify(upload: _Upload) -> None:
    async with upload.changed:
        upload.changed.notify_all()
