"""Output files: uploaded from a task's directory, after it has ended.

What lives here: which file becomes which blob, under which condition, and what its failure is
called. What may not: HTTP (``storage``), patterns (``pattern``).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batchspec.local.agent.command import expand
from batchspec.local.agent.failures import failure, without_query
from batchspec.local.agent.launch import Failure
from batchspec.local.agent.pattern import find, is_wild
from batchspec.local.agent.storage import Grants, Storage, StorageError, blob_url

_CONDITIONS: Mapping[str, tuple[bool, ...]] = {
    "tasksuccess": (True,),
    "taskfailure": (False,),
    "taskcompletion": (True, False),
}
OUT, ERR = "fileuploadout.txt", "fileuploaderr.txt"


@dataclass(frozen=True, slots=True)
class _Upload:
    file: Path
    blob: str
    container: str
    headers: Mapping[str, str]


def wanted(outputs: Sequence[Mapping[str, Any]], *, succeeded: bool) -> list[Mapping[str, Any]]:
    """Those of ``outputs`` (in wire form) whose condition holds."""
    return [
        output
        for output in outputs
        if succeeded
        in _CONDITIONS[
            output.get("uploadOptions", {}).get("uploadCondition", "taskcompletion").lower()
        ]
    ]


async def send_all(
    outputs: Sequence[Mapping[str, Any]],
    directory: Path,
    environment: Mapping[str, str],
    storage: Storage,
    grants: Grants,
) -> tuple[tuple[str, ...], Failure | None]:
    """Upload the files of ``outputs`` from the task ``directory``; blobs, and the first failure.

    A file that cannot be uploaded does not keep the others from it. What happened is told in
    ``fileuploadout.txt`` and ``fileuploaderr.txt`` in the task directory.
    """
    sent: list[str] = []
    first: Failure | None = None
    with _log(directory / OUT) as out, _log(directory / ERR) as err:
        for output in outputs:
            pattern = expand(output["filePattern"], environment)
            found = 0
            uploads = _uploads(output, pattern, directory / "wd", grants)
            for upload in await asyncio.to_thread(list, uploads):
                found += 1
                try:
                    await _send(upload, storage)
                except (StorageError, OSError) as error:
                    why = _failure(upload, output["filePattern"], error)
                    first = first or why
                    err.write(f"{upload.file}: {why.code}: {error}\n")
                else:
                    sent.append(upload.blob)
                    out.write(f"{upload.file} -> {upload.blob}\n")
            if not found:
                out.write(f"no file matches {output['filePattern']}\n")
    return tuple(sent), first


def _log(path: Path) -> Any:
    # A task may have put a link there: it is not written through.
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    return os.fdopen(os.open(path, flags, 0o644), "w", encoding="utf-8", errors="replace")


def _uploads(
    output: Mapping[str, Any], pattern: str, base: Path, grants: Grants
) -> Iterator[_Upload]:
    target = output["destination"]["container"]
    container = target["containerUrl"]
    if "identityReference" in target:
        container = grants.identity(container)
    path = (target.get("path") or "").strip("/")
    headers = {entry["name"]: entry.get("value", "") for entry in target.get("uploadHeaders", ())}
    for file, below in find(pattern, base):
        name = "/".join(filter(None, (path, below))) if is_wild(pattern) else path or file.name
        yield _Upload(file, name, container, headers)


async def _send(upload: _Upload, storage: Storage) -> None:
    source = os.open(upload.file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        await storage.upload(source, blob_url(upload.container, upload.blob), upload.headers)
    finally:
        os.close(source)


def _failure(upload: _Upload, pattern: str, error: StorageError | OSError) -> Failure:
    code = "FileUploadMiscError"
    if isinstance(error, StorageError):
        if error.status in {401, 403}:
            code = "FileUploadAccessDenied"
        elif error.status == 404:
            code = "FileUploadContainerNotFound"
    return failure(
        code,
        FilePath=str(upload.file),
        FilePattern=pattern,
        FileDestination=without_query(upload.container),
    )
