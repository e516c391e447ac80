"""What can go wrong, as data.

Everything that batchspec tells a user about a mistake, a fault or a refusal is a :class:`Problem`;
the exceptions below carry problems and the exit code they end in. No sentence is put together here:
``render`` does that. Nothing above this floor is imported.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from urllib.parse import quote


class Exit(IntEnum):
    """The exit codes of every command. They are part of the published interface."""

    DONE = 0
    BUG = 1
    USAGE = 2
    TASKS_FAILED = 3
    SERVICE = 4
    STALE = 5
    CHANGES = 6
    TIME_LIMIT = 7
    INTERRUPTED = 130


class Severity(StrEnum):
    """How much a problem weighs.

    An error stops the command, a question stops it until the user agrees, a warning and a note do
    not stop it.
    """

    ERROR = "error"
    QUESTION = "question"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A position in a file: ``line`` and ``column`` count from 1, ``length`` in characters.

    ``text`` is the source line, kept so that a message can show it without reading the file again.
    """

    file: str
    line: int
    column: int
    text: str = ""
    length: int = 1


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: what (``summary``), why (``detail``), where, and how to mend it.

    ``code`` is a stable kebab-case name (``unknown-key``, ``no-match`` ...); texts may change,
    codes may not. ``request_id`` is the service's own id of the failed request, if there was one.
    """

    code: str
    summary: str
    detail: str = ""
    where: Place | None = None
    hint: str = ""
    severity: Severity = Severity.ERROR
    request_id: str = ""


class BatchspecError(Exception):
    """The root of all expected failures; carries every problem found, and the exit code."""

    exit: Exit = Exit.BUG

    def __init__(self, *problems: Problem) -> None:
        super().__init__("; ".join(problem.summary for problem in problems))
        self.problems = problems


class UsageError(BatchspecError):
    """The command line is wrong; nothing was sent."""

    exit = Exit.USAGE


class SpecError(BatchspecError):
    """The spec is wrong; every problem of it is carried at once; nothing was sent."""

    exit = Exit.USAGE


class ServiceError(BatchspecError):
    """A service refused, or could not be reached.

    ``code`` is the service's own error code (``PoolExists``, ``AuthenticationFailed``), or one of
    ours where there was no answer (``unreachable``).
    """

    exit = Exit.SERVICE

    def __init__(self, problem: Problem, *, code: str, status: int | None = None) -> None:
        super().__init__(problem)
        self.code = code
        self.status = status


class ConflictError(BatchspecError):
    """Another run has what this run was about to use, and the user did not agree to share it."""

    exit = Exit.USAGE


class JobEndedError(ServiceError):
    """The job of a run was ended while the run still worked on it."""

    exit = Exit.TASKS_FAILED


class DiskError(BatchspecError):
    """This machine's disk refused: it is full, say, or a folder is not ours to write to."""

    exit = Exit.SERVICE


class StalePlanError(BatchspecError):
    """A saved plan no longer fits the account or the files; the problems say what moved."""

    exit = Exit.STALE


class Problems:
    """A collector: problems are added as they are found and raised together."""

    def __init__(self) -> None:
        self._found: list[Problem] = []

    def add(self, problem: Problem) -> None:
        """Keep a problem and go on."""
        self._found.append(problem)

    def extend(self, problems: Iterable[Problem]) -> None:
        """Keep several problems and go on."""
        self._found.extend(problems)

    def __bool__(self) -> bool:
        return bool(self._found)

    @property
    def found(self) -> tuple[Problem, ...]:
        """All problems, in the order of their places in the file, the placeless ones last."""
        return tuple(
            sorted(
                self._found,
                key=lambda p: (p.where is None, p.where or Place("", 0, 0), p.code, p.summary),
            )
        )

    @property
    def stops(self) -> bool:
        """Whether an error is among them."""
        return any(problem.severity is Severity.ERROR for problem in self._found)

    def raise_if_any(self) -> None:
        """Raise a :class:`SpecError` with everything found, if an error is among it."""
        if self.stops:
            raise SpecError(*self.found)


@dataclass(frozen=True, slots=True)
class Secret:
    """A value that must not be seen: its text forms are ``***``. :meth:`reveal` is the way out."""

    _value: str

    def reveal(self) -> str:
        """The value itself, for the one place that sends it."""
        return self._value

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__


_SECRETS = (
    # A SAS query: the signature is the secret, the rest of the query tells what it was for.
    (re.compile(r"(?i)([?&;]|%3f|%26|\b)(sig|signature)(=|%3d)[^&\s\"'<>;]+"), r"\1\2\3***"),
    (re.compile(r"(?i)\b(AccountKey|SharedAccessSignature)\s*=\s*[^;\s\"']+"), r"\1=***"),
    (re.compile(r"(?i)\b(SharedKey(?:Lite)?\s+[^:\s]+:)[A-Za-z0-9+/=]+"), r"\1***"),
    (re.compile(r"(?i)\b(Bearer\s+)[A-Za-z0-9._~+/=-]{16,}"), r"\1***"),
)


_SHORTEST = 6
"""Characters; what is shorter would be found in every other word."""

_CONCEALED: set[str] = set()


def conceal(*secrets: Secret) -> None:
    """From now on :func:`redact` removes these values, too: as they are, and as URLs write them.

    A service may quote a command line with a secret in it, and a program may print one. Of a value
    of several lines each line counts. Values of under six characters are left alone.
    """
    for secret in secrets:
        for line in (secret.reveal(), *secret.reveal().splitlines()):
            text = line.strip()
            if len(text) >= _SHORTEST:
                _CONCEALED.update((text, quote(text), quote(text, safe="")))


def redact(text: str) -> str:
    """Remove SAS signatures, account keys, authorization values and concealed secrets from a text.

    The last net at every sink (screen, log, report); secrets should not have come this far.
    """
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    # The longest first: one value may be a part of another.
    for value in sorted(_CONCEALED, key=len, reverse=True):
        text = text.replace(value, "***")
    return text
