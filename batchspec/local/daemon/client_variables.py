"""The environment variables with which clients of Batch and Storage find the service."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import shlex
from datetime import datetime, timedelta
from typing import Literal
from urllib.parse import urlencode

from batchspec.local.daemon.status import Endpoints, connection_string
from batchspec.local.settings import RESOURCE_GROUP, SUBSCRIPTION

Format = Literal["sh", "powershell", "dotenv", "json"]

SAS_LIFETIME = timedelta(days=30)
"""How long the SAS of :func:`variables` is valid, in real time."""

_SAS_VERSION = "2021-12-02"
_ALL_PERMISSIONS = "rwdlacuptf"


def variables(endpoints: Endpoints, now: datetime) -> dict[str, str]:
    """Environment variables for clients, with the names that they read.

    The addresses are those of https, if the service has them. The SAS is valid from ``now`` for
    :data:`SAS_LIFETIME`. Sources of the names: the documentation of the Azure CLI, blobxfer and
    rclone, and the sources of adlfs and of the Rust crate object_store (Polars, Delta Lake).
    """
    https = endpoints.https
    batch_url = https.batch_url if https else endpoints.batch_url
    blob_url = https.blob_url if https else endpoints.blob_url
    name, key = endpoints.blob_account, endpoints.blob_key
    sas_url = f"{blob_url}?{account_sas(endpoints, now + SAS_LIFETIME)}"
    return {
        # The Azure CLI, programs of the Azure SDKs, batchspec
        "AZURE_BATCH_ACCOUNT": endpoints.batch_account,
        "AZURE_BATCH_ENDPOINT": batch_url,
        "AZURE_BATCH_ACCESS_KEY": endpoints.batch_key,
        "AZURE_STORAGE_ACCOUNT": name,
        "AZURE_STORAGE_KEY": key,
        "AZURE_STORAGE_CONNECTION_STRING": connection_string(blob_url, name, key),
        "AZURE_STORAGE_SERVICE_ENDPOINT": blob_url,
        # Programs of the Azure SDK for the control plane
        "AZURE_SUBSCRIPTION_ID": SUBSCRIPTION,
        "AZURE_RESOURCE_GROUP": RESOURCE_GROUP,
        "AZURE_RESOURCE_MANAGER_ENDPOINT": batch_url,
        "BATCHSPEC_LOCAL_TOKEN_FILE": str(endpoints.token_file),
        # azcopy and Storage Explorer, as an argument
        "AZURE_STORAGE_SAS_URL": sas_url,
        # adlfs, object_store
        "AZURE_STORAGE_ACCOUNT_NAME": name,
        "AZURE_STORAGE_ACCOUNT_KEY": key,
        # object_store
        "AZURE_STORAGE_ENDPOINT": blob_url,
        **({} if https else {"AZURE_ALLOW_HTTP": "true"}),
        # rclone: the remote `batchspec:`. With a key, rclone 1.60 accepts no address of this form.
        "RCLONE_CONFIG_BATCHSPEC_TYPE": "azureblob",
        "RCLONE_CONFIG_BATCHSPEC_SAS_URL": sas_url,
        "BLOBXFER_STORAGE_ACCOUNT": name,
        "BLOBXFER_STORAGE_ACCOUNT_KEY": key,
        **(https.trust.variables() if https else {}),
    }


def account_sas(endpoints: Endpoints, expiry: datetime) -> str:
    """The query of an account SAS for all blobs with all permissions, valid until ``expiry``.

    Source of the string to sign: "Create an account SAS", version 2020-12-06 and later.
    """
    end = expiry.strftime("%Y-%m-%dT%H:%M:%SZ")
    signed = [endpoints.blob_account, _ALL_PERMISSIONS, "b", "sco", "", end, "", "", _SAS_VERSION]
    text = "".join(f"{value}\n" for value in [*signed, ""])
    digest = hmac.new(base64.b64decode(endpoints.blob_key), text.encode(), hashlib.sha256).digest()
    fields = {
        "sv": _SAS_VERSION,
        "ss": "b",
        "srt": "sco",
        "sp": _ALL_PERMISSIONS,
        "se": end,
        "sig": base64.b64encode(digest).decode(),
    }
    return urlencode(fields)


def env(endpoints: Endpoints, format: Format, now: datetime) -> str:  # noqa: A002  the option's name
    """:func:`variables` as text in ``format``, one variable per line, including the keys."""
    pairs = variables(endpoints, now)
    match format:
        case "sh":
            lines = [f"export {name}={shlex.quote(value)}" for name, value in pairs.items()]
        case "powershell":
            lines = [
                f"$env:{name} = '{value.replace(chr(39), chr(39) * 2)}'"
                for name, value in pairs.items()
            ]
        case "dotenv":
            # Quoted, since a connection string contains semicolons; no character needs escaping.
            lines = [f'{name}="{value}"' for name, value in pairs.items()]
        case "json":
            lines = [json.dumps(pairs, indent=2)]
    return "\n".join(lines) + "\n"
