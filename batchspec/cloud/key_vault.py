"""Values of secrets in Azure Key Vault.

Each secret is read by one GET (REST: "Get Secret", api-version 7.4) with a token of the identity
that is signed in. Only hosts of Key Vault get the token. A vault on the loopback interface is an
emulator and gets no token. Requests are synchronous, because specs are read synchronously.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from azure.core.exceptions import AzureError, ClientAuthenticationError
from azure.core.pipeline import Pipeline
from azure.core.pipeline.policies import BearerTokenCredentialPolicy, HeadersPolicy, RetryPolicy
from azure.core.pipeline.transport import HttpTransport, RequestsTransport
from azure.core.rest import HttpRequest

from batchspec.cloud.account import CLOUDS, is_loopback
from batchspec.cloud.sign_in import (
    PROCESS_TIMEOUT,
    check_sign_in,
    is_readable_file,
    refused_settings,
)
from batchspec.diagnostics import Diagnostic, Secret, ServiceError, redact

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential

_API_VERSION = "7.4"
_ROLE = "Key Vault Secrets User"
_AUTHORITIES = {cloud.vaults: cloud.authority for cloud in CLOUDS.values()}
"""The hosts for sign-in by the DNS suffix of a vault; in the public cloud, that of the SDK."""

_CONNECT, _READ = 10.0, 10.0
"""Timeouts in seconds. If a vault does not respond, the command ends in less than a minute."""

_RETRIES = 3
_LONGEST_PAUSE = 30.0
"""The longest pause in seconds before a repetition, even if a vault or a proxy requests more."""

_EMULATOR_TOKEN = "Bearer emulator"  # noqa: S105 - emulators accept every token
_TENANT = re.compile(r'authorization(?:_uri)?="https://[^/"]+/([A-Za-z0-9.-]+)"')


def read_secrets(
    references: Mapping[str, str],
    environ: Mapping[str, str],
    *,
    credential: Callable[[str | None], TokenCredential] | None = None,
    transport: Callable[[], HttpTransport[Any, Any]] | None = None,
) -> dict[str, Secret]:
    """The values of secrets by the names of their parameters.

    Args:
        references: the URL of each secret, ``https://VAULT.vault.azure.net/secrets/NAME[/VERSION]``
            or in another cloud.
        environ: the environment variables with the settings of the sign-in.
        credential: signs in at the host of a cloud; by default ``DefaultAzureCredential``.
        transport: sends requests, by default over the network.

    Raises:
        SignInError: settings of the sign-in are wrong.
        ServiceError: the sign-in failed, or a vault refused a value or does not answer.
    """
    # One sign-in for all secrets of a cloud.
    sign_in = cache(credential or (lambda authority: _credential(authority, environ)))
    return {
        name: _read(name, url.rstrip("/"), sign_in, transport) for name, url in references.items()
    }


def _read(
    name: str,
    url: str,
    sign_in: Callable[[str | None], TokenCredential],
    transport: Callable[[], HttpTransport[Any, Any]] | None,
) -> Secret:
    policies: list[Any] = [_BoundedRetries(retry_total=_RETRIES, retry_backoff_factor=0.5)]
    if is_loopback(url):
        policies.append(HeadersPolicy({"Authorization": _EMULATOR_TOKEN}))
    else:
        suffix = (urlsplit(url).hostname or "").partition(".")[2]
        credential = sign_in(_AUTHORITIES.get(suffix))
        policies.append(BearerTokenCredentialPolicy(credential, f"https://{suffix}/.default"))
    sender = transport() if transport is not None else _transport(proxy=not is_loopback(url))
    request = HttpRequest("GET", url, params={"api-version": _API_VERSION})
    try:
        with Pipeline(sender, policies) as pipeline:
            response = pipeline.run(request).http_response
    except ClientAuthenticationError as error:
        raise _not_signed_in(name, url, str(error.message or error)) from None
    except AzureError as error:
        raise _unreachable(name, url, str(error)) from None
    if response.status_code != 200:
        raise _refused(name, url, response)
    value = _json(response).get("value")
    if not isinstance(value, str):
        raise _unreachable(name, url, "the response has no value")
    return Secret(value)


class _BoundedRetries(RetryPolicy[Any, Any]):
    """Limits the waits of the SDK's policy, which may be days, and ignores invalid headers."""

    def get_retry_after(self, response: Any) -> float | None:
        """The wait in seconds that a response requests; ``None``: the policy decides."""
        try:
            after = super().get_retry_after(response)
        except (ValueError, OverflowError):
            return None
        return None if after is None else min(after, _LONGEST_PAUSE)


def _transport(*, proxy: bool) -> HttpTransport[Any, Any]:
    """Sends requests, with the ``proxy`` and the CA certificates that the environment names."""
    sender: HttpTransport[Any, Any] = RequestsTransport(
        connection_timeout=_CONNECT, read_timeout=_READ, use_env_settings=proxy
    )
    return sender


def _credential(authority: str | None, environ: Mapping[str, str]) -> TokenCredential:
    check_sign_in(environ, is_readable_file)
    # The SDK logs the message of its exception, which is in the error, too.
    logging.getLogger("azure").setLevel(logging.CRITICAL + 1)
    from azure.identity import DefaultAzureCredential  # noqa: PLC0415 - not for an emulator

    try:
        return DefaultAzureCredential(authority=authority, process_timeout=PROCESS_TIMEOUT)
    except (ValueError, TypeError, OSError) as error:
        raise refused_settings(error) from None


def _json(response: Any) -> Mapping[str, Any]:
    try:
        found = response.json()
    except ValueError:
        return {}
    return found if isinstance(found, Mapping) else {}


def _refused(name: str, url: str, response: Any) -> ServiceError:
    """The error for a response without the value, with the code and message of the service."""
    error = _json(response).get("error")
    error = error if isinstance(error, Mapping) else {}
    inner = error.get("innererror") or error.get("innerError")
    reason = str((inner if isinstance(inner, Mapping) else {}).get("code") or "")
    code, message = str(error.get("code") or ""), str(error.get("message") or "")
    status = response.status_code
    shown = f"{status} {reason or code}".rstrip() + (f": {message}" if message else "")
    if status == 401:
        tenant = _TENANT.search(response.headers.get("WWW-Authenticate") or "")
        return _not_signed_in(name, url, shown, tenant[1] if tenant else "")
    if reason == "SecretDisabled":
        return _error(
            "key-vault-secret",
            f"the secret of `{name}` is disabled",
            url,
            shown,
            "Enable it: `az keyvault secret set-attributes --enabled true --id "
            f"{url}`, or use another version",
        )
    if reason in {"ForbiddenByFirewall", "ForbiddenByConnection"}:
        return _error(
            "key-vault-denied",
            f"the network settings of the key vault deny access to the secret of `{name}`",
            url,
            shown,
            "Run the command from a network that the vault allows, or add the address of this "
            "machine to its firewall",
        )
    if status == 403:
        return _error(
            "key-vault-denied",
            f"your identity cannot read the secret of `{name}`",
            url,
            shown,
            f"Assign the role '{_ROLE}' on the key vault to your identity (in a vault with access "
            "policies, the secret permission Get); a new assignment takes up to 10 minutes",
        )
    if status == 404:
        vault, secret = (urlsplit(url).hostname or "").partition(".")[0], url.split("/")[4]
        return _error(
            "key-vault-secret",
            f"the secret of `{name}` does not exist",
            url,
            shown,
            "Check the name and the version; if it was deleted, recover it: "
            f"`az keyvault secret recover --vault-name {vault} --name {secret}`",
        )
    return _unreachable(name, url, shown)


def _not_signed_in(name: str, url: str, detail: str, tenant: str = "") -> ServiceError:
    login = f"az login --tenant {tenant}" if tenant else "az login"
    return _error(
        "key-vault-sign-in",
        f"the secret of `{name}` cannot be read without a sign-in that its key vault accepts",
        url,
        detail,
        f"Run `{login}` with an identity that has the role '{_ROLE}' on the key vault",
    )


def _unreachable(name: str, url: str, detail: str) -> ServiceError:
    return _error(
        "key-vault-unreachable",
        f"the key vault with the secret of `{name}` does not answer",
        url,
        detail,
        "Check the name of the vault and the network (DNS, firewall, proxy), and run the command "
        "again",
    )


def _error(code: str, summary: str, url: str, detail: str, fix: str) -> ServiceError:
    text = redact(f"{url}\n{detail.strip()}")
    return ServiceError(Diagnostic(code, summary, text, fix=fix), code=code)
