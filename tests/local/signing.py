"""The Shared Key signature according to the documentation, independent of the service's code."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from urllib.parse import parse_qsl

_NAMES = (
    "content-encoding",
    "content-language",
    "content-length",
    "content-md5",
    "content-type",
    "date",
    "if-modified-since",
    "if-match",
    "if-none-match",
    "if-unmodified-since",
    "range",
)


def authorization(
    method: str, path: str, query: str, headers: Mapping[str, str], account: str, key: str
) -> str:
    """The ``Authorization`` header of a request; ``headers`` have lower-case names."""
    lines = [method, *(headers.get(name, "") for name in _NAMES)]
    lines += [f"{name}:{headers[name]}" for name in sorted(headers) if name.startswith("ocp-")]
    resource = f"/{account}{path}"
    for name, value in sorted(dict(reversed(parse_qsl(query))).items()):
        resource += f"\n{name}:{value}"
    text = "\n".join([*lines, resource])
    mac = hmac.new(base64.b64decode(key), text.encode(), hashlib.sha256).digest()
    return f"SharedKey {account}:{base64.b64encode(mac).decode()}"
