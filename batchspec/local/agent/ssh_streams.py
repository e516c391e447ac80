"""The input and output of a session on a node: pipes, or a terminal.

The program opens them by their paths (see :mod:`host`); the service has the other ends.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import struct
import tempfile
import termios
from collections.abc import Callable
from contextlib import ExitStack
from io import FileIO
from pathlib import Path
from typing import Self

_SIZE = 1 << 16
_CONTROL_D = b"\x04"


class Streams:
    """The service's ends. Use it as a context, which closes everything.

    ``paths`` are the files of standard input, output and error of the program. A ``terminal``
    replaces them.
    """

    paths: tuple[Path, Path, Path] = (Path(os.devnull),) * 3
    terminal: Path | None = None

    def __init__(self) -> None:
        self._opened = ExitStack()
        self._input: FileIO
        self._outputs: tuple[FileIO, ...] = ()
        self._program_ends: tuple[FileIO, ...] = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def resize(self, width: int, height: int, pixel_width: int, pixel_height: int) -> None:
        """Set the size of the terminal in characters and in pixels; pipes have none."""

    async def end_input(self) -> None:
        """Pass the end of the input to the program."""
        self._input.close()

    def program_ended(self) -> None:
        """The program has ended: :meth:`read` returns what is left, then nothing."""
        for file in self._program_ends:
            file.close()

    async def write(self, data: bytes) -> None:
        """Pass ``data`` to the program; waits until it has read enough.

        Raises:
            OSError: it reads no more.
        """
        rest, loop = memoryview(data), asyncio.get_running_loop()
        while rest:
            # A file that is not blocking returns None instead of raising BlockingIOError.
            written = self._input.write(rest)
            if written is None:
                await _ready(self._input, loop.add_writer, loop.remove_writer)
            rest = rest[written or 0 :]

    async def read(self, number: int) -> bytes:
        """The next bytes of standard output (0) or error (1); empty at the end."""
        if number >= len(self._outputs):
            return b""
        file, loop = self._outputs[number], asyncio.get_running_loop()
        while True:
            try:
                data = file.read(_SIZE)
            except OSError:  # EIO: no process has the terminal open
                return b""
            if data is not None:
                return data
            await _ready(file, loop.add_reader, loop.remove_reader)

    def _open(self, file: FileIO) -> FileIO:
        self._opened.callback(file.close)
        os.set_blocking(file.fileno(), False)
        return file


async def _ready(
    file: FileIO, add: Callable[..., None], remove: Callable[[FileIO], object]
) -> None:
    ready = asyncio.Event()
    add(file, ready.set)
    try:
        await ready.wait()
    finally:
        remove(file)


class Pipes(Streams):
    """Named pipes in a new directory in ``folder``, for binary data."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory = Path(self._opened.enter_context(tempfile.TemporaryDirectory(dir=folder)))
        self.paths = (directory / "in", directory / "out", directory / "err")
        # Both ends are open here while the program runs: a pipe without a writer is at its end, and
        # without a reader writing fails.
        (taken, self._input), *outputs = map(self._make, self.paths)
        self._outputs = tuple(reader for reader, _ in outputs)
        self._program_ends = (taken, *(writer for _, writer in outputs))

    def _make(self, path: Path) -> tuple[FileIO, FileIO]:
        os.mkfifo(path, 0o600)
        reader = self._open(FileIO(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb"))
        return reader, self._open(FileIO(os.open(path, os.O_WRONLY | os.O_NONBLOCK), "wb"))


class Terminal(Streams):
    """A pseudo-terminal, for interactive programs."""

    def __init__(self) -> None:
        super().__init__()
        ours, theirs = (FileIO(descriptor, "r+b") for descriptor in os.openpty())
        self.terminal = Path(os.ttyname(theirs.fileno()))
        self._input = self._open(ours)
        self._outputs = (ours,)
        self._program_ends = (self._open(theirs),)

    def resize(self, width: int, height: int, pixel_width: int, pixel_height: int) -> None:
        """Set the size of the terminal."""
        size = struct.pack("4H", height, width, pixel_width, pixel_height)
        fcntl.ioctl(self._input, termios.TIOCSWINSZ, size)

    async def end_input(self) -> None:
        """Type control-D."""
        await self.write(_CONTROL_D)
