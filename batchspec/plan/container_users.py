"""Which specs use a container: metadata of the container, kept by ``apply`` and ``destroy``.

A container that several specs use is not deleted by one of them.
"""

from __future__ import annotations

from collections.abc import Mapping

OWNER = "batchspec_spec"
"""The metadata name of the spec that created a container (names are C# identifiers there)."""
USERS = "batchspec_users"
"""The metadata name of all specs that use it: their names, separated by commas."""


def created_by(name: str) -> Mapping[str, str]:
    """The metadata of a container that a spec creates."""
    return {OWNER: name, USERS: _text((name,))}


def users(metadata: Mapping[str, str]) -> tuple[str, ...]:
    """The names of the specs that use a container; without a record of them, of its creator."""
    if USERS in metadata:
        return tuple(name for name in metadata[USERS].split(",") if name)
    return (metadata[OWNER],) if metadata.get(OWNER) else ()


def others(metadata: Mapping[str, str], name: str) -> tuple[str, ...]:
    """The names of the other specs that use it."""
    return tuple(user for user in users(metadata) if user != name)


def may_delete(metadata: Mapping[str, str], name: str) -> bool:
    """Whether a spec created the container, and no other spec uses it than the one of that name."""
    return OWNER in metadata and users(metadata) == (name,)


def with_user(metadata: Mapping[str, str], name: str) -> Mapping[str, str] | None:
    """The metadata with one more user; ``None`` if they need no change.

    A container that no spec created is never deleted, so that nothing is recorded there.
    """
    if OWNER not in metadata or name in users(metadata):
        return None
    return {**metadata, USERS: _text((*users(metadata), name))}


def without_user(metadata: Mapping[str, str], name: str) -> Mapping[str, str] | None:
    """The metadata without a user; ``None`` if they need no change."""
    if name not in users(metadata):
        return None
    return {**metadata, USERS: _text(others(metadata, name))}


def _text(names: tuple[str, ...]) -> str:
    # The service refuses an empty value.
    return ",".join(names) or ","
