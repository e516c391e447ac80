"""A page shows what happens: its files are written, its commands run, their output compared.

``BATCHSPEC_ACCEPT=1`` rewrites the output in the pages.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from batchspec import local
from tests.docs.pages import DOCS, Session, accept, blocks, pages, runs, timeless
from tests.e2e.conftest import Inside, clean_environ

PAGES = {path.relative_to(DOCS).as_posix(): path for path in pages()}
RUN = {name: page for name, page in PAGES.items() if any(map(runs, blocks(page)))}


@pytest.fixture(scope="module")
def service(azurite_installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The data folder of one local service for all pages."""
    home = tmp_path_factory.mktemp("service") / "home"
    local.start(home)
    try:
        yield home
    finally:
        local.stop(home)


@pytest.mark.parametrize("name", RUN)
def test_the_page_shows_what_happens(name: str, service: Path, tmp_path: Path) -> None:
    environ = clean_environ({"BATCHSPEC_LOCAL_HOME": str(service), "COLUMNS": "88"})
    session = Session(Inside(tmp_path, service, environ))
    for block in filter(runs, blocks(RUN[name])):
        session.play(block)
    if os.environ.get("BATCHSPEC_ACCEPT"):
        accept(RUN[name], session.shown)
    else:
        for block, now in session.shown:
            assert timeless(now) == timeless(block.text), block.where
