"""The variables that other Batch and Storage clients read, in the forms that shells read."""

from __future__ import annotations

import json
import shlex
from typing import Literal

from batchspec.local.daemon.endpoints import Endpoints

Format = Literal["sh", "powershell", "dotenv", "json"]


def variables(endpoints: Endpoints) -> dict[str, str]:
    """The environment of a client, with the names that the Azure CLI and the SDKs read."""
    return {
        "AZURE_BATCH_ACCOUNT": endpoints.batch_account,
        "AZURE_BATCH_ENDPOINT": endpoints.batch_url,
        "AZURE_BATCH_ACCESS_KEY": endpoints.batch_key,
        "AZURE_STORAGE_ACCOUNT": endpoints.blob_account,
        "AZURE_STORAGE_KEY": endpoints.blob_key,
        "AZURE_STORAGE_CONNECTION_STRING": endpoints.connection_string,
    }


def env(endpoints: Endpoints, format: Format) -> str:  # noqa: A002  the option's name
    """:func:`variables` as text that ``format`` reads, one variable a line. Holds the keys."""
    pairs = variables(endpoints)
    match format:
        case "sh":
            lines = [f"export {name}={shlex.quote(value)}" for name, value in pairs.items()]
        case "powershell":
            lines = [
                f"$env:{name} = '{value.replace(chr(39), chr(39) * 2)}'"
                for name, value in pairs.items()
            ]
        case "dotenv":
            # Quoted, since a connection string has semicolons; nothing in it needs an escape.
            lines = [f'{name}="{value}"' for name, value in pairs.items()]
        case "json":
            lines = [json.dumps(pairs, indent=2)]
    return "\n".join(lines) + "\n"
