"""Operations on the files of nodes (:func:`of_node`) and of tasks (:func:`of_task`)."""

from __future__ import annotations

import mimetypes
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import FileIO
from itertools import islice
from typing import Any
from urllib.parse import quote

from batchspec.local.api.resources import Context, find_node, find_parent_task, read_filter
from batchspec.local.safe_paths import Entry, OutsideError, Root, opened, read_chunks, remove, walk
from batchspec.local.wire import (
    Fault,
    FieldType,
    Reply,
    Request,
    check_conditions,
    empty_reply,
    list_reply,
    write_http_date,
    write_time,
)

CHUNK = 256 * 1024
_RANGE = re.compile(r"bytes=(\d{1,18})?-(\d{1,18})?", re.ASCII)

DiskOperation = Callable[[], Reply]
"""The part of an operation that uses the disk; it runs in a worker thread."""


@dataclass(frozen=True, slots=True)
class FileDirectory:
    """The directory of a request, and the URL of its files."""

    root: Root
    url: str


FileOperation = Callable[[FileDirectory, Request], DiskOperation]


def of_node(operation: FileOperation) -> Callable[[Context, Request], DiskOperation]:
    """An operation on the files of a node."""
    return lambda context, request: operation(_node_directory(context, request), request)


def of_task(operation: FileOperation) -> Callable[[Context, Request], DiskOperation]:
    """An operation on the files of a task."""
    return lambda context, request: operation(_task_directory(context, request), request)


def _node_directory(context: Context, request: Request) -> FileDirectory:
    node = find_node(context, request)
    return FileDirectory(
        _root(context, node.pool_id, node.id),
        f"{context.base_url}/pools/{node.pool_id}/nodes/{node.id}/files",
    )


def _task_directory(context: Context, request: Request) -> FileDirectory:
    task = find_parent_task(context, request)
    if task.cleaned:
        raise Fault("TaskFilesCleanedup")
    if task.pool_id is None or task.node_id is None or task.directory is None:
        raise Fault("TaskFilesUnavailable")
    if context.store.nodes.get(task.pool_id, task.node_id) is None:
        raise Fault("NodeNotFound")
    return FileDirectory(
        _root(context, task.pool_id, task.node_id, task.directory),
        f"{context.base_url}/jobs/{task.job_id}/tasks/{task.id}/files",
    )


def _root(context: Context, pool_id: str, node_id: str, directory: str = "") -> Root:
    path = context.root(pool_id, node_id) / directory
    return Root(context.data, path.relative_to(context.data).parts)


def list_files(directory: FileDirectory, request: Request) -> DiskOperation:
    """``GET .../files``."""
    recursive, limit = request.flag("recursive"), request.max_results()
    after = request.after(file=True)
    matches = read_filter(request, {"name": FieldType.TEXT})

    def work() -> Reply:
        start = tuple(after.split("/")) if after else ()
        try:
            entries = walk(directory.root, recursive=recursive, after=start)
            matching = (entry for entry in entries if matches({"name": entry.name}))
            found = list(islice(matching, limit + 1))
        except FileNotFoundError:
            raise Fault("TaskFilesUnavailable") from None
        link = request.next_link(found[limit - 1].name) if len(found) > limit else None
        shown = [_show(directory, entry) for entry in found[:limit]]
        return list_reply(request, "BatchNodeFile", shown, "files", link)

    return work


def download_file(directory: FileDirectory, request: Request) -> DiskOperation:
    """``GET .../files/{filePath}``."""
    path = request.parameters["filePath"]

    def work() -> Reply:
        with _opened(directory, path) as (descriptor, entry):
            if entry.is_directory:
                raise Fault("FileNotFound")
            _check(request, entry)
            start, length = _range(request, entry.size)
            # The reply reads this file to the end, even if a task removes or replaces it.
            file = FileIO(os.dup(descriptor))
        headers = {**_headers(directory, entry), "Content-Length": str(length)}
        return Reply(200, headers=headers, chunks=read_chunks(file, start, length, CHUNK))

    return work


def get_properties(directory: FileDirectory, request: Request) -> DiskOperation:
    """``HEAD .../files/{filePath}``."""

    def work() -> Reply:
        entry = _find(directory, request.parameters["filePath"])
        _check(request, entry)
        size = 0 if entry.is_directory else entry.size
        return Reply(200, headers={**_headers(directory, entry), "Content-Length": str(size)})

    return work


def delete_file(directory: FileDirectory, request: Request) -> DiskOperation:
    """``DELETE .../files/{filePath}``."""
    recursive = request.flag("recursive")

    def work() -> Reply:
        try:
            remove(directory.root, request.parameters["filePath"], recursive=recursive)
        except (FileNotFoundError, NotADirectoryError, OutsideError):
            raise Fault("FileNotFound") from None
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise Fault("OperationInvalidForCurrentState", ("Reason", reason)) from None
        return empty_reply(200, None)

    return work


def _find(directory: FileDirectory, path: str) -> Entry:
    """The entry at ``path``."""
    with _opened(directory, path) as (_, entry):
        return entry


@contextmanager
def _opened(directory: FileDirectory, path: str) -> Iterator[tuple[int, Entry]]:
    """The descriptor and the entry of ``path``.

    Raises:
        Fault: ``FileNotFound``; also for a path outside the directory.
    """
    with ExitStack() as stack:
        try:
            found = stack.enter_context(opened(directory.root, path))
        except (OSError, OutsideError, ValueError):
            raise Fault("FileNotFound") from None
        yield found


def _check(request: Request, entry: Entry) -> None:
    check_conditions(request.headers, entry.modified, reads=True, tagged=False)


def _range(request: Request, size: int) -> tuple[int, int]:
    """Start and length of ``ocp-range``; without the header, of the whole file. The status is 200
    in both cases.
    """
    text = request.headers.get("ocp-range")
    if text is None:
        return 0, size
    found = _RANGE.fullmatch(text.strip())
    if found is None or not any(found.groups()):
        raise Fault("InvalidHeaderValue", ("HeaderName", "ocp-range"), ("HeaderValue", text))
    first, last = found.groups()
    if first is None:
        length = min(int(last), size)
        return size - length, length
    start, end = int(first), size - 1 if last is None else min(int(last), size - 1)
    if start >= size or (last is not None and int(last) < start):
        raise Fault("InvalidRange")
    return start, end - start + 1


def _headers(directory: FileDirectory, entry: Entry) -> dict[str, str]:
    url = _url(directory, entry)
    headers = {
        "Last-Modified": write_http_date(entry.modified),
        "ocp-batch-file-isdirectory": str(entry.is_directory),
        "ocp-batch-file-url": quote(url, safe=""),
        "ocp-batch-file-mode": _mode(entry),
    }
    return headers if entry.is_directory else {"Content-Type": _type(entry.name), **headers}


def _show(directory: FileDirectory, entry: Entry) -> Mapping[str, Any]:
    shown: dict[str, Any] = {
        "name": entry.name,
        "url": _url(directory, entry),
        "isDirectory": entry.is_directory,
    }
    if not entry.is_directory:
        shown["properties"] = {
            "lastModified": write_time(entry.modified),
            # The protocol writes a 64-bit number as a string.
            "contentLength": str(entry.size),
            "contentType": _type(entry.name),
            "fileMode": _mode(entry),
        }
    return shown


def _url(directory: FileDirectory, entry: Entry) -> str:
    return f"{directory.url}/{quote(os.fsencode(entry.name))}"


def _mode(entry: Entry) -> str:
    return f"0o{stat.S_IFMT(entry.mode) | stat.S_IMODE(entry.mode):o}"


def _type(name: str) -> str:
    return mimetypes.guess_type(name)[0] or "application/octet-stream"
