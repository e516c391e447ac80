"""Output files: the upload from a task's directory after the task has ended.

In a file pattern ``*`` matches any characters of one name, ``?`` one character, ``[abc]`` and
``[a-c]`` one of these characters, ``[!abc]`` any other character, ``**`` any directories. A name
with a leading dot matches only a pattern with a leading dot. Links to files count as files; links
to directories are not followed.
"""

from __future__ import annotations

import asyncio
import fnmatch
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import lru_cache
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeAlias

from batchspec.local.agent.launch import Failure, failure, without_query
from batchspec.local.agent.processes import expand_variables
from batchspec.local.agent.storage import (
    MAX_SINGLE_UPLOAD,
    BlobClient,
    NodeStorage,
    StorageError,
    blob_url,
)

_CONDITIONS: Mapping[str, tuple[bool, ...]] = {
    "tasksuccess": (True,),
    "taskfailure": (False,),
    "taskcompletion": (True, False),
}
Access: TypeAlias = Callable[[], AbstractContextManager[None]]
"""Returns a context in which a thread opens files with the rights of a user."""
UPLOAD_LOG, UPLOAD_ERROR_LOG = "fileuploadout.txt", "fileuploaderr.txt"


@dataclass(frozen=True, slots=True)
class _Upload:
    file: str
    blob: str
    container: str
    headers: Mapping[str, str]
    pattern: str
    denied: StorageError | None = None
    content: bytes | None = field(default=None, repr=False)
    """The content of the file, if it has been read already."""


def select_outputs(
    outputs: Sequence[Mapping[str, Any]], *, succeeded: bool
) -> list[Mapping[str, Any]]:
    """The ``outputs`` (in wire form) with a met upload condition."""
    return [
        output
        for output in outputs
        if succeeded
        in _CONDITIONS[
            output.get("uploadOptions", {}).get("uploadCondition", "taskcompletion").lower()
        ]
    ]


_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
_SMALL = 64 << 10
"""Size in bytes up to which the first files are read when they are found."""
_PARALLEL = 4
"""Number of files of a task that are uploaded at the same time."""


async def upload_all(  # noqa: PLR0917
    outputs: Sequence[Mapping[str, Any]],
    directory: Path,
    environment: Mapping[str, str],
    storage: BlobClient,
    node_storage: NodeStorage,
    access: Access = nullcontext,
) -> tuple[tuple[str, ...], Failure | None]:
    """Upload the files of ``outputs`` from the task ``directory``; return the names of the blobs,
    and the first failure.

    After a failed file, the upload continues with the other files. ``fileuploadout.txt`` and
    ``fileuploaderr.txt`` in the task directory are the logs of the uploads. Files are found and
    opened within the context of ``access``, with the rights of the task's user. Threads do this,
    since the file system of a task's files can block. If all outputs are files of the task
    directory itself, such as ``stdout.txt``, no thread is needed: the service has created this
    directory on its own file system.

    Raises:
        OSError: the logs of the uploads cannot be written.
    """
    logs = _Logs(directory, access)
    patterns = [expand_variables(output["filePattern"], environment) for output in outputs]

    def find(search: _Search) -> list[_Upload]:
        logs.create()
        found: list[_Upload] = []
        with access():
            for output, pattern in zip(outputs, patterns, strict=True):
                uploads = _uploads(output, pattern, search(pattern, directory / "wd"), node_storage)
                if not uploads:
                    logs.out.append(f"no file matches {output['filePattern']}")
                found += uploads
            return [*map(_with_content, found[:_PARALLEL]), *found[_PARALLEL:]]

    near = all(map(_name_in_task_directory, patterns))
    uploads: list[_Upload] = []
    if near:
        try:
            uploads = find(find_in_task_directory)
        except _NeedsThreadError:
            near = False
            logs.out.clear()
    if not near:
        uploads = await asyncio.to_thread(find, find_files)
    sent: list[str] = []
    first: Failure | None = None
    try:
        for start in range(0, len(uploads), _PARALLEL):
            some = uploads[start : start + _PARALLEL]
            errors = await asyncio.gather(*(_try_upload(each, storage, access) for each in some))
            for upload, error in zip(some, errors, strict=True):
                if error is None:
                    sent.append(upload.blob)
                    logs.out.append(f"{upload.file} -> {upload.blob}")
                else:
                    why = _failure(upload, error)
                    first = first or why
                    logs.err.append(f"{upload.file}: {why.code}: {error}")
    finally:
        if near:
            logs.write()
        else:
            await asyncio.to_thread(logs.write)
    return tuple(sent), first


@dataclass(frozen=True, slots=True)
class _Logs:
    """The lines of the logs of the uploads of a task in ``directory``."""

    directory: Path
    access: Access
    out: list[str] = field(default_factory=list)
    err: list[str] = field(default_factory=list)

    def create(self) -> None:
        """Create both empty files."""
        with self.access():
            for name in (UPLOAD_LOG, UPLOAD_ERROR_LOG):
                os.close(self._open(name))

    def write(self) -> None:
        """Write the lines."""
        for name, lines in ((UPLOAD_LOG, self.out), (UPLOAD_ERROR_LOG, self.err)):
            if not lines:
                continue
            with self.access():
                descriptor = self._open(name)
            with os.fdopen(descriptor, "w", encoding="utf-8", errors="replace") as file:
                file.writelines(f"{line}\n" for line in lines)

    def _open(self, name: str) -> int:
        # A task can create a link with this name, which is not followed, or a pipe, which would
        # wait for a reader without O_NONBLOCK.
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK
        return os.open(f"{self.directory}/{name}", flags, 0o644)


def _uploads(
    output: Mapping[str, Any],
    pattern: str,
    files: Iterable[tuple[str, str]],
    node_storage: NodeStorage,
) -> list[_Upload]:
    """The uploads of an output: of the ``files`` that match ``pattern``, its expanded pattern."""
    target = output["destination"]["container"]
    container, denied = target["containerUrl"], None
    if "identityReference" in target:
        try:
            container = node_storage.identity(container, target["identityReference"], write=True)
        except StorageError as error:
            denied = error
    path = (target.get("path") or "").strip("/")
    headers = {entry["name"]: entry.get("value", "") for entry in target.get("uploadHeaders", ())}
    wild = has_wildcard(pattern)
    found = []
    for file, below in files:
        joined = "/".join(filter(None, (path, below)))
        name = joined if wild else path or file.rpartition("/")[2]
        found.append(_Upload(file, name, container, headers, output["filePattern"], denied))
    return found


_NO_BLOB_NAME = re.compile(r"[\x00-\x1f\x7f\ufffe\uffff]")
"""Characters that a blob name cannot contain ("Naming and Referencing Containers, Blobs, and
Metadata"). Azurite stores a blob with these characters, and then answers every listing of the
container with 500.
"""
_LONGEST = 1024


async def _try_upload(
    upload: _Upload, storage: BlobClient, access: Access
) -> StorageError | OSError | UnicodeEncodeError | None:
    """Upload a file; return the error of a failure."""
    try:
        await _upload(upload, storage, access)
    except (StorageError, OSError, UnicodeEncodeError) as error:
        return error
    return None


async def _upload(upload: _Upload, storage: BlobClient, access: Access) -> None:
    if _NO_BLOB_NAME.search(upload.blob) or len(upload.blob) > _LONGEST:
        raise StorageError(400, "InvalidUri")
    if upload.denied is not None:
        raise upload.denied
    url = blob_url(upload.container, upload.blob)
    if upload.content is not None:
        await storage.upload_bytes(upload.content, url, upload.headers)
        return
    reading = asyncio.ensure_future(asyncio.to_thread(_read, upload.file, access))
    try:
        content = await asyncio.shield(reading)
    except asyncio.CancelledError:
        reading.add_done_callback(_close)
        raise
    if isinstance(content, bytes):
        await storage.upload_bytes(content, url, upload.headers)
        return
    try:
        await storage.upload(content, url, upload.headers)
    finally:
        os.close(content)


def _read(path: str, access: Access) -> bytes | int:
    """The content of a file, or the descriptor of a large file."""
    with access():
        source = os.open(path, _FLAGS)
    keep = False
    try:
        size = os.fstat(source).st_size
        keep = size > MAX_SINGLE_UPLOAD
        return source if keep else os.pread(source, size, 0)
    finally:
        if not keep:
            os.close(source)


def _with_content(upload: _Upload) -> _Upload:
    """The upload with the content of a small file; a read in another thread takes longer."""
    try:
        source = os.open(upload.file, _FLAGS)
        try:
            size = os.fstat(source).st_size
            return replace(upload, content=os.pread(source, size, 0)) if size <= _SMALL else upload
        finally:
            os.close(source)
    except OSError:
        return upload  # the upload reads the file again and reports the error


def _close(reading: asyncio.Future[bytes | int]) -> None:
    """Close the file of a cancelled upload."""
    if not reading.cancelled() and reading.exception() is None:
        content = reading.result()
        if isinstance(content, int):
            os.close(content)


def _failure(upload: _Upload, error: StorageError | OSError | UnicodeEncodeError) -> Failure:
    code = "FileUploadMiscError"
    if isinstance(error, StorageError):
        if error.status in {401, 403}:
            code = "FileUploadAccessDenied"
        elif error.status == 404:
            code = "FileUploadContainerNotFound"
    return failure(
        code,
        FilePath=str(upload.file),
        FilePattern=upload.pattern,
        FileDestination=without_query(upload.container),
    )


_WILD = re.compile(r"[*?\[]")


def has_wildcard(pattern: str) -> bool:
    """Whether ``pattern`` can match more than one file."""
    return _WILD.search(pattern) is not None


def find_files(pattern: str, base: Path) -> Iterator[tuple[str, str]]:
    """The files that match ``pattern``, sorted, each with its path below the pattern's fixed part.

    A relative pattern starts at ``base``. A pattern may contain ``..`` (``../std*.txt``) and may be
    absolute. The fixed part consists of the components before the first wildcard: ``out/**/*.txt``
    finds ``base/out/a/b.txt`` as ``a/b.txt``.
    """
    parts = [part for part in pattern.split("/") if part not in {"", "."}]
    root = Path("/") if pattern.startswith("/") else base
    while len(parts) > 1 and not has_wildcard(parts[0]):
        root = root / parts.pop(0)
    if not parts:
        return
    if not has_wildcard(parts[0]):
        if (root / parts[0]).is_file():
            yield str(root / parts[0]), parts[0]
        return
    # ``**`` at the end matches every file below.
    pattern_parts = _without_repetitions([*parts, "*"] if parts[-1] == "**" else parts)
    for found in sorted(set(_matches(root, pattern_parts, set()))):
        yield str(root / found), found


_Search: TypeAlias = Callable[[str, Path], Iterable[tuple[str, str]]]
"""Returns the files that match a pattern, as :func:`find_files`."""


class _NeedsThreadError(Exception):
    """A file of the task directory is a link, which can lead to another file system, or the
    directory cannot be listed.
    """


def _name_in_task_directory(pattern: str) -> str | None:
    """``NAME`` for a pattern ``../NAME``, which matches only files of the task directory itself."""
    match [part for part in pattern.split("/") if part not in {"", "."}]:
        case ["..", name] if not pattern.startswith("/") and name not in {"..", "**"}:
            return name
    return None


def find_in_task_directory(pattern: str, base: Path) -> Iterator[tuple[str, str]]:
    """As :func:`find_files`, for a pattern with a :func:`_name_in_task_directory`.

    Raises:
        _NeedsThreadError: a file is a link, or the directory cannot be listed.
    """
    name = _name_in_task_directory(pattern) or ""
    matches = compile_pattern(name).fullmatch if has_wildcard(name) else name.__eq__
    try:
        with os.scandir(base.parent) as entries:
            found = [entry for entry in entries if matches(entry.name)]
    except OSError:
        raise _NeedsThreadError from None
    for entry in sorted(found, key=attrgetter("name")):
        if entry.is_symlink():
            raise _NeedsThreadError
        if entry.is_file(follow_symlinks=False):
            yield entry.path, entry.name


def _without_repetitions(parts: list[str]) -> tuple[str, ...]:
    """The parts, with ``**/**`` as ``**``."""
    before = [None, *parts]
    return tuple(
        part for part, last in zip(parts, before, strict=False) if (part, last) != ("**", "**")
    )


def _matches(
    root: Path, parts: tuple[str, ...], seen: set[tuple[str, int]], below: str = ""
) -> Iterator[str]:
    """The files below ``root`` that match.

    With ``**``, several ways can lead to one directory. ``seen`` contains the directories and
    lengths of ``parts`` that were matched before, so that the time is proportional to their
    product instead of the number of ways.
    """
    if (below, len(parts)) in seen:
        return
    seen.add((below, len(parts)))
    first, rest = parts[0], parts[1:]
    try:
        entries = list(os.scandir(root))
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return
    if first == "**":
        yield from _matches(root, rest, seen, below)
        for entry in entries:
            if entry.is_dir(follow_symlinks=False) and not entry.name.startswith("."):
                yield from _matches(Path(entry), parts, seen, f"{below}{entry.name}/")
        return
    matches = compile_pattern(first)
    for entry in entries:
        if matches.fullmatch(entry.name):
            if rest and entry.is_dir(follow_symlinks=False):
                yield from _matches(Path(entry), rest, seen, f"{below}{entry.name}/")
            elif not rest and entry.is_file():
                yield below + entry.name


@lru_cache
def compile_pattern(pattern: str) -> re.Pattern[str]:
    """The regular expression of a pattern for one name.

    ``fnmatch`` translates ``*`` without backtracking: the time of a match is proportional to the
    product of the lengths, so that no pattern of a user blocks the service.
    """
    hidden = "" if pattern.startswith(".") else r"(?!\.)"
    return re.compile(hidden + fnmatch.translate(pattern))
