"""Rules of managed identities: the form of their ids, and which nodes have them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from batchspec.diagnostics import Diagnostic
from batchspec.spec.yaml_tree import Node

_RESOURCE_ID = re.compile(
    r"/subscriptions/[^/\s]+/resourceGroups/[^/\s]+/providers/Microsoft\.ManagedIdentity"
    r"/userAssignedIdentities/[^/\s]+",
    re.IGNORECASE,
)
"""Resource ids are compared without case (Azure Resource Manager)."""
_SHOW_ID = "az identity show --resource-group GROUP --name NAME --query id --output tsv"


def identity_rules(root: Node) -> Iterator[Diagnostic]:
    """Ids that are no identities, and uses of identities that the nodes do not have."""
    pool, storage = root.get("pool"), root.get("storage", "identity")
    if storage is not None:
        yield from _resource_id(storage)
    if pool is None or pool.wrong or pool.get("existing") is not None:
        return  # the account knows the identities of an existing pool
    used = [storage] if storage is not None else []
    for part in ("pool", "job", "tasks"):
        if (node := root.get(part)) is not None:
            used += _references(node)
    for node in used:
        yield Diagnostic(
            "no-identity",
            "the nodes of this pool have no managed identity",
            detail="Only Azure's control plane can create a pool with an identity.",
            where=node.name,
            fix="Create the pool there, and use `pool: {existing: ID}`; or remove"
            f" `{'storage' if node is storage else 'identity_reference'}`.",
        )


def _references(node: Node) -> Iterator[Node]:
    for key, member in node.members.items():
        if key == "identity_reference":
            yield member
        yield from _references(member)
    for item in node.items:
        yield from _references(item)


def _resource_id(node: Node) -> Iterator[Diagnostic]:
    if node.wrong or node.template or _RESOURCE_ID.fullmatch(node.text or ""):
        return
    yield Diagnostic(
        "bad-format",
        "this is not the resource id of a user-assigned managed identity",
        "It has the form /subscriptions/SUBSCRIPTION/resourceGroups/GROUP/providers/"
        "Microsoft.ManagedIdentity/userAssignedIdentities/NAME.",
        node.where,
        f"Use the output of `{_SHOW_ID}`.",
    )
