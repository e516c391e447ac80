"""User accounts of nodes: what is stored of a password and a public key, and who may sign in.

A password is stored as a hash with its own salt. A user without password and without key cannot
sign in.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from batchspec.local.model import Node, Wire
from batchspec.local.wire import read_time

USERS = "users"
"""The entry of a node's detail with its accounts by name."""
_SALT = 16
_COST: Mapping[str, int] = {"n": 1 << 14, "r": 8, "p": 1, "dklen": 32}
_NO_PASSWORD = "00" * _SALT + ":" + "00" * 32


@dataclass(frozen=True, slots=True)
class NodeUser:
    """An account of a node until it ``expires``.

    ``password`` is a salted hash, ``public_key`` the text of the request; ``None`` if the account
    has none.
    """

    expires: datetime
    password: str | None = None
    public_key: str | None = None

    def has_password(self, password: str) -> bool:
        """Whether ``password`` is that of the account; takes about 50 ms."""
        return self.password is not None and _is_hash_of(self.password, password)

    def has_key(self, blob: bytes) -> bool:
        """Whether ``blob``, a public key in the encoding of SSH, is that of the account."""
        own = None if self.public_key is None else read_public_key(self.public_key)
        return own is not None and hmac.compare_digest(own, blob)


def hash_password(password: str) -> str | None:
    """What is stored of ``password``; ``None`` for an empty one, with which no user signs in."""
    if not password:
        return None
    salt = os.urandom(_SALT)
    return f"{salt.hex()}:{hashlib.scrypt(password.encode(), salt=salt, **_COST).hex()}"


def refuse_password(password: str) -> None:
    """Take as long as :meth:`NodeUser.has_password`, so that names of users cannot be guessed."""
    _is_hash_of(_NO_PASSWORD, password)


def _is_hash_of(stored: str, password: str) -> bool:
    salt, _, digest = stored.partition(":")
    try:
        given = hashlib.scrypt(password.encode(), salt=bytes.fromhex(salt), **_COST)
    except UnicodeEncodeError:  # a lone surrogate, which no request can contain
        return False
    return hmac.compare_digest(bytes.fromhex(digest), given)


def read_public_key(text: str) -> bytes | None:
    """The key in a line of OpenSSH (``ssh-ed25519 AAAA... comment``), or in such a line in base64.

    The reference requires "OpenSSH encoding" and "base 64 encoded"; clients send either.

    Returns:
        The key in the encoding of SSH; ``None`` if the text contains none.
    """
    fields = text.split()
    if not fields:
        return None
    try:
        decoded = base64.b64decode(fields[1] if len(fields) > 1 else fields[0], validate=True)
    except (binascii.Error, ValueError):
        return None
    if decoded.startswith(b"\0\0\0"):  # the length of the name of the algorithm
        return decoded
    line = decoded.decode(errors="replace").split()
    return read_public_key(" ".join(line)) if len(fields) == 1 and len(line) > 1 else None


def users_of(node: Node, now: datetime) -> dict[str, Wire]:
    """The stored accounts of a node that have not expired, by name."""
    kept: Mapping[str, Any] = node.detail.get(USERS, {})
    found = {name: _stored(user) for name, user in kept.items()}
    return {name: user for name, user in found.items() if read_time(user["expires"]) > now}


def read_user(stored: Wire) -> NodeUser:
    """An account, as :func:`users_of` returns it."""
    return NodeUser(read_time(stored["expires"]), stored.get("password"), stored.get("public_key"))


def _stored(user: Any) -> dict[str, Any]:
    """An account; earlier versions stored only its expiry time."""
    return {"expires": user} if isinstance(user, str) else user
