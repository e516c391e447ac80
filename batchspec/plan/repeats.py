"""Keys that come twice, found among any number of them in bounded memory."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from hashlib import blake2b
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

_RECORD = struct.Struct("16sQ")
_BUCKETS = 64
_HELD = 100_000
"""How many keys are held before they go to disk: some 20 MB."""


def repeats(
    keys: Iterable[str], *, folder: Path | None = None, held: int = _HELD
) -> Iterator[tuple[int, int]]:
    """The positions of keys that were there before, each with the first position of its key.

    Up to ``held`` keys are compared in memory. More are put down by their digests in temporary
    files (in ``folder``, else where the system keeps them), so that equal ones meet in a part that
    fits; pairs then come in no order.
    """
    seen: dict[bytes, int] = {}
    numbered = enumerate(keys)
    for number, key in numbered:
        digest = _digest(key)
        first = seen.setdefault(digest, number)
        if first != number:
            yield first, number
        if len(seen) >= held:
            yield from _spilled(seen, ((_digest(key), n) for n, key in numbered), folder)
            return


def _digest(key: str) -> bytes:
    return blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _spilled(
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
            yield from _within(file)


def _within(file: IO[bytes]) -> Iterator[tuple[int, int]]:
    """The repeats of one file, whose records are in order of their numbers."""
    file.seek(0)
    first: dict[bytes, int] = {}
    while chunk := file.read(_RECORD.size * 4096):
        for digest, number in _RECORD.iter_unpack(chunk):
            earlier = first.setdefault(digest, number)
            if earlier != number:
                yield earlier, number
