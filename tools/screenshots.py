"""Pictures of commands for the documentation: what a terminal shows, as SVG.

    python -m tools.screenshots [FOLDER]

Runs the tutorial on a separate embedded service, in a pseudo-terminal, and writes one SVG for each
command of :data:`PICTURES`.
"""

from __future__ import annotations

import argparse
import io
import os
import pty
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

from batchspec import local

ROOT = Path(__file__).parents[1]
WIDTH = 92
PICTURES = {
    "plan.svg": ("plan", "specs/topn.yaml"),
    "run.svg": ("apply", "specs/topn.yaml", "-y", "--progress", "plain"),
}


def shown(words: tuple[str, ...], folder: Path, environ: dict[str, str]) -> str:
    """The output of a command on a terminal, including escape sequences.

    Raises:
        CalledProcessError: the command failed.
    """
    ours, theirs = pty.openpty()
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
    if process.wait():
        raise subprocess.CalledProcessError(process.returncode, command, b"".join(parts))
    return b"".join(parts).decode()


def picture(text: str, title: str) -> str:
    """Terminal output as SVG."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    # A terminal ends lines with CR LF, and rich discards everything in a line before its last CR.
    console.print(Text.from_ansi(text.replace("\r\n", "\n")))
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
        finally:
            local.stop(home)


if __name__ == "__main__":
    main()
