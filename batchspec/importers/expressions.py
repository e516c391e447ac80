"""Texts of another tool as templates of a spec.

An importer replaces what is a variable in the original by a placeholder (:meth:`Expressions.add`),
works on the text, and finishes it: braces of the original are escaped, and each placeholder becomes
``{{ expression }}``.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field

from batchspec.importers.draft import Body
from batchspec.importers.secret_values import unsigned

_PLACEHOLDER = re.compile("\ue000([0-9]+)\ue001")
_SPECIAL = re.compile(r"[`&|;<>*?~#()\[\]!\\$^%]")
"""Characters that a shell interprets."""
_SHELLS = frozenset({"sh", "/bin/sh", "/usr/bin/sh"})
_BASH = frozenset({"bash", "/bin/bash", "/usr/bin/bash"})
_ONLY_BASH = re.compile(
    r"\[\[|\bsource\b|pipefail|[<>]\(|&>|\$\{[^}]*[\^,/@\[]|\bdeclare\b|\blocal\b|\bfunction\b"
    r"|\{\d+\.\.|<<<|\$'|\bshopt\b|\bBASH"
)
"""Syntax of bash that ``/bin/sh`` of some distributions does not have."""
_OPTIONS = re.compile(r"-[a-z]*c|-[a-z]+")


@dataclass(slots=True)
class Expressions:
    """The expressions of one document by the number of their placeholders."""

    _found: list[str] = field(default_factory=list)

    def add(self, expression: str) -> str:
        """A placeholder for an expression of a spec."""
        self._found.append(expression)
        return f"\ue000{len(self._found) - 1}\ue001"

    def only(self, text: str) -> str | None:
        """The expression, if a text is nothing but its placeholder."""
        match = _PLACEHOLDER.fullmatch(text)
        return self._found[int(match[1])] if match else None

    def finish(self, text: str) -> str:
        """The text as a template, without signatures."""
        escaped = unsigned(text).replace("{{", "{{ '{{' | raw }}")
        return _PLACEHOLDER.sub(lambda match: f"{{{{ {self._found[int(match[1])]} }}}}", escaped)

    def command(self, line: str, *, windows: bool = False) -> Body:
        """A command line as ``command``, or as ``command_line`` if a shell would change it.

        The service starts a command line without a shell. One that only starts ``sh`` is the text
        that this shell runs.
        """
        script = None if windows else shell_script(line)
        if script is not None:
            return {"command": self.finish(script)}
        arguments = None if windows else bash_script(line)
        if arguments is not None:
            return {"command": [self.finish(argument) for argument in arguments]}
        if windows or _SPECIAL.search(line):
            return {"command_line": self.finish(line)}
        return {"command": self.finish(line)}


def shell_script(line: str) -> str | None:
    """The text that a command line has ``sh``, or ``bash`` without its own syntax, run."""
    words = _words(line)
    if len(words) != 3 or words[1] != "-c" or words[0] not in _SHELLS | _BASH:
        return None
    only_bash = words[0] in _BASH and _ONLY_BASH.search(words[2])
    return None if only_bash else words[2]


def bash_script(line: str) -> list[str] | None:
    """The arguments of a command line that has ``bash`` run a text."""
    words = _words(line)
    known = len(words) >= 3 and words[0] in _BASH | _SHELLS
    return words if known and all(map(_OPTIONS.fullmatch, words[1:-1])) else None


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError:
        return []
