"""A command on a pseudo-terminal, with answers to its questions."""

from __future__ import annotations

import os
import pty
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.e2e.conftest import Workplace

_QUESTION = re.compile(r"\[(?:y/N|Y/n)\] ")


def answered(
    place: Workplace, answers: Sequence[str], *arguments: str | Path, term: str = "dumb"
) -> tuple[int, str]:
    """Run a command with answers to its questions in order; return exit code and output."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        place.command(*arguments),
        cwd=place.folder,
        env={**place.environ, "TERM": term},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    text, given = "", 0
    while data := _read(ours):
        text += data
        if given < len(answers) and len(_QUESTION.findall(text)) > given:
            os.write(ours, f"{answers[given]}\n".encode())
            given += 1
    os.close(ours)
    return process.wait(timeout=60), text


def _read(terminal: int) -> str:
    """Output on a terminal; empty at its end, which Linux reports as an error (EIO)."""
    try:
        return os.read(terminal, 65536).decode(errors="replace")
    except OSError:
        return ""
