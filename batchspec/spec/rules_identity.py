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
    ids = pool.get("identity", "ids") if pool is not None else None
    attached = ids.items if ids is not None else ()
    for node in (*([storage] if storage is not None else []), *attached):
        yield from _resource_id(node)
    if pool is None or pool.wrong or pool.get("existing") is not None:
        return  # the account knows the identities of an existing pool
    used = [storage] if storage is not None else []
    for part in ("pool", "job", "tasks"):
        if (section := root.get(part)) is not None:
            used += _references(section)
    if pool.get("lifetime") is not None:
        yield from _of_auto_pool(pool, used)
    elif pool.get("identity") is None:
        for node in used:
            yield _no_identity(node, "the nodes of this pool have no managed identity", _ADD)
    else:
        yield from _not_attached(used, attached)


_ADD = "Add `identity: {ids: [ID]}` to the pool"


def _of_auto_pool(pool: Node, used: list[Node]) -> Iterator[Diagnostic]:
    """Identities of an auto pool: neither of its APIs attaches one (azure-sdk-for-net#54583)."""
    identity = pool.get("identity")
    for node in (*([identity] if identity is not None else []), *used):
        yield _no_identity(
            node,
            "the nodes of an auto pool cannot have a managed identity",
            "Remove `lifetime`, and write `cleanup: {pool: always}` to delete the pool after the"
            " run",
        )


def _no_identity(node: Node, summary: str, fix: str) -> Diagnostic:
    return Diagnostic("no-identity", summary, where=node.name, fix=f"{fix}; or remove this key.")


def _not_attached(used: list[Node], attached: tuple[Node, ...]) -> Iterator[Diagnostic]:
    """Identities that tasks use and the pool does not have. Resource ids have no case."""
    known = {str(node.value).lower() for node in attached}
    if any(node.wrong for node in attached):
        return
    for node in used:
        named = node.get("resource_id") or node
        if named.text and not named.template and named.text.lower() not in known:
            yield Diagnostic(
                "no-identity",
                "the pool does not have this managed identity",
                where=named.where,
                fix="Add it to `pool.identity.ids`.",
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
