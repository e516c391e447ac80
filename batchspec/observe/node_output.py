"""The output of failed start and preparation tasks that was stored before their nodes were deleted.

Written by :mod:`batchspec.apply.node_logs`; the names are in :mod:`batchspec.plan.node_logs`.
"""

from __future__ import annotations

from datetime import datetime

from batchspec.observe.ports import Outputs
from batchspec.plan.node_logs import (
    FOLDER,
    RECORD,
    NodeFailure,
    node_logs_container,
    pool_folder,
    read_record,
)
from batchspec.spec import Spec

_RECORDS = 50
"""How many records are read; a run stores ten at most."""
_LARGEST = 1 << 16
"""Bytes of a record."""


async def stored_failures(
    spec: Spec, pool: str | None, outputs: Outputs, since: datetime | None
) -> tuple[NodeFailure, ...]:
    """What was stored of the nodes of ``pool`` (``None``: of any), in order of the nodes' ids.

    What is older than ``since`` is of an earlier run, and is left out.
    """
    container = node_logs_container(spec)
    if container is None:
        return ()
    # Last-Modified has whole seconds, the creation time of a job has fractions.
    oldest = since.replace(microsecond=0) if since is not None else None
    found: list[NodeFailure] = []
    async for blob in outputs.blobs(container, pool_folder(pool) if pool else f"{FOLDER}/"):
        if not blob.name.endswith(f"/{RECORD}"):
            continue
        if oldest is not None and blob.modified is not None and blob.modified < oldest:
            continue
        part = await outputs.blob_part(container, blob.name, 0, _LARGEST)
        failure = read_record(part.data.decode("utf-8", "replace")) if part is not None else None
        if failure is not None:
            found.append(failure)
        if len(found) >= _RECORDS:
            break
    return tuple(found)
