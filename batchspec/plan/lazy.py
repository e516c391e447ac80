"""Lazy sequences that can be iterated any number of times, and duplicates in bounded memory."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from hashlib import blake2b
from itertools import islice, repeat
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Generic, TypeVar

from batchspec.frozen import frozen
from batchspec.plan.observed import Blob, LocalFile, Stream

T = TypeVar("T")
U = TypeVar("U")


@frozen
class FilterMapped(Generic[T, U]):
    """The results of a function for the members of a stream, without ``None``.

    ``length`` is their number, counted beforehand.
    """

    source: Stream[T]
    take: Callable[[T], U | None]
    length: int

    def __iter__(self) -> Iterator[U]:
        return (taken for member in self.source if (taken := self.take(member)) is not None)

    def __len__(self) -> int:
        return self.length


@frozen
class Mapped(Generic[T, U]):
    """The results of a function for each member of a stream."""

    source: Stream[T]
    make: Callable[[T], U]

    def __iter__(self) -> Iterator[U]:
        return map(self.make, self.source)

    def __len__(self) -> int:
        return len(self.source)


@frozen
class First(Generic[T]):
    """The first members of a stream, at most ``most``; other members are not created or counted."""

    source: Stream[T]
    most: int

    def __iter__(self) -> Iterator[T]:
        return islice(self.source, self.most)

    def __len__(self) -> int:
        return sum(1 for _ in self)


@frozen
class FilesToUpload:
    """The files of a container that are new or whose content changed, in order of their names.

    A merge of two streams in the same order; only the current members are in memory. ``wanted``
    returns whether a file is needed; ``None`` if all files are.
    """

    files: Stream[LocalFile]
    blobs: Stream[Blob]
    wanted: Callable[[LocalFile], bool] | None
    length: int = 0

    def __iter__(self) -> Iterator[LocalFile]:
        for file, blob in pair(self.files, self.blobs):
            if not same(file, blob) and (self.wanted is None or self.wanted(file)):
                yield file

    def __len__(self) -> int:
        return self.length


def pair(files: Stream[LocalFile], blobs: Stream[Blob]) -> Iterator[tuple[LocalFile, Blob | None]]:
    """Each file with the blob of its name, or ``None``; both streams are in order of their names.

    The service may list in another order; a blob that is out of order may be uploaded again, and
    nothing is lost.
    """
    there = iter(blobs)
    blob = next(there, None)
    rest = iter(files)
    for file in rest if blob is not None else ():
        while blob is not None and blob.name < file.blob:
            blob = next(there, None)
        yield file, blob if blob is not None and blob.name == file.blob else None
        if blob is None:
            break
    yield from zip(rest, repeat(None))


def same(file: LocalFile, blob: Blob | None) -> bool:
    """Whether a blob has the content of a file: the same size and MD5."""
    return blob is not None and blob.size == file.size and blob.md5 == file.md5


_GROUPS = 256


def are_distinct(numbers: Iterable[int]) -> bool:
    """Whether all numbers (of 64 bits) are different; reads all and stores eight bytes of each."""
    groups = [array("Q") for _ in range(_GROUPS)]
    for number in numbers:
        groups[number % _GROUPS].append(number)
    return all(len(set(group)) == len(group) for group in groups)


_RECORD = struct.Struct("16sQ")
_BUCKETS = 64
_IN_MEMORY = 100_000
"""The number of keys in memory before they are written to disk: about 20 MB."""


def duplicates(
    keys: Iterable[str], *, folder: Path | None = None, in_memory: int = _IN_MEMORY
) -> Iterator[tuple[int, int]]:
    """Pairs of positions of equal keys: the first position of a key, and a later one.

    Up to ``in_memory`` keys are compared in memory. If there are more, all keys are distributed
    over temporary files by their digests, in ``folder`` or that of the system. Each file is then
    compared in memory, and the pairs are in no order.
    """
    seen: dict[bytes, int] = {}
    numbered = enumerate(keys)
    for number, key in numbered:
        digest = _digest(key)
        first = seen.setdefault(digest, number)
        if first != number:
            yield first, number
        if len(seen) >= in_memory:
            yield from _on_disk(seen, ((_digest(key), n) for n, key in numbered), folder)
            return


def _digest(key: str) -> bytes:
    return blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _on_disk(
    seen: dict[bytes, int], more: Iterable[tuple[bytes, int]], folder: Path | None
) -> Iterator[tuple[int, int]]:
    with ExitStack() as stack:
        files = [stack.enter_context(TemporaryFile(dir=folder)) for _ in range(_BUCKETS)]
        for digest, number in seen.items():
            files[digest[0] % _BUCKETS].write(_RECORD.pack(digest, number))
        seen.clear()
        for digest, number in more:
            files[digest[0] % _BUCKETS].write(_RECORD.pack(digest, number))
        for file in files:
            yield from _duplicates_in(file)


def _duplicates_in(file: IO[bytes]) -> Iterator[tuple[int, int]]:
    """The repeats of one file, whose records are in order of their numbers."""
    file.seek(0)
    first: dict[bytes, int] = {}
    while chunk := file.read(_RECORD.size * 4096):
        for digest, number in _RECORD.iter_unpack(chunk):
            earlier = first.setdefault(digest, number)
            if earlier != number:
                yield earlier, number
