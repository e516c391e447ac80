"""Fixtures of many tests: a blob store and a separate embedded service.

Both are real. A test that needs one is skipped with the reason on a machine that has no Node.js or
cannot reach the npm registry; with ``CI`` set it fails instead.
"""

from __future__ import annotations

import base64
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from batchspec import local
from batchspec.local.azurite import AzuriteServer, LaunchOptions, find_nodejs, install
from batchspec.local.settings import Settings
from tests.openapi_conformance.exchanges import HERE, ConformanceChecker

# The time of an example depends on the load of the machine, so it is not checked.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")

_MISSING = {"no-node", "node-too-old", "no-npm", "registry-unreachable", "registry-untrusted"}


@dataclass(frozen=True, slots=True)
class BlobStore:
    """A blob store in memory; ``url`` is that of the account."""

    url: str
    account: str
    key: str = field(repr=False)

    @property
    def connection_string(self) -> str:
        """For ``BlobServiceClient.from_connection_string``."""
        return (
            f"DefaultEndpointsProtocol=http;AccountName={self.account};AccountKey={self.key};"
            f"BlobEndpoint={self.url};"
        )


@pytest.fixture(scope="session")
def conformance_checker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConformanceChecker]:
    """What services in processes of their own are asked, and what they answer."""
    found = ConformanceChecker(tmp_path_factory.mktemp("exchanges"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(HERE), prepend=os.pathsep)
        patch.setenv("EXCHANGES_OF_TESTS", str(found.folder))
        yield found


@pytest.fixture(autouse=True)
def _exchanges_conform_to_openapi(conformance_checker: ConformanceChecker) -> Iterator[None]:
    yield
    assert conformance_checker.violations() == []


@pytest.fixture(scope="session")
def azurite_installed() -> Path:
    """The folder of an installed Azurite."""
    try:
        return local.install()
    except local.LocalError as error:
        if error.code in _MISSING and not os.environ.get("CI"):
            pytest.skip(error.summary)
        raise


@pytest.fixture(scope="session")
def azurite(
    azurite_installed: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[BlobStore]:
    """One blob store for the whole session; each test creates separate containers."""
    settings = Settings.read(os.environ)
    node = find_nodejs(settings)
    store = LaunchOptions(
        node=node,
        installed=install(
            node, settings.cache, search_path=settings.path, environ={}, notify=lambda _: None
        ),
        account="teststore",
        key=base64.b64encode(secrets.token_bytes(64)).decode(),
        log=tmp_path_factory.mktemp("azurite") / "azurite.log",
    )
    server = AzuriteServer.spawn(store, port=0)
    try:
        port = server.wait_ready()
        yield BlobStore(f"http://127.0.0.1:{port}/{store.account}", store.account, store.key)
    finally:
        server.stop()


@pytest.fixture(scope="session")
def shared_home(
    azurite_installed: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """The data folder of a service for tests that run one after another; see ``place``."""
    home = tmp_path_factory.mktemp("shared") / "home"
    try:
        yield home
    finally:
        local.stop(home)


@pytest.fixture
def local_home(azurite_installed: Path, tmp_path: Path) -> Iterator[local.Endpoints]:
    """A running embedded service with an empty account; stopped when the test ends.

    ``local_home.data`` is its folder, for ``BATCHSPEC_LOCAL_HOME`` or ``--data``.
    """
    data = tmp_path / "local"
    try:
        yield local.start(data)
    finally:
        local.stop(data)
