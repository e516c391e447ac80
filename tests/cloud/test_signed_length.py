"""The planned length of a signed URL is enough for the longest URLs."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

from azure.storage.blob import UserDelegationKey

from batchspec.cloud import AzureAccount
from batchspec.cloud.sas import UrlSigner
from batchspec.plan.tasks import NAMED, SIGNED
from batchspec.spec import BlobUrl

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def delegated() -> UrlSigner:
    """A signer with a user delegation key, for a Storage account with the longest name."""
    key = UserDelegationKey()  # type: ignore[no-untyped-call]
    key.signed_oid, key.signed_tid = "23657296-5cd5-45b0-a809-d972a7f4dfe1", "0" * 36
    key.signed_start, key.signed_expiry = "2026-11-22T11:45:00Z", "2026-11-29T11:00:00Z"
    key.signed_service, key.signed_version, key.value = "b", "2026-10-06", "a2V5"
    store = "s" * 24
    account = AzureAccount(
        "https://b", "b", None, f"https://{store}.blob.core.windows.net", store, None
    )
    return UrlSigner(account, NOW, NOW + timedelta(days=6), key)


def test_resource_files_fit_with_either_kind_of_sas() -> None:
    signer, container = delegated(), "c" * 63
    names = [f"a folder/ü {n:03}.txt" for n in range(50)]
    files = [{"httpUrl": signer(BlobUrl(container, name, "r")), "filePath": name} for name in names]
    planned = sum(SIGNED + len(quote(name)) + len(name) for name in names)
    said = len(json.dumps(files, ensure_ascii=False, separators=(",", ":")))
    assert 0.9 * planned < said <= planned <= NAMED
