"""An embedded service that the tests of this folder share; each round uses separate names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from batchspec import local
from tests.fault_injection.rounds import Bench


@pytest.fixture(scope="session")
def bench(azurite_installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """The place where rounds run."""
    folder = tmp_path_factory.mktemp("faults")
    home = folder / "home"
    try:
        yield Bench.of(folder, local.start(home))
    finally:
        local.stop(home)
