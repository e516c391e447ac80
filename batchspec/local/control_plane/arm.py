"""The protocol of Azure Resource Manager: scopes, api-versions, the access token, errors.

Errors of the Batch provider have ``target``, ``RequestId`` and ``Time``, as recorded; errors of
Resource Manager itself do not. The service checks no token of Microsoft Entra ID: requests carry
the token of the data folder, which other users of the machine cannot read.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from batchspec.local.settings import REGION, RESOURCE_GROUP, SUBSCRIPTION
from batchspec.local.wire import Fault, Reply, stamped_message

PROVIDER = "Microsoft.Batch"
NEWEST_API_VERSION = "2025-06-01"
"""The version of all replies, and of azure-mgmt-batch 19."""
API_VERSIONS = ("2024-02-01", "2024-07-01", NEWEST_API_VERSION)

JSON_TYPE = "application/json; charset=utf-8"


class ArmError(Exception):
    """An error of Resource Manager itself, or with ``target`` an error of the Batch provider.

    ``details`` are pairs of code and message.
    """

    def __init__(
        self, status: int, code: str, message: str, *details: tuple[str, str], target: str = ""
    ) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.message = message
        self.details = details
        self.target = target


def batch_error(status: int, code: str, message: str, *details: tuple[str, str]) -> ArmError:
    """An error of the Batch provider that the data plane does not have."""
    return ArmError(status, code, message, *details, target="BatchAccount")


def is_control_plane(path: str) -> bool:
    """Whether a request with this path (as sent) is for Resource Manager."""
    first = path.lstrip("/").partition("/")[0].lower()
    return first in {"subscriptions", "providers"}


def check_token(headers: Mapping[str, str], token: str) -> None:
    """Check that a request has ``token``, which must not be empty, as its bearer token.

    Raises:
        ArmError: 401; the message contains no token.
    """
    header = headers.get("authorization")
    if not header:
        raise ArmError(
            401,
            "AuthenticationFailed",
            "Authentication failed. The 'Authorization' header is missing.",
        )
    if not is_bearer(header, token):
        raise ArmError(
            401,
            "InvalidAuthenticationToken",
            "The access token is invalid. Send the header 'Authorization: Bearer TOKEN' with the "
            "content of the file 'token' in the data folder: batchspec local status",
        )


def is_bearer(authorization: str, token: str) -> bool:
    """Whether an ``Authorization`` header carries ``token``, which must not be empty."""
    scheme, _, given = authorization.partition(" ")
    equal = hmac.compare_digest(given.strip().encode(), token.encode())
    return bool(token) and equal and scheme.lower() == "bearer"


def check_api_version(query: Mapping[str, str], kind: str) -> None:
    """Check the ``api-version`` of a request for a resource type such as ``batchAccounts``.

    Raises:
        ArmError: it is missing or not supported.
    """
    version = query.get("api-version")
    if not version:
        raise ArmError(
            400,
            "MissingApiVersionParameter",
            "The api-version query parameter (?api-version=) is required for all requests.",
        )
    if version not in API_VERSIONS:
        raise ArmError(
            400,
            "NoRegisteredProviderFound",
            f"No registered resource provider found for location '{REGION}' and API version "
            f"'{version[:64]}' for type '{kind}'. The supported api-versions are "
            f"'{', '.join(API_VERSIONS)}'.",
        )


def check_scope(parameters: Mapping[str, str], account: str) -> None:
    """Check the subscription, resource group, region and account in the path of a request.

    Raises:
        ArmError: one of them does not exist.
    """
    subscription = parameters.get("subscriptionId", SUBSCRIPTION)
    if subscription.lower() != SUBSCRIPTION:
        raise ArmError(
            404, "SubscriptionNotFound", f"The subscription '{subscription}' could not be found."
        )
    group = parameters.get("resourceGroupName", RESOURCE_GROUP)
    if group.lower() != RESOURCE_GROUP:
        raise ArmError(
            404, "ResourceGroupNotFound", f"Resource group '{group}' could not be found."
        )
    region = parameters.get("locationName", REGION)
    if region.lower() != REGION:
        raise ArmError(
            400,
            "NoRegisteredProviderFound",
            f"No registered resource provider found for location '{region}'. This service has the "
            f"location '{REGION}'.",
        )
    name = parameters.get("accountName", account)
    if name.lower() != account.lower():
        raise ArmError(
            404,
            "ResourceNotFound",
            f"The Resource '{PROVIDER}/batchAccounts/{name}' under resource group "
            f"'{RESOURCE_GROUP}' was not found. For more details please go to "
            "https://aka.ms/ARMResourceNotFoundFix",
        )


def account_id(account: str) -> str:
    """The resource id of the account."""
    return resource_id(PROVIDER, "batchAccounts", account)


def resource_id(provider: str, kind: str, name: str) -> str:
    """The resource id of a resource in the resource group of the service."""
    group = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{RESOURCE_GROUP}"
    return f"{group}/providers/{provider}/{kind}/{name}"


def error_reply(error: ArmError | Fault, request_id: str, now: datetime) -> Reply:
    """The reply for an error, in the form of Resource Manager."""
    if isinstance(error, Fault):
        message, details, target = error.sentence, error.values, "BatchAccount"
    else:
        message, details, target = error.message, error.details, error.target
    if target:
        message = stamped_message(message, request_id, now)
    headers = {"WWW-Authenticate": "Bearer"} if error.status == 401 else {}
    body: dict[str, Any] = {"code": error.code, "message": message}
    if target:
        body["target"] = target
    if details:
        body["details"] = [{"code": code, "message": text} for code, text in details]
    return Reply(error.status, {"error": body}, headers=headers)


def write_json(reply: Reply) -> bytes:
    """The bytes of the body of a reply."""
    if reply.body is None:
        return b""
    text = json.dumps(reply.body, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "replace")


def reply_headers(reply: Reply, request_id: str) -> dict[str, str]:
    """The headers of a reply except ``Date`` and ``Content-Length``."""
    headers = {"x-ms-request-id": request_id, "x-ms-correlation-request-id": request_id}
    if reply.body is not None:
        headers["Content-Type"] = JSON_TYPE
    return {**headers, "Cache-Control": "no-cache", **reply.headers}
