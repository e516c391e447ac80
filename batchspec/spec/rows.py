"""Reads files of rows (CSV, TSV and JSON Lines) one row at a time, and JSON values.

The first line of a CSV or TSV file names the columns, and every value is a string. Each line of a
JSON Lines file is an object whose values keep their types. Empty lines are skipped. Errors are
reported with their line.
"""

from __future__ import annotations

import codecs
import csv
import hashlib
import io
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from json.encoder import encode_basestring_ascii
from os import stat_result
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from batchspec.diagnostics import Diagnostic, Place, SpecError, counted, redact
from batchspec.spec.values import Record, Text, Value, freeze, thaw
from batchspec.spec.yaml_parser import DEEPEST, open_file

_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_JSON = (".jsonl", ".ndjson")
_WIDE = ((codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_SHOWN = 200
"""The maximum number of characters of a line in a message."""
LONGEST_LINE = 1_000_000
"""The maximum number of bytes of a line; a task is one request of at most 1 MB."""


def read_rows(path: Path, where: Place | None = None) -> RowFile:
    """Open a file of rows; ``where`` is the position in the spec that names it.

    Raises:
        SpecError: the file does not exist, is not readable, or has an unknown extension.
    """
    ending = path.suffix.lower()
    if ending not in (*_DELIMITERS, *_JSON):
        known = ", ".join((*_DELIMITERS, *_JSON))
        _refuse(
            "rows-format", f"the format of {path.name} is not supported", where, f"Use {known}."
        )
    try:
        with open_file(path):
            return RowFile(path, _DELIMITERS.get(ending), where, _stamp(path.stat()))
    except FileNotFoundError:
        fix = "Check the path; relative paths start at the folder of the spec."
        _refuse("missing-file", f"the file {path} does not exist", where, fix)
    except OSError as error:
        _refuse("unreadable-file", f"{path} cannot be read: {error.strerror}", where)
    except ValueError:
        _refuse("missing-file", f"{str(path)!r} is not a valid path", where)


def columns(path: Path) -> tuple[str, ...] | None:
    """The column names; ``None`` for a file without a header, or if it cannot be read."""
    try:
        return read_rows(path).columns()
    except SpecError:
        return None


@dataclass(slots=True)
class RowFile:
    """The rows of a file. They can be iterated repeatedly; the first pass counts and hashes them.

    ``delimiter`` is ``None`` for JSON Lines. Iteration raises
    :class:`~batchspec.diagnostics.SpecError` at the first invalid row, and if the file has changed
    since it was first opened.
    """

    path: Path
    delimiter: str | None
    where: Place | None
    stamp: tuple[int, int]
    _count: int | None = field(default=None, compare=False, repr=False)
    _digest: str = field(default="", compare=False, repr=False)

    def __iter__(self) -> Iterator[Record]:
        with self._open() as file:
            lines = _Lines(file, self.path)
            if self._digest:
                yield from (row for row, _ in self._rows(lines))
                return
            count, hasher = 0, hashlib.sha256()
            for row, text in self._rows(lines):
                count += 1
                hasher.update(text_digest(text).encode())
                yield row
        self._count, self._digest = count, hasher.hexdigest()

    def __len__(self) -> int:
        if self._count is None:
            self._count = sum(1 for _ in self)
        return self._count

    @property
    def digest(self) -> str:
        """SHA-256, in hexadecimal, of the digests (:func:`text_digest`) of all rows in order."""
        if not self._digest:
            self._count = sum(1 for _ in self)
        return self._digest

    def columns(self) -> tuple[str, ...] | None:
        """The column names; ``None`` for JSON Lines, where each row has its own names."""
        if self.delimiter is None:
            return None
        with self._open() as file:
            lines = _Lines(file, self.path)
            return _header(_Cells(lines, self.delimiter), lines)

    def _rows(self, lines: _Lines) -> Iterator[tuple[Record, str]]:
        """Each row, and its canonical JSON."""
        return _json_rows(lines) if self.delimiter is None else _rows(lines, self.delimiter)

    def _open(self) -> BinaryIO:
        try:
            file = open_file(self.path)
        except OSError as error:
            _refuse("unreadable-file", f"{self.path} cannot be read: {error.strerror}", self.where)
        if _stamp(self.path.stat()) != self.stamp:
            file.close()
            _refuse(
                "changed-file",
                f"{self.path} changed while it was being read",
                self.where,
                "Run the command again.",
            )
        return file


def _stamp(facts: stat_result) -> tuple[int, int]:
    return facts.st_size, facts.st_mtime_ns


class _Lines:
    """The lines of a file with their ends; ``number`` is the number of the last line read."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self.path = path
        self.number = 0
        self.text = ""
        start = file.read(2)
        file.seek(0)
        wide = next((encoding for mark, encoding in _WIDE if start == mark), None)
        # Keep line breaks unchanged: a quoted value can contain them.
        text = io.TextIOWrapper(file, wide, newline="") if wide else None
        self._read: Callable[[int], str | bytes] = (text or file).readline

    def __iter__(self) -> Iterator[str]:
        while True:
            try:
                line = self._read(LONGEST_LINE + 1)
            except UnicodeError:
                self.refuse(
                    "rows-encoding", "the file is not valid UTF-16 text", "Save the file as UTF-8."
                )
            if not line:
                return
            self.number += 1
            if len(line) > LONGEST_LINE:
                self.text = ""
                self.refuse(
                    "rows-syntax",
                    f"the line has more than {LONGEST_LINE:,} bytes",
                    "Write each row on a line, and move long values to files.",
                )
            self.text = line if isinstance(line, str) else self._decoded(line)
            yield self.text

    def _decoded(self, line: bytes) -> str:
        try:
            return line.decode("utf-8-sig" if self.number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            self.text = line.decode("utf-8", "replace")
            column = len(line[: error.start].decode("utf-8")) + 1
            self.refuse(
                "rows-encoding",
                f"byte 0x{line[error.start]:02x} is not UTF-8 text",
                "Save the file as UTF-8.",
                column=column,
            )

    def refuse(
        self, code: str, summary: str, fix: str = "", *, line: int | None = None, column: int = 1
    ) -> NoReturn:
        """Raise a problem in the last line read, or in an earlier one."""
        here = line is None or line == self.number
        text = redact(self.text.rstrip("\r\n")[:_SHOWN]) if here else ""
        _refuse(code, summary, Place(str(self.path), line or self.number, column, text), fix)


class _Cells:
    """The rows of a delimited file, each with the number of its first line."""

    def __init__(self, lines: _Lines, delimiter: str) -> None:
        self._lines = lines
        self._reader = csv.reader(lines, delimiter=delimiter, strict=True)

    def __iter__(self) -> Iterator[tuple[int, list[str]]]:
        while True:
            begins = self._lines.number + 1
            try:
                cells = next(self._reader)
            except StopIteration:
                return
            except csv.Error as error:
                self._lines.refuse(
                    "rows-syntax",
                    f"the row that starts here is not valid: {error}",
                    'Write a quote in a quoted value twice: `"a ""b"" c"`.',
                    line=begins,
                )
            if cells:
                yield begins, cells


def _header(cells: _Cells, lines: _Lines) -> tuple[str, ...]:
    line, names = next(iter(cells), (1, []))
    if not names:
        lines.refuse(
            "rows-header", "the file is empty", "Write the column names in line 1.", line=1
        )
    names = [name.strip() for name in names]
    for number, name in enumerate(names, 1):
        if not name:
            lines.refuse("rows-header", f"column {number} has no name", line=line)
        if name in names[: number - 1]:
            lines.refuse("rows-header", f"two columns are named {name!r}", line=line)
    if len(names) == 1 and (other := next((d for d in ";\t|," if d in names[0]), None)):
        fix = "Separate columns with commas in a .csv file and with tabs in a .tsv file."
        lines.refuse("rows-header", f"the columns are separated by {other!r}", fix, line=line)
    return tuple(names)


_DIGITS = 16
"""Hexadecimal digits of a digest: 64 bits."""
_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


def canonical_json(value: Value) -> str:
    """JSON that is the same for equal values; deferred texts count by their content."""
    return _canonical(thaw(value, Text.identity))


def text_digest(*texts: str) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of texts, each as one line."""
    return hashlib.sha256("\n".join((*texts, "")).encode()).hexdigest()[:_DIGITS]


def _rows(lines: _Lines, delimiter: str) -> Iterator[tuple[Record, str]]:
    cells = _Cells(lines, delimiter)
    names = _header(cells, lines)
    width = len(names)
    # Canonical JSON with a place for each value: much faster than an encoder for each row.
    members = (f"{encode_basestring_ascii(name)}:".replace("%", "%%") for name in sorted(names))
    json_form = "{" + ",".join(f"{member}%s" for member in members) + "}"
    order = sorted(range(width), key=names.__getitem__)
    for line, values in cells:
        if len(values) != width:
            lines.refuse(
                "rows-width",
                f"the row has {counted(len(values), 'value')} for {counted(width, 'column')}",
                "Put a value that contains the separator in double quotes.",
                line=line,
            )
        quoted = [encode_basestring_ascii(values[column]) for column in order]
        yield Record(dict(zip(names, values, strict=True))), json_form % tuple(quoted)


def _json_rows(lines: _Lines) -> Iterator[tuple[Record, str]]:
    for line in lines:
        if not line.strip():
            continue
        try:
            row = read_json(line, _members)
        except json.JSONDecodeError as error:
            summary = f"the line is not valid JSON: {error.msg[:1].lower()}{error.msg[1:]}"
            fix = "Write one JSON object in each line: `{...}`."
            lines.refuse("rows-syntax", summary, fix, column=error.colno)
        except ValueError as error:
            lines.refuse("rows-syntax", str(error))
        if not isinstance(row, dict):
            fix = 'Write one JSON object in each line: `{"name": value}`.'
            lines.refuse("rows-syntax", "the line is not a JSON object", fix)
        frozen = freeze(row)
        assert isinstance(frozen, Record)
        yield frozen, canonical_json(frozen)


def _members(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"two members are named {twice!r}")
    return members


def _refuse(code: str, summary: str, where: Place | None, fix: str = "") -> NoReturn:
    raise SpecError(Diagnostic(code, summary, where=where, fix=fix))


def read_json(
    text: str, members: Callable[[list[tuple[str, object]]], dict[str, object]] = dict
) -> object:
    """The value of a JSON text, with the limits of specs; ``members`` creates an object from pairs.

    Raises:
        ValueError: not JSON, a number that is not finite, or more than :data:`DEEPEST` levels.
    """
    try:
        value = json.loads(
            text,
            object_pairs_hook=members,
            parse_constant=_no_constant,
            parse_float=_finite,
            parse_int=_integer,
        )
    except RecursionError:
        raise ValueError(_NESTED) from None
    if _is_too_deep(value):
        raise ValueError(_NESTED)
    return value


_TOO_LARGE = "the number is too large"
_NESTED = f"the value has more than {DEEPEST} levels of nesting"


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(_TOO_LARGE)
    return number


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        # Python's limit of the digits of an integer.
        raise ValueError(_TOO_LARGE) from None


def _is_too_deep(value: object) -> bool:
    layer: list[Any] = [value] if isinstance(value, dict | list) else []
    for _ in range(DEEPEST):
        layer = [
            item
            for parent in layer
            for item in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(item, dict | list)
        ]
        if not layer:
            return False
    return True
