"""The published rows next to the project, and a server on the loopback interface."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pricing.server import PriceServer

_SHARED = Path(__file__).parents[3] / "shared"


@pytest.fixture
def shared() -> Path:
    """The folder with rows and sizes as Azure published them."""
    if not (_SHARED / "arm").exists():
        pytest.skip("no published prices next to the project")
    return _SHARED


@pytest.fixture
def server() -> Iterator[PriceServer]:
    """A price service."""
    with PriceServer() as running:
        yield running
