"""``tools/measure_accounts.py`` measures the figures of the guide to test programs."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tools import measure_accounts

GUIDE = Path(__file__).parents[2] / "docs" / "how-to" / "test-programs.md"


@pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")
@pytest.mark.usefixtures("azurite_installed")
def test_the_guide_shows_its_table(tmp_path: Path) -> None:
    (measured,) = measure_accounts.measure(1, tmp_path)
    assert 20 < measured.idle < 1000
    assert measured.processor > 0
    table = measure_accounts.table([measured])
    rows = re.sub(r"[\d.]+", r"[\\d.]+", re.escape(table).replace(r"\.", "."))
    assert re.search(rows, GUIDE.read_text("utf-8"))
