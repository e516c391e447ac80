"""Responses in the form of Azure Resource Manager, and recorded responses of the real service."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from batchspec.cloud import AzureAccount
from batchspec.cloud.account import AzureCloud
from tests.cloud.conftest import KEY
from tests.cloud.scripted import Reply, Scripted

SUBSCRIPTION = "00000000-0000-0000-0000-000000000000"
ACCOUNTS = f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Batch/batchAccounts"
ACCOUNT = (
    f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg1/providers/Microsoft.Batch/batchAccounts/acct"
)

RECORDINGS = Path(__file__).parents[3] / "shared/arm/arm-recordings.jsonl"


def recorded(**properties: Any) -> list[dict[str, Any]]:
    """The recorded exchanges with these properties; the test is skipped without recordings."""
    if not RECORDINGS.exists():
        pytest.skip("the recordings of Resource Manager are not on this machine")
    with RECORDINGS.open(encoding="utf-8") as lines:
        exchanges = [json.loads(line) for line in lines]
    return [
        each for each in exchanges if all(each[key] == value for key, value in properties.items())
    ]


def denied(status: int, code: str, message: str = "", *details: tuple[str, str]) -> Reply:
    """An error in the envelope of Resource Manager."""
    error: dict[str, Any] = {"code": code, "message": message or code}
    if details:
        error["details"] = [{"code": key, "message": text} for key, text in details]
    return Reply(status, {"error": error}, {"x-ms-request-id": "abc"})


def azure_account(server: Scripted, subscription: str = "", group: str = "") -> AzureAccount:
    """An account of Azure without a Batch key; its Resource Manager is the scripted server."""
    cloud = AzureCloud(
        "core.windows.net", "https://batch.core.windows.net/", None, server.url, "https://manager/"
    )
    return AzureAccount(
        "https://acct.westeurope.batch.azure.com",
        "acct",
        None,
        "https://store.blob.core.windows.net",
        "store",
        KEY,
        cloud,
        subscription,
        group,
    )
