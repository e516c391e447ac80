"""Which account, as values: addresses, names and keys, read from an environment that is handed in.

Nothing of Azure is imported and nothing is sent here. Keys are
:class:`~batchspec.diagnostics.Secret`.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import SplitResult, urlsplit

from batchspec.diagnostics import Diagnostic, Secret, UsageError
from batchspec.plan.observed import Account


@dataclass(frozen=True, slots=True)
class AzureCloud:
    """One of Azure's clouds: its storage suffix, and what a token for its Batch service is for.

    ``authority`` is who signs in there; ``None``: whom the SDK takes, ``AZURE_AUTHORITY_HOST`` too.
    """

    suffix: str
    audience: str
    authority: str | None = None


PUBLIC = AzureCloud("core.windows.net", "https://batch.core.windows.net/")
_CLOUDS = {
    "batch.azure.com": PUBLIC,
    # No rule makes the one name from the other: these are the Azure CLI's (its cloud.py).
    "batch.chinacloudapi.cn": AzureCloud(
        "core.chinacloudapi.cn", "https://batch.chinacloudapi.cn/", "login.chinacloudapi.cn"
    ),
    "batch.usgovcloudapi.net": AzureCloud(
        "core.usgovcloudapi.net",
        "https://batch.core.usgovcloudapi.net/",
        "login.microsoftonline.us",
    ),
}
"""Each of them, by the suffix of its Batch endpoints."""

_LOOPBACK = ("127.0.0.1", "::1", "localhost")

# What `UseDevelopmentStorage=true` stands for: the published account of the storage emulator.
_EMULATOR_URL = "http://127.0.0.1:10000/devstoreaccount1"
_EMULATOR_ACCOUNT = "devstoreaccount1"
_EMULATOR_KEY = (
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)


@dataclass(frozen=True, slots=True)
class LocalAccount:
    """The embedded service and its blob store. Both speak plain http on the loopback interface."""

    batch_url: str
    batch_account: str
    batch_key: Secret
    blob_url: str
    blob_account: str
    blob_key: Secret

    @property
    def shown(self) -> Account:
        """Names only: the ports may be others after the next start."""
        return Account("local", self.batch_account, self.blob_account)


@dataclass(frozen=True, slots=True)
class AzureAccount:
    """A Batch account and a Storage account on Azure.

    A key that is ``None`` means signing in (``DefaultAzureCredential``). ``cloud`` is the one of
    Azure's clouds that they live in.
    """

    batch_url: str
    batch_account: str
    batch_key: Secret | None
    blob_url: str
    blob_account: str
    blob_key: Secret | None
    cloud: AzureCloud = PUBLIC

    @property
    def shown(self) -> Account:
        """Hosts: the name of a Batch account is unique in its region only."""
        batch, blob = urlsplit(self.batch_url), urlsplit(self.blob_url)
        storage = f"{blob.netloc}{blob.path}".rstrip("/")
        return Account("azure", batch.netloc, storage)


AnyAccount: TypeAlias = LocalAccount | AzureAccount
"""What can be opened."""


def is_loopback(url: str) -> bool:
    """Whether an address is on this machine: no proxy, and no need of https."""
    return urlsplit(url).hostname in _LOOPBACK


def account_from(environment: Mapping[str, str]) -> AzureAccount:
    """The account that the environment names, by the variables that the Azure CLI reads.

    Raises:
        UsageError: with everything that is missing or wrong.
    """
    found: list[Diagnostic] = []
    batch_account = _given(environment, "AZURE_BATCH_ACCOUNT")
    if not batch_account:
        found.append(
            _missing("AZURE_BATCH_ACCOUNT", "name the Batch account: `az batch account list`")
        )
    batch_url = _batch_url(environment, found)
    batch_key = _key(environment, "AZURE_BATCH_ACCESS_KEY", found)
    cloud = next(
        (
            cloud
            for batch, cloud in _CLOUDS.items()
            if (urlsplit(batch_url).hostname or "").endswith(f".{batch}")
        ),
        PUBLIC,
    )
    blob_url, blob_account, blob_key = _storage(environment, cloud.suffix, found)
    _check_transport("AZURE_BATCH_ENDPOINT", batch_url, batch_key, found)
    _check_transport("AZURE_STORAGE_CONNECTION_STRING", blob_url, blob_key, found)
    if found:
        raise UsageError(*found)
    return AzureAccount(
        batch_url, batch_account, batch_key, blob_url, blob_account, blob_key, cloud
    )


def _given(environment: Mapping[str, str], name: str) -> str:
    return environment.get(name, "").strip()


def _missing(name: str, fix: str) -> Diagnostic:
    return Diagnostic("account-incomplete", f"{name} is not set", fix=fix)


def _key(environment: Mapping[str, str], name: str, found: list[Diagnostic]) -> Secret | None:
    text = _given(environment, name)
    if not text:
        return None
    if not _is_base64(text):
        found.append(_bad_key(name))
    return Secret(text)


def _is_base64(text: str) -> bool:
    try:
        return bool(base64.b64decode(text, validate=True))
    except binascii.Error:
        return False


def _bad_key(name: str) -> Diagnostic:
    return Diagnostic(
        "bad-key",
        f"the key in {name} is not base64",
        fix="copy the whole key, with the = signs at its end",
    )


def _batch_url(environment: Mapping[str, str], found: list[Diagnostic]) -> str:
    name = "AZURE_BATCH_ENDPOINT"
    text = _given(environment, name)
    if not text:
        found.append(
            _missing(
                name,
                "https:// and what `az batch account show --query accountEndpoint` says,"
                " such as https://myaccount.westeurope.batch.azure.com",
            )
        )
        return ""
    if "://" not in text:
        problem = Diagnostic(
            "bad-endpoint",
            f"{name} has no scheme: {text}",
            fix=f"did you mean https://{text.lstrip('/')}?",
        )
        found.append(problem)
        return ""
    return text.rstrip("/") if _is_address(name, text, found) else ""


def _is_address(name: str, text: str, found: list[Diagnostic]) -> bool:
    url: SplitResult | None
    try:
        url = urlsplit(text)
        sound = url.scheme in ("http", "https") and bool(url.hostname) and not url.query
        _ = url.port
    except ValueError:
        sound = False
    if not sound:
        # The value is not repeated: it may hold a SAS.
        found.append(
            Diagnostic(
                "bad-endpoint",
                f"the address in {name} is not an http address",
                fix="it looks like https://myaccount.westeurope.batch.azure.com",
            )
        )
    return sound


def _storage(
    environment: Mapping[str, str], suffix: str, found: list[Diagnostic]
) -> tuple[str, str, Secret | None]:
    account = _given(environment, "AZURE_STORAGE_ACCOUNT")
    text = _given(environment, "AZURE_STORAGE_CONNECTION_STRING")
    if text:
        url, named, key = _connection_string(text, suffix, found)
        if account and named and account != named:
            found.append(
                Diagnostic(
                    "account-conflict",
                    f"AZURE_STORAGE_ACCOUNT says {account},"
                    f" AZURE_STORAGE_CONNECTION_STRING says {named}",
                    fix="unset one of the two",
                )
            )
        return url, named, key
    if not account:
        found.append(
            _missing(
                "AZURE_STORAGE_ACCOUNT",
                "name the Storage account, or set AZURE_STORAGE_CONNECTION_STRING",
            )
        )
    key = _key(environment, "AZURE_STORAGE_KEY", found)
    return f"https://{account}.blob.{suffix}", account, key


def _connection_string(
    text: str, suffix: str, found: list[Diagnostic]
) -> tuple[str, str, Secret | None]:
    name = "AZURE_STORAGE_CONNECTION_STRING"
    parts = {
        key.strip().lower(): value.strip()
        for key, _, value in (part.partition("=") for part in text.split(";") if part.strip())
    }
    if parts.get("usedevelopmentstorage", "").lower() == "true":
        return _EMULATOR_URL, _EMULATOR_ACCOUNT, Secret(_EMULATOR_KEY)
    account, key = parts.get("accountname", ""), parts.get("accountkey", "")
    if not account or not key:
        # A connection string with a SAS in the key's place can read and write, but not sign the
        # addresses that the nodes need.
        found.append(
            Diagnostic(
                "bad-connection-string",
                f"{name} lacks {'AccountKey' if account else 'AccountName'}",
                fix="take it from `az storage account show-connection-string`, or set"
                " AZURE_STORAGE_ACCOUNT alone and sign in with `az login`",
            )
        )
        return "", account, None
    if not _is_base64(key):
        found.append(_bad_key(name))
    url = parts.get("blobendpoint", "").rstrip("/")
    if not url:
        scheme = parts.get("defaultendpointsprotocol", "https")
        url = f"{scheme}://{account}.blob.{parts.get('endpointsuffix', suffix)}"
    if not _is_address(name, url, found):
        url = ""
    return url, account, Secret(key)


def _check_transport(name: str, url: str, key: Secret | None, found: list[Diagnostic]) -> None:
    """A token goes over https only; the SDK refuses in words that do not say what to do."""
    if url.startswith("http://") and key is None:
        found.append(
            Diagnostic(
                "token-needs-https",
                f"{name} is a plain http address, and there is no key for it",
                fix="without a key batchspec signs in, which takes https",
            )
        )
