"""A terminal for tests of the live view: pyte, with the alternate screen that it lacks."""

from __future__ import annotations

import io
from typing import Any

import pyte

_ALTERNATE = 1049
_SYNCHRONIZED = 2026


class _Screen(pyte.HistoryScreen):
    """A screen with scrollback; ``modes`` are the private modes that were set, in order."""

    def __init__(self, columns: int, lines: int) -> None:
        super().__init__(columns, lines, history=100_000, ratio=0.5)
        self.primary: Any = None
        self.modes: list[tuple[int, bool]] = []

    def set_mode(self, *modes: int, **given: Any) -> None:
        super().set_mode(*modes, **given)
        self.modes += [(mode, True) for mode in modes if given.get("private")]
        if given.get("private") and _ALTERNATE in modes and self.primary is None:
            cursor = self.cursor.x, self.cursor.y
            self.primary = [dict(self.buffer[row]) for row in range(self.lines)], cursor
            self.erase_in_display(2)

    def reset_mode(self, *modes: int, **given: Any) -> None:
        super().reset_mode(*modes, **given)
        self.modes += [(mode, False) for mode in modes if given.get("private")]
        if given.get("private") and _ALTERNATE in modes and self.primary is not None:
            rows, (column, line) = self.primary
            self.primary = None
            self.erase_in_display(2)
            for number, row in enumerate(rows[: self.lines]):
                self.buffer[number].update(row)
            self.cursor_position(min(line, self.lines - 1) + 1, column + 1)


class Terminal(io.StringIO):
    """Shows what is written to it."""

    def __init__(self, columns: int, rows: int) -> None:
        super().__init__()
        self.emulator = _Screen(columns, rows)
        self.emulator.set_mode(pyte.modes.LNM)
        self._stream = pyte.Stream(self.emulator)
        self.written = ""

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.written += text
        self._stream.feed(text)
        return len(text)

    def resize(self, columns: int, rows: int) -> None:
        """Change the size; lines that no longer fit are cut."""
        self.emulator.resize(rows, columns)

    @property
    def alternate(self) -> bool:
        """Whether the alternate screen is shown."""
        return self.emulator.primary is not None

    @property
    def synchronized(self) -> bool:
        """Whether a frame is incomplete."""
        sent = [on for mode, on in self.emulator.modes if mode in {_SYNCHRONIZED, 2026 << 5}]
        return bool(sent) and sent[-1]

    @property
    def cursor_shown(self) -> bool:
        return not self.emulator.cursor.hidden

    @property
    def visible(self) -> list[str]:
        """The lines on the screen, without blanks at their ends."""
        return [line.rstrip() for line in self.emulator.display]

    @property
    def scrollback(self) -> list[str]:
        """The lines that were scrolled off."""
        rows = self.emulator.history.top
        width = self.emulator.columns
        return ["".join(row[at].data for at in range(width)).rstrip() for row in rows]

    @property
    def screen(self) -> str:
        """The scrollback and the screen, without blanks at the ends."""
        return "\n".join([*self.scrollback, *self.visible]).rstrip("\n") + "\n"
