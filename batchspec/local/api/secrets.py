"""What the service is told and never tells.

Recorded: a pool's user accounts come back without their passwords, which are not masked but left
out. Every other secret in the settings of a resource is treated so too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_SECRETS = frozenset({"password", "sshPrivateKey"})


def without_secrets(settings: Mapping[str, Any]) -> dict[str, Any]:
    """``settings``, in wire form, without the properties that hold a secret, however deep."""
    return {name: _without(value) for name, value in settings.items() if name not in _SECRETS}


def _without(value: Any) -> Any:
    if isinstance(value, Mapping):
        return without_secrets(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_without(item) for item in value]
    return value
