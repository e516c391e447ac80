"""Fixtures for the tests of the embedded service."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from azure.mgmt.batch import BatchManagementClient

from tests.local.management import Management, management_client
from tests.local.running import Service, running


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A new service without an engine; all exchanges must conform to the OpenAPI description."""
    # The SDK logs a traceback for each error without a JSON body.
    logging.getLogger("azure.batch._utils.model_base").setLevel(logging.CRITICAL)
    with running(tmp_path / "batch") as found:
        yield found
        assert found.violations == []


@pytest.fixture
def arm(service: Service) -> Iterator[BatchManagementClient]:
    """azure-mgmt-batch as a client of the control plane of ``service``."""
    with management_client(service) as client:
        yield client


@pytest.fixture
def management(service: Service) -> Management:
    """Plain requests to the control plane of ``service``."""
    return Management(service)
