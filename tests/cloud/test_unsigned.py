"""Requests of a run with ``storage.identity``: no signature, and no user delegation key."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from batchspec.cloud import AzureAccount, Limits
from batchspec.cloud.rest import BatchConnection
from batchspec.cloud.sas import SasSigner
from batchspec.spec import BlobUrl, Record

ACCOUNT = AzureAccount(
    "https://lab.westeurope.batch.azure.com",
    "lab",
    None,
    "https://lab.blob.core.windows.net",
    "lab",
    None,
)
NOTHING = cast(Any, None)
"""Not used: a request to the Storage account would fail."""


def body(url: BlobUrl) -> dict[str, Any]:
    signer = SasSigner(ACCOUNT, NOTHING, lambda: datetime.now(UTC))
    connection = BatchConnection(NOTHING, signer, NOTHING, Limits(), NOTHING, NOTHING)
    return asyncio.run(connection.request_body(Record(httpUrl=url), timedelta()))


def test_the_urls_of_a_request_without_signatures_are_plain() -> None:
    address = "https://lab.blob.core.windows.net/data/a%20b.txt"
    assert body(BlobUrl("data", "a b.txt")) == {"httpUrl": address}


def test_a_signed_url_in_such_a_request_is_an_error() -> None:
    with pytest.raises(ValueError, match="data needs a signature"):
        body(BlobUrl("data", "a.txt", "r"))
