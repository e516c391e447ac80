"""Selects the account to open: URLs, names and keys from environment variables.

This module does not import the Azure SDKs and sends no request.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias
from urllib.parse import SplitResult, urlsplit

from batchspec.diagnostics import Diagnostic, Secret, UsageError
from batchspec.frozen import frozen
from batchspec.plan.observed import AccountNames


@frozen
class AzureCloud:
    """An Azure cloud: the DNS suffix of its Storage and the token audience of its Batch service.

    ``authority`` is the host for authentication; ``None``: the default of the SDK, which reads
    ``AZURE_AUTHORITY_HOST``. ``manager`` is the URL of Azure Resource Manager, and
    ``manager_audience`` the audience of tokens for it. ``vaults`` is the DNS suffix of its key
    vaults. ``cli_name`` is its name in the Azure CLI; empty: the default.
    """

    suffix: str
    audience: str
    authority: str | None = None
    manager: str = "https://management.azure.com"
    manager_audience: str = "https://management.azure.com/"
    vaults: str = "vault.azure.net"
    cli_name: str = ""


API_VERSION = "2025-06-01"
"""The version of the Batch REST API in requests."""

PUBLIC = AzureCloud("core.windows.net", "https://batch.core.windows.net/")
CLOUDS = {
    "batch.azure.com": PUBLIC,
    # As in the Azure CLI (azure/cli/core/cloud.py): the names follow no rule.
    "batch.chinacloudapi.cn": AzureCloud(
        "core.chinacloudapi.cn",
        "https://batch.chinacloudapi.cn/",
        "login.chinacloudapi.cn",
        "https://management.chinacloudapi.cn",
        "https://management.chinacloudapi.cn/",
        "vault.azure.cn",
        "AzureChinaCloud",
    ),
    "batch.usgovcloudapi.net": AzureCloud(
        "core.usgovcloudapi.net",
        "https://batch.core.usgovcloudapi.net/",
        "login.microsoftonline.us",
        "https://management.usgovcloudapi.net",
        "https://management.core.usgovcloudapi.net/",
        "vault.usgovcloudapi.net",
        "AzureUSGovernment",
    ),
}
"""The Azure clouds, by the DNS suffix of their Batch endpoints."""

_LOOPBACK = ("127.0.0.1", "::1", "localhost")

# `UseDevelopmentStorage=true` means the published account of the storage emulator.
_EMULATOR_URL = "http://127.0.0.1:10000/devstoreaccount1"
_EMULATOR_ACCOUNT = "devstoreaccount1"
_EMULATOR_KEY = (
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)


@frozen
class LocalAccount:
    """The embedded service and its blob storage, both at http URLs of the loopback interface.

    ``token`` is the bearer token of the service, which the control plane requires. Without a key
    (``None``), requests to the service and its storage contain the token, too.
    """

    batch_url: str
    batch_account: str
    batch_key: Secret | None
    blob_url: str
    blob_account: str
    blob_key: Secret | None
    subscription: str = "00000000-0000-0000-0000-000000000000"
    resource_group: str = "batchspec"
    token: Secret | None = None

    @property
    def manager_url(self) -> str:
        """The URL of Azure Resource Manager, which is that of the Batch service."""
        return self.batch_url

    @property
    def names(self) -> AccountNames:
        """The names of the accounts, without ports, which change with each start."""
        return AccountNames("local", self.batch_account, self.blob_account)


@frozen
class AzureAccount:
    """A Batch account and a Storage account on Azure.

    Without a key (``None``), ``DefaultAzureCredential`` authenticates. ``cloud`` is the Azure cloud
    of the accounts. ``subscription`` and ``resource_group`` are those of the Batch account; empty:
    not given. ``manager`` is the URL of Azure Resource Manager if it is not that of the cloud.
    ``token`` is the bearer token of the embedded service, for URLs of the loopback interface only.
    """

    batch_url: str
    batch_account: str
    batch_key: Secret | None
    blob_url: str
    blob_account: str
    blob_key: Secret | None
    cloud: AzureCloud = PUBLIC
    subscription: str = ""
    resource_group: str = ""
    manager: str = ""
    token: Secret | None = None

    @property
    def manager_url(self) -> str:
        """The URL of Azure Resource Manager."""
        return self.manager or self.cloud.manager

    @property
    def names(self) -> AccountNames:
        """The hosts of the accounts: the name of a Batch account is unique in its region only."""
        batch, blob = urlsplit(self.batch_url), urlsplit(self.blob_url)
        storage = f"{blob.netloc}{blob.path}".rstrip("/")
        return AccountNames("azure", batch.netloc, storage)


AnyAccount: TypeAlias = LocalAccount | AzureAccount
"""An account that :func:`batchspec.cloud.open_account` opens."""


def is_loopback(url: str) -> bool:
    """Whether a URL is on the loopback interface, which needs no proxy and no https."""
    return urlsplit(url).hostname in _LOOPBACK


def _read_file(path: str) -> str:
    return Path(path).read_text(encoding="utf-8")


def account_from(
    environment: Mapping[str, str], read_file: Callable[[str], str] = _read_file
) -> AzureAccount:
    """The account that the environment names, in variables that the Azure CLI reads, too.

    Args:
        environment: the environment variables.
        read_file: the text of a file; called only for addresses of the embedded service.

    Raises:
        UsageError: with a diagnostic for each variable that is missing or invalid.
    """
    found: list[Diagnostic] = []
    batch_account = _given(environment, "AZURE_BATCH_ACCOUNT")
    if not batch_account:
        found.append(
            _missing("AZURE_BATCH_ACCOUNT", "Set it to a name from `az batch account list`.")
        )
    batch_url = _batch_url(environment, found)
    batch_key = _key(environment, "AZURE_BATCH_ACCESS_KEY", found)
    cloud = next(
        (
            cloud
            for batch, cloud in CLOUDS.items()
            if (urlsplit(batch_url).hostname or "").endswith(f".{batch}")
        ),
        PUBLIC,
    )
    blob_url, blob_account, blob_key = _storage(environment, cloud.suffix, found)
    manager = _manager(environment, found)
    loopback = any(is_loopback(url) for url in (batch_url, blob_url, manager))
    token = _token(environment, read_file, found) if loopback else None
    for name, url, key in (
        ("AZURE_BATCH_ENDPOINT", batch_url, batch_key),
        ("AZURE_STORAGE_CONNECTION_STRING", blob_url, blob_key),
    ):
        _check_transport(name, url, key or (token if is_loopback(url) else None), found)
    if found:
        raise UsageError(*found)
    return AzureAccount(
        batch_url,
        batch_account,
        batch_key,
        blob_url,
        blob_account,
        blob_key,
        cloud,
        _given(environment, "AZURE_SUBSCRIPTION_ID"),
        _given(environment, "AZURE_RESOURCE_GROUP"),
        manager,
        token,
    )


_TOKEN_FILE = "BATCHSPEC_LOCAL_TOKEN_FILE"  # noqa: S105 - the name of a variable


def _token(
    environment: Mapping[str, str], read_file: Callable[[str], str], found: list[Diagnostic]
) -> Secret | None:
    """The token of the embedded service; ``None`` if the variable is not set."""
    path = _given(environment, _TOKEN_FILE)
    if not path:
        return None
    try:
        return Secret(read_file(path).strip())
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        problem = Diagnostic(
            "bad-token-file",
            f"the file that {_TOKEN_FILE} names cannot be read: {path}",
            str(reason),
            fix='Set it again: `eval "$(batchspec local env)"`',
        )
        found.append(problem)
        return None


_MANAGER = "AZURE_RESOURCE_MANAGER_ENDPOINT"


def _manager(environment: Mapping[str, str], found: list[Diagnostic]) -> str:
    """The URL of Azure Resource Manager; empty: that of the cloud.

    `batchspec local env` sets it to the embedded service, which accepts its token.
    """
    text = _given(environment, _MANAGER).rstrip("/")
    if not text or not _is_url(_MANAGER, text, found):
        return ""
    if not is_loopback(text) and not text.startswith("https://"):
        _check_transport(_MANAGER, text, None, found)
    return text


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
        f"the key in {name} is not valid base64",
        fix="Copy the complete key, including the = characters at its end.",
    )


def _batch_url(environment: Mapping[str, str], found: list[Diagnostic]) -> str:
    name = "AZURE_BATCH_ENDPOINT"
    text = _given(environment, name)
    if not text:
        found.append(
            _missing(
                name,
                "Set it to https:// and the output of"
                " `az batch account show --query accountEndpoint`,"
                " such as https://myaccount.westeurope.batch.azure.com.",
            )
        )
        return ""
    if "://" not in text:
        problem = Diagnostic(
            "bad-endpoint",
            f"{name} has no scheme: {text}",
            fix=f"Did you mean https://{text.lstrip('/')}?",
        )
        found.append(problem)
        return ""
    return text.rstrip("/") if _is_url(name, text, found) else ""


def _is_url(name: str, text: str, found: list[Diagnostic]) -> bool:
    url: SplitResult | None
    try:
        url = urlsplit(text)
        valid = url.scheme in ("http", "https") and bool(url.hostname) and not url.query
        _ = url.port
    except ValueError:
        valid = False
    if not valid:
        # The message does not contain the value, which may contain a SAS.
        found.append(
            Diagnostic(
                "bad-endpoint",
                f"{name} is not an http or https URL",
                fix="Use the form https://myaccount.westeurope.batch.azure.com",
            )
        )
    return valid


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
                    f"AZURE_STORAGE_ACCOUNT is {account}, and the account of"
                    f" AZURE_STORAGE_CONNECTION_STRING is {named}",
                    fix="Unset one of the two variables.",
                )
            )
        return url, named, key
    if not account:
        found.append(
            _missing(
                "AZURE_STORAGE_ACCOUNT",
                "Set it to the name of the Storage account, or set"
                " AZURE_STORAGE_CONNECTION_STRING.",
            )
        )
    key = _key(environment, "AZURE_STORAGE_KEY", found)
    url = _given(environment, "AZURE_STORAGE_SERVICE_ENDPOINT").rstrip("/")
    if url and not _is_url("AZURE_STORAGE_SERVICE_ENDPOINT", url, found):
        url = ""
    return url or f"https://{account}.blob.{suffix}", account, key


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
        # A connection string with a SAS instead of a key cannot sign the URLs for the nodes.
        found.append(
            Diagnostic(
                "bad-connection-string",
                f"{name} has no {'AccountKey' if account else 'AccountName'}",
                fix="Use the output of `az storage account show-connection-string`, or set only"
                " AZURE_STORAGE_ACCOUNT and run `az login`",
            )
        )
        return "", account, None
    if not _is_base64(key):
        found.append(_bad_key(name))
    url = parts.get("blobendpoint", "").rstrip("/")
    if not url:
        scheme = parts.get("defaultendpointsprotocol", "https")
        url = f"{scheme}://{account}.blob.{parts.get('endpointsuffix', suffix)}"
    if not _is_url(name, url, found):
        url = ""
    return url, account, Secret(key)


def _check_transport(name: str, url: str, key: Secret | None, found: list[Diagnostic]) -> None:
    """Check that a URL without a key is https: the SDK sends a token over https only."""
    if url.startswith("http://") and key is None:
        found.append(
            Diagnostic(
                "token-needs-https",
                f"{name} is an http URL, and there is no account key for it",
                fix="Use an https URL, which authentication without a key requires, or set the"
                " account key.",
            )
        )
