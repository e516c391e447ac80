"""The rights of managed identities: which identity may read or write which container.

A user registers them in a file, one identity a line::

    # NAME = CONTAINER:RIGHT, ...
    reader = inputs:read, results:write
    admin = *:write
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

_LINE = re.compile(r"([\w.-]{1,128})\s*=\s*(.*)", re.ASCII)
_RIGHT = re.compile(r"(\*|[a-z0-9$][a-z0-9-]{0,62})\s*:\s*(read|write)", re.ASCII)


@dataclass(frozen=True, slots=True)
class IdentityRights:
    """The registered rights: by name of the identity, by container, whether it may also write.

    ``None``: none are registered, and every identity has full access. Names are in lower case, and
    the container ``*`` stands for all.
    """

    rights: Mapping[str, Mapping[str, bool]] | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """The rights in the text of a file.

        Raises:
            ValueError: a line is not valid; the message has its number.
        """
        found: dict[str, Mapping[str, bool]] = {}
        for number, line in enumerate(text.splitlines(), 1):
            content = line.partition("#")[0].strip()
            if not content:
                continue
            match = _LINE.fullmatch(content)
            if match is None:
                raise ValueError(f"line {number} is not 'NAME = CONTAINER:RIGHT, ...'")
            rights: dict[str, bool] = {}
            for part in filter(None, map(str.strip, match[2].split(","))):
                right = _RIGHT.fullmatch(part)
                if right is None:
                    raise ValueError(
                        f"line {number}: {part!r} is not CONTAINER:read or CONTAINER:write"
                    )
                rights[right[1]] = rights.get(right[1], False) or right[2] == "write"
            found[match[1].lower()] = rights
        return cls(found)

    def allow(self, resource_id: str, container: str, *, write: bool) -> bool:
        """Whether an identity may read a container, or ``write`` to it."""
        if self.rights is None:
            return True
        mine = self.rights.get(resource_id.rpartition("/")[2].lower(), {})
        named = [mine[name] for name in ("*", container) if name in mine]
        return any(named) if write else bool(named)


FULL_ACCESS = IdentityRights()
