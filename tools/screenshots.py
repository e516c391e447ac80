"""Pictures of commands for the documentation: the content of a terminal, as SVG.

    python -m tools.screenshots [FOLDER]

Runs the tutorial on a separate embedded service, in a pseudo-terminal, and writes one SVG for each
command of :data:`PICTURES`, and one of the screen of a run (:data:`LIVE`).
"""

from __future__ import annotations

import argparse
import fcntl
import io
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
from itertools import groupby
from pathlib import Path

import pyte
from rich.console import Console
from rich.text import Text

from batchspec import local

ROOT = Path(__file__).parents[1]
WIDTH = 92
PICTURES = {
    "plan.svg": ("plan", "specs/topn.yaml"),
    "run.svg": ("apply", "specs/topn.yaml", "-y", "--progress", "plain"),
}

LIVE = "live.svg"
SIZE = WIDTH, 28
SWEEP = """\
version: 1
name: sweep
pool: {vm_size: standard_d2s_v5, nodes: 8, task_slots_per_node: 2, image: ubuntu-24.04}
job: {max_wall_clock_time: 30m}
tasks:
  simulate:
    for_each: {range: [0, 240]}
    command: >-
      sleep $(( {{ value }} % 7 == 5 ? 2 : 0 )).3;
      test $(( {{ value }} % 40 )) -ne 9 || { echo "no convergence after 500 steps" >&2; exit 3; }
  summarize:
    needs: [simulate]
    command: echo done
cleanup: {pool: never}
"""
"""The spec of the run whose screen is shown; its program is a shell command."""


def screen(words: tuple[str, ...], folder: Path, environ: dict[str, str]) -> Text:
    """A frame of the screen of a run, when some of its tasks have failed and a third has ended."""
    emulator = pyte.Screen(*SIZE)
    stream = pyte.Stream(emulator)
    best = Text()
    # Each frame ends a synchronized update.
    for frame in shown(words, folder, environ, accepted=(3,)).split("\x1b[?2026l"):
        stream.feed(frame)
        share = re.search(r"total .*?(\d+)%", "\n".join(emulator.display))
        if "failed  " in "\n".join(emulator.display) and share and 30 <= int(share[1]) <= 45:
            best = _text_of(emulator)
    return best


def _text_of(emulator: pyte.Screen) -> Text:
    """What the emulator shows, with its colours."""
    text = Text()
    for row in range(emulator.lines):
        cells = [emulator.buffer[row][column] for column in range(emulator.columns)]
        for style, same in groupby(cells, key=_style_of):
            text.append("".join(cell.data for cell in same), style)
        text.append("\n")
    text.rstrip()
    return text


def _style_of(cell: pyte.screens.Char) -> str:
    color = "" if cell.fg == "default" else cell.fg.replace("brown", "yellow")
    return f"{'bold ' if cell.bold else ''}{color}".strip()


def shown(
    words: tuple[str, ...], folder: Path, environ: dict[str, str], accepted: tuple[int, ...] = (0,)
) -> str:
    """The output of a command on a terminal, including escape sequences.

    Raises:
        CalledProcessError: the command failed.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", SIZE[1], SIZE[0], 0, 0))
    command = [sys.executable, "-m", "batchspec", *words]
    try:
        process = subprocess.Popen(
            command, cwd=folder, env=environ, stdin=theirs, stdout=theirs, stderr=theirs
        )
    finally:
        os.close(theirs)
    parts = []
    with os.fdopen(ours, "rb", buffering=0) as stream:
        while True:
            try:
                part = stream.read(65536)
            except OSError:  # Linux reports EIO when the other side is closed.
                break
            if not part:
                break
            parts.append(part)
    if process.wait() not in accepted:
        raise subprocess.CalledProcessError(process.returncode, command, b"".join(parts))
    return b"".join(parts).decode()


def picture(text: str | Text, title: str) -> str:
    """Terminal output as SVG."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    # A terminal ends lines with CR LF, and rich discards everything in a line before its last CR.
    lines = Text.from_ansi(text.replace("\r\n", "\n")) if isinstance(text, str) else text
    console.print(lines)
    svg = console.export_svg(title=title)
    # The picture must not load fonts from another site; it uses a font of the reader.
    return re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL)


def main() -> None:
    """Write all pictures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "docs" / "images")
    target: Path = parser.parse_args().folder
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        for part in ("specs", "task_app"):
            ignored = shutil.ignore_patterns(".batchspec")
            shutil.copytree(ROOT / part, place / part, ignore=ignored)
        home = place / "home"
        environ = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("AZURE_", "BATCHSPEC_"))},
            "BATCHSPEC_LOCAL_HOME": str(home),
            "COLUMNS": str(WIDTH),
            "TERM": "xterm-256color",
        }
        environ.pop("NO_COLOR", None)
        local.start(home)
        try:
            for file, words in PICTURES.items():
                text = shown(words, place, environ).replace(f"{place}/", "")
                title = "batchspec " + " ".join(words[:2])
                (target / file).write_text(picture(text, title), encoding="utf-8")
            (place / "sweep.yaml").write_text(SWEEP, encoding="utf-8")
            frame = screen(("apply", "sweep.yaml", "-y"), place, environ)
            (target / LIVE).write_text(picture(frame, "batchspec apply"), encoding="utf-8")
        finally:
            local.stop(home)


if __name__ == "__main__":
    main()
