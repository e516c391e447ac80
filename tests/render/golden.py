"""Expected outputs in files next to the tests; ``BATCHSPEC_ACCEPT=1`` rewrites them."""

from __future__ import annotations

import os
from pathlib import Path

_FOLDER = Path(__file__).parent / "golden"


def check(name: str, text: str, folder: Path = _FOLDER) -> None:
    """Compare ``text`` with the golden of that name."""
    file = folder / name
    text = text.rstrip("\n") + "\n"
    if os.environ.get("BATCHSPEC_ACCEPT"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    assert file.exists(), f"no golden {name}; BATCHSPEC_ACCEPT=1 writes it"
    assert text == file.read_text(encoding="utf-8")
