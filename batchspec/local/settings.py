"""Where things lie and which Node to use: the one place that reads the environment.

What may not live here: anything that touches the disk.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import platformdirs


@dataclass(frozen=True, slots=True)
class Settings:
    """The choices of a user about the local service.

    ``data`` is the folder of its state, ``cache`` the folder of what can be fetched again,
    ``node`` the Node.js executable that the user named (``BATCHSPEC_NODE``), and ``path`` the
    search path for a Node.js of the system.
    """

    data: Path
    cache: Path
    node: Path | None
    path: str

    @classmethod
    def read(cls, environ: Mapping[str, str], *, data: Path | None = None) -> Self:
        """The settings in ``environ``; ``data`` comes first, then ``BATCHSPEC_LOCAL_HOME``."""
        if data is None:
            named = environ.get("BATCHSPEC_LOCAL_HOME")
            data = Path(named) if named else platformdirs.user_data_path("batchspec") / "local"
        node = environ.get("BATCHSPEC_NODE")
        return cls(
            data=data.expanduser().absolute(),
            cache=platformdirs.user_cache_path("batchspec"),
            node=Path(node).expanduser() if node else None,
            path=environ.get("PATH", ""),
        )
