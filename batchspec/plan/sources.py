"""The files that a run reads from this disk; results must not replace them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from batchspec.plan.observed import LocalFile, Observed, Stream
from batchspec.spec import Rows, Spec

PROTECTED = frozenset({".git", ".batchspec"})
"""Folders in which no result is written: a file there could run a program, or forge a receipt."""


@dataclass(frozen=True, slots=True)
class SourceFiles:
    """The spec, its files of rows, and the files that it uploads: a stream of paths."""

    named: tuple[Path, ...]
    uploads: tuple[Stream[LocalFile], ...]

    def __iter__(self) -> Iterator[Path]:
        yield from self.named
        for files in self.uploads:
            for file in files:
                yield file.path

    def __len__(self) -> int:
        return len(self.named) + sum(map(len, self.uploads))


def source_files(spec: Spec, observed: Observed) -> SourceFiles:
    """The files of a spec on this disk."""
    rows = (stage.for_each.path for stage in spec.stages if isinstance(stage.for_each, Rows))
    uploads = (observed.containers[key].files for key in spec.containers)
    return SourceFiles((spec.path, *rows), tuple(uploads))
