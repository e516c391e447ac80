"""Managed identities of pools, and bodies in which nodes use one instead of signatures.

Only Azure Resource Manager attaches identities, so it creates, changes and deletes such pools.
"""

from __future__ import annotations

from dataclasses import replace

from batchspec.plan.observed import PoolFacts
from batchspec.spec import BlobUrl, Quoted, Record, Spec, Text, Value

_URLS = ("httpUrl", "storageContainerUrl", "containerUrl")
"""The URLs in ``ResourceFile`` and ``OutputFileBlobContainerDestination``."""
_REGISTRIES = (".azurecr.io", ".azurecr.cn", ".azurecr.us")
"""A registry uses an identity only in Azure Container Registry (``ContainerRegistryReference``)."""
_REFERENCE = "identityReference"


def authorized(body: Record, identity: str) -> Record:
    """The body with ``identity`` (a resource id) for blobs of the account and for registries.

    Its URLs have no permissions, so they are not signed. An ``identityReference`` and a user name
    of a registry do not change. Without an ``identity`` the body is unchanged.
    """
    return _of_record(body, Record(resourceId=identity)) if identity else body


def _of_record(given: Record, identity: Record) -> Record:
    found = {key: _of_value(value, identity) for key, value in given.items()}
    if _REFERENCE not in found and _needs_identity(given):
        found[_REFERENCE] = identity
    return Record(found)


def _of_value(value: Value, identity: Record) -> Value:
    match value:
        case Record():
            return _of_record(value, identity)
        case tuple():
            return tuple(_of_value(item, identity) for item in value)
        case BlobUrl():
            return replace(value, permissions="")
        case Text():
            return unsigned(value)
    return value


def identities(pool: Record) -> tuple[str, ...]:
    """The resource ids of the managed identities of a pool, from the body of Get Pool."""
    assigned = pool.records("identity", "userAssignedIdentities")
    return tuple(str(each["resourceId"]) for each in assigned)


def caseless_identity(pool: Record) -> Record:
    """The properties of a pool for a digest: resource ids are not case-sensitive."""
    identity = pool.record("identity")
    if not identity:
        return pool
    ids = tuple(Record(resourceId=name.lower()) for name in identities(pool))
    return pool.with_(identity=identity.with_(userAssignedIdentities=ids))


def has_identity(pool: PoolFacts) -> bool:
    """Whether a pool has a managed identity, so that Resource Manager changes and deletes it."""
    return bool(identities(pool.properties))


def uses_control_plane(spec: Spec, pool: PoolFacts | None) -> bool:
    """Whether Resource Manager deletes the pool of a spec at the end of a run."""
    return "identity" in spec.pool.properties or (pool is not None and has_identity(pool))


def unsigned(text: Text) -> Text:
    """The text with the URLs of blobs and containers without a signature."""
    return Text(
        tuple(
            replace(piece, permissions="")
            if isinstance(piece, BlobUrl)
            else replace(piece, inner=unsigned(piece.inner))
            if isinstance(piece, Quoted)
            else piece
            for piece in text.pieces
        )
    )


def _needs_identity(given: Record) -> bool:
    """Whether an object names a blob or container of the account, or a registry of Azure."""
    if any(_is_of_account(given.get(key)) for key in _URLS):
        return True
    server = given.get("registryServer")
    return (
        isinstance(server, str)
        and server.lower().endswith(_REGISTRIES)
        and given.get("username") is None
    )


def _is_of_account(url: Value) -> bool:
    first = url.pieces[0] if isinstance(url, Text) and url.pieces else url
    return isinstance(first, BlobUrl)
