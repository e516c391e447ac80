"""The settings of Microsoft Entra ID sign-in: the environment variables that azure-identity reads.

azure-identity (1.27) ignores an incomplete service principal, raises ``ValueError`` for values that
it does not accept, and opens files when the credential is created. Here every wrong setting is a
diagnostic that names its variable, before a request is sent. The values of secrets are not shown.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from batchspec.cloud.account import AzureCloud
from batchspec.diagnostics import Diagnostic, SignInError, nearest, redact

if TYPE_CHECKING:
    from azure.core.credentials_async import AsyncTokenCredential

CODE = "bad-sign-in"

_CHOICE = "AZURE_TOKEN_CREDENTIALS"
_AUTHORITY = "AZURE_AUTHORITY_HOST"
_TENANT = "AZURE_TENANT_ID"
_CLIENT = "AZURE_CLIENT_ID"
_SECRET = "AZURE_CLIENT_SECRET"  # noqa: S105 - the name of a variable
_CERTIFICATE = "AZURE_CLIENT_CERTIFICATE_PATH"
_TOKEN_FILE = "AZURE_FEDERATED_TOKEN_FILE"  # noqa: S105 - the name of a variable

_CHOICES = {
    name.lower(): name
    for name in (
        "dev",
        "prod",
        "EnvironmentCredential",
        "WorkloadIdentityCredential",
        "ManagedIdentityCredential",
        "VisualStudioCodeCredential",
        "AzureCliCredential",
        "AzureDeveloperCliCredential",
        "AzurePowerShellCredential",
    )
}
"""The names that the asynchronous ``DefaultAzureCredential`` accepts, by name in lower case."""

_INTERACTIVE = ("interactivebrowsercredential", "brokercredential", "devicecodecredential")
"""Credentials of azure-identity without an asynchronous form."""

_TENANT_FORM = re.compile(r"[A-Za-z0-9.-]+")


PROCESS_TIMEOUT = 60
"""Seconds in which the Azure CLI or PowerShell must return a token. The default of azure-identity,
10 seconds, is too short on a busy machine (azure-cli#20404)."""


def check_sign_in(environment: Mapping[str, str], is_file: Callable[[str], bool]) -> None:
    """Check the variables for an account without keys.

    Args:
        environment: the environment variables.
        is_file: whether a path is a file that can be read.

    Raises:
        SignInError: a variable is wrong, or a part of a credential is missing.
    """
    problems = tuple(_problems(environment, is_file))
    if problems:
        raise SignInError(*problems)


def is_readable_file(path: str) -> bool:
    """Whether a path is a file that can be read."""
    try:
        with Path(path).open("rb"):
            return True
    except OSError:
        return False


def create_credential(cloud: AzureCloud) -> AsyncTokenCredential:
    """The asynchronous ``DefaultAzureCredential`` of a cloud.

    Raises:
        SignInError: azure-identity does not accept a setting, such as a certificate.
    """
    # Imported only without keys: it takes as long as all the other imports together.
    from azure.identity.aio import DefaultAzureCredential  # noqa: PLC0415

    try:
        return DefaultAzureCredential(authority=cloud.authority, process_timeout=PROCESS_TIMEOUT)
    except (ValueError, TypeError, OSError) as error:
        # The text may quote a setting, so it is not the cause of the exception.
        raise refused_settings(error) from None


def refused_settings(error: Exception) -> SignInError:
    """The error for settings that azure-identity does not accept."""
    return SignInError(
        Diagnostic(
            CODE,
            "azure-identity does not accept the sign-in settings",
            detail=redact(f"{type(error).__name__}: {error}"),
            fix=f"Check {_CLIENT}, {_TENANT}, {_CERTIFICATE} and the password of the certificate.",
        )
    )


def _problems(
    environment: Mapping[str, str], is_file: Callable[[str], bool]
) -> Iterator[Diagnostic]:
    yield from _choice(environment.get(_CHOICE, ""))
    yield from _authority(environment.get(_AUTHORITY))
    if (tenant := environment.get(_TENANT)) is not None and not _TENANT_FORM.fullmatch(tenant):
        yield _problem(
            f"{_TENANT} is not the id or the domain of a tenant: {tenant!r}",
            "Set it to `az account show --query tenantId --output tsv`",
        )
    if _SECRET in environment:
        yield from _parts(environment, _SECRET, (_CLIENT, _TENANT))
    elif _CERTIFICATE in environment:
        yield from _parts(environment, _CERTIFICATE, (_CLIENT, _TENANT))
        yield from _file(environment[_CERTIFICATE], _CERTIFICATE, is_file)
    if _TOKEN_FILE in environment:
        yield from _parts(environment, _TOKEN_FILE, (_CLIENT, _TENANT))
        yield from _file(environment[_TOKEN_FILE], _TOKEN_FILE, is_file)


def _choice(value: str) -> Iterator[Diagnostic]:
    name = value.strip().lower()
    if not name or name in _CHOICES:
        return
    if name in _INTERACTIVE:
        yield _problem(
            f"{_CHOICE} names a credential that batchspec cannot use: {value!r}",
            "Run `az login`, and set it to AzureCliCredential or unset it",
            "It is interactive, and azure-identity has it only for synchronous programs.",
        )
        return
    near = nearest(name, _CHOICES)
    yield _problem(
        f"{_CHOICE} names no credential: {value!r}",
        f"Did you mean {_CHOICES[near]}?" if near is not None else "Unset it, or use one of these",
        "Allowed: " + ", ".join(_CHOICES.values()),
    )


def _authority(value: str | None) -> Iterator[Diagnostic]:
    if value is None:
        return
    parts = urlsplit(value if "://" in value else f"https://{value}")
    if parts.scheme != "https" or not parts.hostname or " " in value.strip():
        yield _problem(
            f"{_AUTHORITY} is not a host or an https URL: {value!r}",
            "Unset it, or use a host such as login.microsoftonline.com",
        )


def _parts(
    environment: Mapping[str, str], given: str, others: tuple[str, ...]
) -> Iterator[Diagnostic]:
    """The parts of a credential: all of them must have a value."""
    for name in (given, *others):
        if not environment.get(name, "").strip():
            state = "is empty" if name in environment else "is not set"
            reason = "" if name == given else f", which {given} requires"
            yield _problem(f"{name} {state}{reason}", f"Set {name}, or unset {given}")


def _file(path: str, name: str, is_file: Callable[[str], bool]) -> Iterator[Diagnostic]:
    if path.strip() and not is_file(path):
        yield _problem(
            f"{name} names a file that cannot be read: {path}", f"Fix the path, or unset {name}"
        )


def _problem(summary: str, fix: str, detail: str = "") -> Diagnostic:
    return Diagnostic(CODE, summary, detail, fix=fix)
