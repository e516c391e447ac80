"""Node ids in texts for people: shortened as far as they stay unique.

The id of a node of Azure Batch has 72 characters (``tvmps_`` and 64 hexadecimal digits). A short id
is the beginning of it, so commands that take a part of an id accept it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from batchspec.diagnostics import Diagnostic

if TYPE_CHECKING:
    from batchspec.apply.events import Waiting

_ID = re.compile(r"(?<![\w/%.-])tvmps_[0-9a-f]{64}(_[a-z]+)?(?![\w/%-]|\.\w)")
"""An id that is not a part of a path or of a file name."""
_SHORTEST = len("tvmps_") + 8


@dataclass(slots=True)
class NodeIds:
    """Shortens the ids of nodes; a short id belongs to one of all ids that were seen so far."""

    _seen: list[str] = field(default_factory=list)

    def add(self, nodes: Iterable[str]) -> None:
        """Ids that are shown together with those of a text."""
        self._seen += dict.fromkeys(node for node in nodes if node not in self._seen)

    def __call__(self, text: str) -> str:
        """The text with short ids."""
        if "tvmps_" not in text:
            return text
        self.add(match[0] for match in _ID.finditer(text))
        return _ID.sub(lambda match: self._short(match[0]), text)

    def _short(self, node: str) -> str:
        length = _SHORTEST
        for other in self._seen:
            while other != node and other.startswith(node[:length]):
                length += 1
        return node[:length]

    def problem(self, problem: Diagnostic) -> Diagnostic:
        """The diagnostic with short ids."""
        return replace(
            problem,
            summary=self(problem.summary),
            detail=self(problem.detail),
            fix=self(problem.fix),
        )

    def waiting(self, wait: Waiting) -> Waiting:
        """The cause with short ids."""
        return replace(
            wait, summary=self(wait.summary), action=self(wait.action), detail=self(wait.detail)
        )
