"""What the settings of a pool say of its machines."""

from __future__ import annotations

from batchspec.local.model.record import Wire


def is_windows(pool: Wire) -> bool:
    """Whether a pool of that body names an image of Windows."""
    agent: str = pool.get("virtualMachineConfiguration", {}).get("nodeAgentSKUId", "")
    return "windows" in agent.lower()
