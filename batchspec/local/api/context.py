"""What the API works with: the store, and who and where the service is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from batchspec.local.agent.containers import Containers
from batchspec.local.model.layout import node_root
from batchspec.local.store.applications import Applications
from batchspec.local.store.store import Store


@dataclass(frozen=True, slots=True)
class Context:
    """Handed to every operation. ``base_url`` has no slash at its end."""

    store: Store
    account: str
    base_url: str
    data: Path
    version: str
    applications: Applications
    containers: Containers

    def root(self, pool_id: str, node_id: str) -> Path:
        """The root directory of a node."""
        return node_root(self.data, pool_id, node_id)
