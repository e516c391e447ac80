"""Keys that are not in the spec language, but that a user may know from another source.

Properties that older versions of the Batch REST API had, and properties that only Azure's control
plane (Azure Resource Manager) has. Source: the changes between the REST versions 2024-02-01.19.0
and 2025-06-01, and the control plane's API 2024-02-01.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple


class Advice(NamedTuple):
    """Why a key does not exist, and what to write instead. Both are empty for other keys."""

    why: str = ""
    fix: str = ""


_REMOVED = "The REST API removed it in version 2025-06-01"
_SIMPLIFIED = Advice(f"{_REMOVED}: all nodes use simplified communication.", "Remove the key.")
_CERTIFICATES = Advice(
    f"{_REMOVED}.",
    "Install certificates with the Key Vault extension"
    " (`virtual_machine_configuration.extensions`).",
)
_IDENTITY = Advice(
    "Only Azure's control plane can give a pool an identity.",
    "Create the pool there, and use `pool: {existing: ID}`.",
)
_TAGS = Advice(
    "Only Azure's control plane sets tags.",
    "Use `metadata`, or create the pool there and use `pool: {existing: ID}`.",
)
_OTHER_NAME = "This is its name in Azure's control plane."

_POOL: Mapping[str, Advice] = {
    "target_node_communication_mode": _SIMPLIFIED,
    "current_node_communication_mode": _SIMPLIFIED,
    "certificate_references": _CERTIFICATES,
    "certificates": _CERTIFICATES,
    "cloud_service_configuration": Advice(
        f"{_REMOVED}, with the pools of Cloud Services.",
        "Use `image` or `virtual_machine_configuration`.",
    ),
    "application_licenses": Advice(
        f"{_REMOVED}.", "Install the application with a license of your own."
    ),
    "max_tasks_per_node": Advice(
        "The REST API renamed it in version 2020-09-01.", "Use `task_slots_per_node`."
    ),
    "identity": _IDENTITY,
    "resource_tags": _TAGS,
    "tags": _TAGS,
    "scale_settings": Advice(_OTHER_NAME, "Use `nodes`."),
    "deployment_configuration": Advice(
        _OTHER_NAME, "Use `image` or `virtual_machine_configuration`."
    ),
    "application_packages": Advice(_OTHER_NAME, "Use `application_package_references`."),
    "inter_node_communication": Advice(_OTHER_NAME, "Use `enable_inter_node_communication`."),
}
_TASK: Mapping[str, Advice] = {
    "authentication_token_settings": Advice(
        "The service retired it on 2024-09-30.",
        "Use a pool with an identity: `pool: {existing: ID}`.",
    ),
}


def advice(key: str, known: Iterable[str]) -> Advice:
    """The advice about an unknown key.

    ``known`` are the keys of the mapping, which show what it describes. ``key`` may have the form
    of the REST API: ``certificateReferences``.
    """
    names = set(known)
    table: Mapping[str, Advice] = {}
    if "vm_size" in names:
        table = _POOL
    elif names & {"command", "command_line"}:
        table = _TASK
    folded = _folded(key)
    return next((found for name, found in table.items() if _folded(name) == folded), Advice())


def _folded(name: str) -> str:
    return name.replace("_", "").lower()
