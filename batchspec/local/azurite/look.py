"""What there is to run Azurite with; nothing is installed and nothing is started here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from batchspec.local.azurite.install import is_there, place
from batchspec.local.azurite.node import find_node
from batchspec.local.settings import Settings


@dataclass(frozen=True, slots=True)
class Engine:
    """The Node.js that runs Azurite, the Azurite of this release, and whether it is there yet."""

    node: Path
    azurite: str
    folder: Path
    installed: bool


def look_at_engine(settings: Settings) -> Engine:
    """What the engine's parts are.

    Raises:
        LocalError: there is no Node.js that can run Azurite, or no npm to install it with.
    """
    node = find_node(settings)
    wanted = place(settings.cache)
    installed = is_there(wanted)
    if not installed:
        node.npm(settings.path)
    return Engine(node.executable, wanted.version, wanted.folder, installed)
