"""Streams made of streams: lazy, and good for any number of passes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from batchspec.plan.observed import Blob, LocalFile, Stream

T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True, slots=True)
class Taken(Generic[T, U]):
    """What a function takes of the members of a stream, ``None`` being nothing.

    ``length`` is how many, counted beforehand.
    """

    source: Stream[T]
    take: Callable[[T], U | None]
    length: int

    def __iter__(self) -> Iterator[U]:
        return (taken for member in self.source if (taken := self.take(member)) is not None)

    def __len__(self) -> int:
        return self.length


@dataclass(frozen=True, slots=True)
class Mapped(Generic[T, U]):
    """What a function makes of each member of a stream."""

    source: Stream[T]
    make: Callable[[T], U]

    def __iter__(self) -> Iterator[U]:
        return map(self.make, self.source)

    def __len__(self) -> int:
        return len(self.source)


@dataclass(frozen=True, slots=True)
class Compared:
    """The files of a container that are not there yet as they are here, in order of their names.

    A merge of two streams in the same order: neither is held.
    """

    files: Stream[LocalFile]
    blobs: Stream[Blob]
    wanted: Callable[[LocalFile], bool]
    length: int = 0

    def __iter__(self) -> Iterator[LocalFile]:
        for file, blob in pair(self.files, self.blobs):
            if not same(file, blob) and self.wanted(file):
                yield file

    def __len__(self) -> int:
        return self.length


def pair(files: Stream[LocalFile], blobs: Stream[Blob]) -> Iterator[tuple[LocalFile, Blob | None]]:
    """Each file with the blob of its name, or ``None``; both streams are in order of their names.

    The service may list in another order than ours; where a listing is not in order, the names
    behind are taken as they come, which costs an upload and loses nothing.
    """
    there = iter(blobs)
    blob = next(there, None)
    for file in files:
        while blob is not None and blob.name < file.blob:
            blob = next(there, None)
        yield file, blob if blob is not None and blob.name == file.blob else None


def same(file: LocalFile, blob: Blob | None) -> bool:
    """Whether a blob already is what the file would make it: same size, same MD5."""
    return blob is not None and blob.size == file.size and blob.md5 == file.md5
