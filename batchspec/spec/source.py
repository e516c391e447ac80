"""Reads a file as text, and converts offsets to positions for messages.

Lines that contain a key or a signature are stored redacted.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from batchspec.diagnostics import Diagnostic, Place, SpecError, redact

LARGEST = 1024 * 1024
"""The maximum size of a spec in bytes; larger data belongs in a file of rows."""

_CONTROL = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]|\ufeff")
_BREAK = re.compile("\r\n|\n|\r")
_WIDE = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}

_START = "Check the path, or create a spec with `batchspec init`."


@dataclass(frozen=True, slots=True)
class Source:
    """The text of ``file`` (the path as the user wrote it).

    ``starts`` are the offsets of its lines; ``lines`` are the lines without their ends, redacted.
    """

    file: str
    text: str
    starts: tuple[int, ...] = field(repr=False)
    lines: tuple[str, ...] = field(repr=False)

    def line(self, number: int) -> str:
        """A line by its number (from 1), redacted."""
        return self.lines[number - 1] if 1 <= number <= len(self.lines) else ""

    def place(self, line: int, column: int, length: int = 1) -> Place:
        """A position by line and column, both from 1."""
        return Place(self.file, line, column, self.line(line), max(1, length))

    def at(self, offset: int, length: int = 1) -> Place:
        """A position by its offset in characters."""
        line = bisect_right(self.starts, offset)
        return self.place(line, offset - self.starts[line - 1] + 1, length)


def source(text: str, file: str) -> Source:
    """A source for a string."""
    starts = (0, *(match.end() for match in _BREAK.finditer(text)))
    lines = tuple(redact(line) for line in _BREAK.split(text))
    return Source(file, text, starts, lines)


def read_source(path: Path, missing: str = _START) -> Source:
    """Read a file of the user; ``missing`` is the fix if it does not exist.

    Raises:
        SpecError: the file is missing, a folder, not readable, larger than :data:`LARGEST`, not
            UTF-8, or contains characters that YAML does not allow.
    """
    file = str(path)
    data = _bytes(path, file, missing)
    for mark, encoding in _WIDE.items():
        if data.startswith(mark):
            _refuse(
                "not-utf8",
                f"{file} is {encoding} text",
                "Save the file as UTF-8.",
                Place(file, 1, 1),
            )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = source(data[: error.start].decode("utf-8-sig"), file)
        place = before.at(len(before.text))
        _refuse(
            "not-utf8",
            f"byte 0x{data[error.start]:02x} is not UTF-8 text",
            "Save the file as UTF-8.",
            place,
        )
    found = source(text, file)
    if control := _CONTROL.search(text):
        code = ord(control.group())
        _refuse(
            "control-character",
            f"the character U+{code:04X} is not allowed in YAML",
            "Remove it, or write it as an escape in a double-quoted string.",
            found.at(control.start()),
        )
    return found


def _bytes(path: Path, file: str, missing: str) -> bytes:
    try:
        with path.open("rb") as stream:
            data = stream.read(LARGEST + 1)
    except FileNotFoundError:
        _refuse("no-file", f"the file {file} does not exist", missing)
    except IsADirectoryError:
        _refuse("not-a-file", f"{file} is a folder", "Give the path of the spec file in it.")
    except PermissionError:
        _refuse("no-permission", f"no permission to read {file}", f"Run `chmod u+r {file}`.")
    except OSError as error:
        _refuse("not-readable", f"{file} cannot be read: {error.strerror or error}", "")
    except ValueError:
        _refuse("no-file", f"{file!r} is not a valid path", "")
    if len(data) > LARGEST:
        _refuse(
            "too-large",
            f"{file} is larger than {LARGEST // 1024:,} KiB",
            "Move data to a .csv or .jsonl file, and use `for_each: {rows: FILE}`.",
        )
    return data


def _refuse(code: str, summary: str, fix: str, where: Place | None = None) -> NoReturn:
    raise SpecError(Diagnostic(code, summary, fix=fix, where=where))
