"""Stable digests: the same content gives the same digest on every machine, at any time.

Signatures, secret values, account names and times of modification are never part of one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

from batchspec.plan.observed import LocalFile
from batchspec.spec import Text, Value, thaw

_LENGTH = 16
"""Hexadecimal digits kept: 64 bits tell the states of one pool or job apart."""


def digest(*values: Value) -> str:
    """A short hexadecimal digest of JSON values, deferred texts by what they say."""
    hasher = hashlib.sha256()
    for value in values:
        plain = thaw(value, Text.identity)
        hasher.update(json.dumps(plain, sort_keys=True, separators=(",", ":")).encode())
        hasher.update(b"\n")
    return hasher.hexdigest()[:_LENGTH]


def content_digest(files: Iterable[LocalFile]) -> str:
    """A digest of files by name and content."""
    hasher = hashlib.sha256()
    for file in files:
        hasher.update(file.blob.encode() + b"\0" + file.md5)
    return hasher.hexdigest()[:_LENGTH]
