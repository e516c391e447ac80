"""The alternate screen of a terminal, drawn as differences between frames.

The alternate screen has no scrollback and is not reflowed, so a resize leaves no fragments. The
earlier content of the terminal returns afterwards. A frame is written in one call, between the two
sequences of a synchronized update (DEC private mode 2026); a terminal without that mode ignores
them. The amount of output is bounded, for slow connections: see :class:`Screen`.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TextIO

from batchspec.render.output import wrap

FRAMES_PER_SECOND = 4
"""Frames a second at most."""
BYTES_PER_SECOND = 8192
"""Bytes a second on average; a single frame may be larger, and delays the next one."""

_ENTER = "\x1b[?1049h\x1b[?25l\x1b[H\x1b[2J"
# A terminal without an alternate screen (the console of Linux) is cleared.
_LEAVE = "\x1b[H\x1b[2J\x1b[?1049l\x1b[?25h"
_BEGIN, _END = "\x1b[?2026h", "\x1b[?2026l"
_INDENT = 9
"""Columns before the rest of a line of a page that does not fit."""
_REPAINT = 30.0
"""Seconds after which all lines are written again, because other programs may have written to the
terminal."""


@dataclass(slots=True)
class Screen:
    """Draws frames on a terminal.

    In ``t`` seconds it writes at most ``BYTES_PER_SECOND * t`` bytes plus one frame, and at most
    ``FRAMES_PER_SECOND * t + 1`` frames. ``monotonic`` is in seconds.
    """

    stream: TextIO
    monotonic: Callable[[], float]
    entered: bool = False
    _lines: list[str] = field(default_factory=list)
    _size: tuple[int, int] = (0, 0)
    _next: float = float("-inf")
    _painted: float = float("-inf")

    @property
    def due(self) -> bool:
        """Whether a frame may be written now."""
        return self.monotonic() >= self._next

    def draw(self, lines: Sequence[str], size: tuple[int, int]) -> None:
        """Show a frame on a terminal of ``size`` (columns, lines), if a frame is due.

        No line is wider than the terminal; lines below its last one are not written.
        """
        now = self.monotonic()
        if now < self._next:
            return
        shown = list(lines[: size[1]])
        whole = not self.entered or size != self._size or now - self._painted >= _REPAINT
        text = self._whole(shown) if whole else self._difference(shown)
        if not text:
            return
        if whole:
            self._painted = now
        head = "" if self.entered else _ENTER
        self.entered, self._lines, self._size = True, shown, size
        # The cursor is at the beginning, where echoed input does not scroll the screen.
        text = f"{head}{_BEGIN}{text}\x1b[H{_END}"
        self._next = now + max(1 / FRAMES_PER_SECOND, len(text.encode()) / BYTES_PER_SECOND)
        self._write(text)

    def leave(self) -> None:
        """Return to what was on the terminal before."""
        if self.entered:
            self.entered = False
            self._write(_LEAVE)

    @staticmethod
    def _whole(lines: Sequence[str]) -> str:
        return "\x1b[H\x1b[2J" + "".join(
            _at(row, line) for row, line in enumerate(lines, 1) if line
        )

    def _difference(self, lines: Sequence[str]) -> str:
        """The lines that changed. Each is erased first: a full one leaves the cursor on its end."""
        before = self._lines + [""] * (len(lines) - len(self._lines))
        after = [*lines, *[""] * (len(before) - len(lines))]
        pairs = enumerate(zip(before, after, strict=True), 1)
        return "".join(_at(row, f"\x1b[2K{new}") for row, (old, new) in pairs if new != old)

    def _write(self, text: str) -> None:
        self.stream.write(text)
        self.stream.flush()


def _at(row: int, line: str) -> str:
    return f"\x1b[{row}H{line}"


@dataclass(slots=True)
class Page:
    """A text that is shown repeatedly on the screen of a terminal, wrapped to its width."""

    stream: TextIO
    monotonic: Callable[[], float] = time.monotonic
    size: Callable[[], tuple[int, int]] = shutil.get_terminal_size
    _screen: Screen = field(init=False)

    def __post_init__(self) -> None:
        self._screen = Screen(self.stream, self.monotonic)

    def show(self, text: str) -> None:
        """Show a text without escape sequences, unless another one was shown just before."""
        width, height = self.size()
        lines = [
            part
            for line in text.splitlines()
            for part in wrap(line, width, rest=" " * _INDENT) or [""]
        ]
        self._screen.draw(lines, (width, height))

    def close(self) -> None:
        """Return to what was on the terminal before."""
        self._screen.leave()
