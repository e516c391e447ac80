"""How Windows reads a command line: cmd.exe, then the program it starts.

A model of the documentation of both ("cmd /?", "Parsing C command-line arguments"). It is strict:
it refuses text that cmd would interpret.
"""

from __future__ import annotations

from collections.abc import Mapping

OPERATORS = "&|<>()"


class ActedOnError(Exception):
    """cmd would not pass the text unchanged."""


def program_line(line: str, variables: Mapping[str, str]) -> str:
    """The text that ``cmd /c LINE`` passes to the program: LINE is all text after ``/c``."""
    if line.startswith('"'):
        first, last = 0, line.rindex('"')
        line = line[first + 1 : last] + line[last + 1 :]
    return _unescaped(_expanded(line, variables))


def _expanded(line: str, variables: Mapping[str, str]) -> str:
    """Variables are expanded first, in the whole line, in spite of quotes and carets."""
    upper = {name.upper(): value for name, value in variables.items()}
    out, at = [], 0
    while at < len(line):
        end = line.find("%", at + 1)
        if line[at] == "%" and end > 0:
            name = line[at + 1 : end].partition(":")[0].upper()
            if name in upper:
                out.append(upper[name])
                at = end + 1
                continue
        out.append(line[at])
        at += 1
    return "".join(out)


def _unescaped(line: str) -> str:
    """Carets and operators have an effect outside of quotes; cmd does not interpret backslashes."""
    out, quoted, at = [], False, 0
    while at < len(line):
        character = line[at]
        if character in "\r\n":
            raise ActedOnError("the line ends here")
        if character == '"':
            quoted = not quoted
        elif character == "^" and not quoted:
            at += 1
            if at < len(line):
                out.append(line[at])
            at += 1
            continue
        elif character in OPERATORS and not quoted:
            raise ActedOnError(f"operator {character}")
        out.append(character)
        at += 1
    return "".join(out)


def arguments(line: str) -> list[str]:
    """The arguments by the rules of the C runtime (since 2008) and CommandLineToArgvW."""
    found, at = [], 0
    while True:
        while at < len(line) and line[at] in " \t":
            at += 1
        if at == len(line):
            return found
        argument, quoted = [], False
        while at < len(line) and (quoted or line[at] not in " \t"):
            backslashes = 0
            while at < len(line) and line[at] == "\\":
                backslashes += 1
                at += 1
            if at == len(line) or line[at] != '"':
                argument.append("\\" * backslashes)
                if at < len(line) and (quoted or line[at] not in " \t"):
                    argument.append(line[at])
                    at += 1
                continue
            argument.append("\\" * (backslashes // 2))
            if backslashes % 2:
                argument.append('"')
            elif quoted and line[at + 1 : at + 2] == '"':
                argument.append('"')
                at += 1
            else:
                quoted = not quoted
            at += 1
        found.append("".join(argument))
