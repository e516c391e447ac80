"""A terminal for tests of the live view: the text on the screen."""

from __future__ import annotations

import io
import re

_CODE = re.compile(r"\x1b\[(\?)?(\d*)(?:;\d+)*([A-Za-z])")


class Terminal(io.StringIO):
    """Keeps written lines, also those scrolled off; wraps at ``columns``."""

    def __init__(self, columns: int, rows: int) -> None:
        super().__init__()
        self.columns, self.rows = columns, rows
        self.lines: list[str] = [""]
        self.row = self.column = 0
        self.cursor_shown = True
        self.wrapped = False

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        position = 0
        while position < len(text):
            code = _CODE.match(text, position)
            if code:
                self._obey(code)
                position = code.end()
                continue
            assert text[position] != "\x1b", f"unknown sequence {text[position : position + 9]!r}"
            self._put(text[position])
            position += 1
        return len(text)

    @property
    def screen(self) -> str:
        """All lines that were written and not erased, without blanks at their ends."""
        return "\n".join(line.rstrip() for line in self.lines).rstrip("\n") + "\n"

    @property
    def visible(self) -> list[str]:
        """The lines on the screen."""
        return [line.rstrip() for line in self.lines[-self.rows :]]

    def _obey(self, code: re.Match[str]) -> None:
        private, number, letter = code.groups()
        count = int(number or 1)
        match letter:
            case "A":
                top = max(len(self.lines) - self.rows, 0)
                self.row = max(self.row - count, top)
            case "K":
                assert number == "2"
                self.lines[self.row] = ""
            case "h" | "l" if private and number == "25":
                self.cursor_shown = letter == "h"
            case "m":
                pass
            case _:
                raise AssertionError(f"unknown sequence {code.group()!r}")

    def _put(self, character: str) -> None:
        match character:
            case "\n":
                self.row, self.column = self.row + 1, 0
                while self.row >= len(self.lines):
                    self.lines.append("")
            case "\r":
                self.column = 0
            case _:
                if self.column == self.columns:
                    self.wrapped = True
                    self._put("\n")
                line = self.lines[self.row].ljust(self.column)
                self.lines[self.row] = line[: self.column] + character + line[self.column + 1 :]
                self.column += 1
