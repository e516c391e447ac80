"""Command lines and the variables in paths, as a Linux node reads them: without a shell."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping

_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))", re.ASCII)


def split(command_line: str) -> list[str]:
    """The arguments of a command line, by the quoting rules of POSIX and with no expansion.

    Raises:
        ValueError: a quote is not closed.
    """
    return shlex.split(command_line, comments=False, posix=True)


def expand(text: str, environment: Mapping[str, str]) -> str:
    """``text`` with ``$NAME`` and ``${NAME}`` replaced; names that are not set stay as they are.

    A node does this to the ``filePattern`` of an output file, and to no command line.
    """
    return _VARIABLE.sub(
        lambda found: environment.get(found[1] or found[2], found[0]),
        text,
    )
