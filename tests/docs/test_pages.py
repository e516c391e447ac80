"""A page shows what happens: its files are written, its commands run, their output compared.

``BATCHSPEC_ACCEPT=1`` rewrites the output in the pages.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from azure.batch import BatchClient
from azure.core.credentials import AzureNamedKeyCredential
from azure.storage.blob import BlobServiceClient

from batchspec import local
from tests.docs.pages import DOCS, ROOT, Session, accept, blocks, pages, runs, timeless
from tests.e2e.conftest import Inside, clean_environ

PAGES = {path.relative_to(DOCS).as_posix(): path for path in pages()}
RUN = {name: page for name, page in PAGES.items() if any(map(runs, blocks(page)))}


@pytest.fixture(scope="module")
def service(
    azurite_installed: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[local.Endpoints]:
    """One embedded service for all pages."""
    home = tmp_path_factory.mktemp("service") / "home"
    try:
        yield local.start(home)
    finally:
        local.stop(home)


@pytest.fixture
def home(service: local.Endpoints) -> Iterator[Path]:
    """The data folder of the service, whose account is empty before and after a page."""
    yield service.data
    key = AzureNamedKeyCredential(service.batch_account, service.batch_key)
    with BatchClient(service.batch_url, key) as batch:
        for job in batch.list_jobs():
            batch.begin_delete_job(job.id)
        for pool in batch.list_pools():
            batch.begin_delete_pool(pool.id)
    with BlobServiceClient.from_connection_string(service.connection_string) as blobs:
        for container in blobs.list_containers():
            blobs.delete_container(container.name)


@pytest.mark.parametrize("name", RUN)
def test_the_page_shows_what_happens(name: str, home: Path, tmp_path: Path) -> None:
    settings = {"BATCHSPEC_LOCAL_HOME": str(home), "COLUMNS": "88", "PYTHONWARNINGS": "ignore"}
    session = Session(Inside(tmp_path, home, clean_environ(settings)))
    if name == "tutorial/azure-tutorial.md":
        for part in ("specs", "task_app"):
            ignored = shutil.ignore_patterns(".batchspec")
            shutil.copytree(ROOT / part, tmp_path / part, ignore=ignored)
    try:
        for block in filter(runs, blocks(RUN[name])):
            session.play(block)
    finally:
        for folder in session.homes:
            local.stop(folder)
    if os.environ.get("BATCHSPEC_ACCEPT"):
        accept(RUN[name], session.shown)
    else:
        for block, now in session.shown:
            assert timeless(now) == timeless(block.text), block.where
