"""Shared access signatures (SAS) of the storage account, each as the query of a URL.

Sources of the strings to sign: "Create an account SAS", "Create a service SAS" and "Create a user
delegation SAS", versions 2020-12-06 and later. The import of azure-storage-blob takes half as long
as the import of the whole service; therefore this module does not use it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import datetime
from urllib.parse import urlencode

_VERSION = "2021-12-02"

ZERO_ID = "00000000-0000-0000-0000-000000000000"
"""Tenant and object id of every identity, since the service has no directory."""


def sas_time(moment: datetime) -> str:
    """A time (UTC) in the form of a SAS."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def account_sas(account: str, key: str, permissions: str, types: str, expiry: str) -> str:
    """A SAS for the blobs of ``account``, signed with its ``key`` (base64).

    ``types`` are letters of services (s), containers (c) and objects (o).
    """
    text = [account, permissions, "b", types, "", expiry, "", "", _VERSION, "", ""]
    fields = {"sv": _VERSION, "ss": "b", "srt": types, "sp": permissions, "se": expiry}
    return _signed(fields, base64.b64decode(key), text)


def service_sas(
    key: str, resource: str, kind: str, permissions: str, validity: tuple[str, str]
) -> str:
    """A SAS for one container or blob, signed with the account key.

    Args:
        key: the key of the storage account, in base64.
        resource: ``/blob/ACCOUNT/CONTAINER`` or ``/blob/ACCOUNT/CONTAINER/BLOB``.
        kind: ``c`` for a container, ``b`` for a blob.
        permissions: letters such as ``rl``.
        validity: the start time, which may be empty, and the expiry time.
    """
    start, expiry = validity
    text = [permissions, start, expiry, resource, "", "", "", _VERSION, kind, *[""] * 7]
    fields = {"sv": _VERSION, "sr": kind, "sp": permissions, "st": start, "se": expiry}
    return _signed(
        {name: value for name, value in fields.items() if value}, base64.b64decode(key), text
    )


def delegated_sas(
    key: str, resource: str, kind: str, permissions: str, validity: tuple[str, str]
) -> str:
    """As :func:`service_sas`, signed with a user delegation key that is valid as long as the SAS.

    The key is derived from the seed in the same way as in Azurite (``getUserDelegationKeyValue``).
    """
    start, expiry = validity
    delegation = [ZERO_ID, ZERO_ID, start, expiry, "b", _VERSION]
    derived = _hmac(delegation_seed(key).encode(), delegation)
    text = [permissions, start, expiry, resource, *delegation, *[""] * 5, _VERSION, kind]
    fields = {"sv": _VERSION, "sr": kind, "sp": permissions, "st": start, "se": expiry}
    fields |= dict(zip(("skoid", "sktid", "skt", "ske", "sks", "skv"), delegation, strict=True))
    return _signed(fields, derived, [*text, *[""] * 7])


def delegation_seed(key: str) -> str:
    """The secret from which the storage derives user delegation keys, from its ``key`` (base64)."""
    return _hmac(base64.b64decode(key), ["user delegation keys"]).hex()


def _signed(fields: dict[str, str], key: bytes, text: list[str]) -> str:
    return urlencode({**fields, "sig": base64.b64encode(_hmac(key, text)).decode()})


def _hmac(key: bytes, lines: list[str]) -> bytes:
    return hmac.new(key, "\n".join(lines).encode(), hashlib.sha256).digest()
