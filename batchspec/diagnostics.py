"""Errors and warnings as data, helpers for their texts, and secrets.

Every error or warning for a user is a :class:`Diagnostic`. The exceptions below carry diagnostics
and an exit code. ``render`` formats them; this module imports only the exit codes of batchspec.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import quote, quote_plus

from batchspec.exit_codes import Exit
from batchspec.frozen import frozen


class Severity(StrEnum):
    """The severity of a diagnostic.

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


@frozen
class Diagnostic:
    """One error or warning: what (``summary``), why (``detail``), ``where``, and the ``fix``.

    ``code`` is a stable kebab-case name (``unknown-key``, ``no-match``, ...); the other texts can
    change. ``request_id`` is the id that the service gave to the failed request, if any, and
    ``property`` the REST name of the property that it refused.
    """

    code: str
    summary: str
    detail: str = ""
    where: Place | None = None
    fix: str = ""
    severity: Severity = Severity.ERROR
    request_id: str = ""
    property: str = ""


class BatchspecError(Exception):
    """The base class of all expected errors; carries diagnostics and the exit code.

    Its text is what happened, why, and what to do next, of each diagnostic.
    """

    exit: Exit = Exit.BUG

    def __init__(self, *problems: Diagnostic) -> None:
        super().__init__("; ".join(problem.summary for problem in problems))
        self.problems = problems

    def __str__(self) -> str:
        return redact("\n".join(map(_plain, self.problems)))


def _plain(problem: Diagnostic) -> str:
    """A diagnostic as the text of an exception."""
    where = problem.where
    place = f"{where.file}:{where.line}:{where.column}: " if where is not None else ""
    kind = "" if problem.severity is Severity.ERROR else f"{problem.severity.value}: "
    lines = [f"{place}{kind}{problem.summary} [{problem.code}]", *problem.detail.splitlines()]
    if problem.fix:
        lines.append(f"fix: {problem.fix}")
    return "\n  ".join(lines)


class UsageError(BatchspecError):
    """An option or argument is not valid; nothing was sent."""

    exit = Exit.USAGE


class SpecError(BatchspecError):
    """The spec has errors; carries all of them. Nothing was sent."""

    exit = Exit.USAGE


class ServiceError(BatchspecError):
    """A service refused a request or could not be reached.

    ``code`` is the error code of the service (``PoolExists``, ``AuthenticationFailed``), or
    ``unreachable`` and the like if there was no response.
    """

    exit = Exit.SERVICE

    def __init__(self, problem: Diagnostic, *, code: str, status: int | None = None) -> None:
        super().__init__(problem)
        self.code = code
        self.status = status


class SignInError(BatchspecError):
    """Settings of the sign-in with Microsoft Entra ID are wrong; carries all of them."""

    exit = Exit.SERVICE


class ConflictError(BatchspecError):
    """Another run uses a resource of this run, and the user did not agree to share it."""

    exit = Exit.USAGE


class JobEndedError(ServiceError):
    """The job of a run was ended while the run still worked on it."""

    exit = Exit.TASKS_FAILED


class DiskError(BatchspecError):
    """A disk operation failed, for example because the disk is full or a folder is read-only."""

    exit = Exit.SERVICE


class StalePlanError(BatchspecError):
    """A saved plan does not match the account or the files; the diagnostics list the changes."""

    exit = Exit.STALE


class Diagnostics:
    """A collector of diagnostics, which raises all of them together."""

    def __init__(self) -> None:
        self._found: list[Diagnostic] = []

    def add(self, problem: Diagnostic) -> None:
        """Add a diagnostic."""
        self._found.append(problem)

    def extend(self, problems: Iterable[Diagnostic]) -> None:
        """Add several diagnostics."""
        self._found.extend(problems)

    def __bool__(self) -> bool:
        return bool(self._found)

    @property
    def found(self) -> tuple[Diagnostic, ...]:
        """All diagnostics by their position in the file; those without a position come last."""
        return tuple(
            sorted(
                self._found,
                key=lambda p: (p.where is None, p.where or Place("", 0, 0), p.code, p.summary),
            )
        )

    @property
    def stops(self) -> bool:
        """Whether one of them is an error."""
        return any(problem.severity is Severity.ERROR for problem in self._found)

    def raise_if_any(self) -> None:
        """Raise a :class:`SpecError` with all diagnostics if one of them is an error."""
        if self.stops:
            raise SpecError(*self.found)


@frozen
class Secret:
    """A value that must not be shown: its text forms are ``***``; :meth:`reveal` returns it."""

    _value: str

    def reveal(self) -> str:
        """The value, for the code that sends it."""
        return self._value

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__


class MissingSecret(Secret):
    """Replaces the missing value of a secret parameter, in commands that do not use the value."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__("***")


class KeyVaultSecret(MissingSecret):
    """A secret parameter whose value is in a key vault and has not been read.

    ``reference`` is the URL of the secret.
    """

    __slots__ = ("reference",)
    reference: str

    def __init__(self, reference: str) -> None:
        super().__init__()
        object.__setattr__(self, "reference", reference)


_SECRETS = (
    # A SAS query: only the signature is secret; the rest helps to identify it.
    # The separators may be encoded for a URL or as JSON (`\u0026sig\u003d`).
    (
        re.compile(r"(?i)([?&;]|%3f|%26|\\u0026|\b)(sig|signature)(=|%3d|\\u003d)[^&\s\"'<>;\\]+"),
        r"\1\2\3***",
    ),
    (re.compile(r"(?i)\b(AccountKey|SharedAccessSignature)\s*=\s*[^;\s\"']+"), r"\1=***"),
    (re.compile(r"(?i)\b(SharedKey(?:Lite)?\s+[^:\s]+:)[A-Za-z0-9+/=]+"), r"\1***"),
    (re.compile(r"(?i)\b(Bearer\s+)[A-Za-z0-9._~+/=-]{16,}"), r"\1***"),
    # Webhooks of chats: anyone with the URL can post to the channel.
    (
        re.compile(
            r"(?i)\b(hooks\.slack\.com/(?:services|triggers|workflows)"
            r"|webhook\.office\.com/webhookb2|discord(?:app)?\.com/api/webhooks)"
            r"/[A-Za-z0-9][^\s\"'<>]*"
        ),
        r"\1/***",
    ),
)


_SHORTEST = 6
"""The minimum length in characters; shorter values occur in ordinary words."""

_SHORTEST_ENCODED = 8
"""The minimum length in base64, of six characters."""

_CONCEALED: set[str] = set()


def conceal(*secrets: Secret) -> None:
    """Make :func:`redact` remove these values, also in the encodings that programs use.

    A service may quote a command line that contains a secret, and a program may print a secret.
    Each line of a value is removed separately. Values of fewer than six characters are not removed.
    """
    for secret in secrets:
        for line in (secret.reveal(), *secret.reveal().splitlines()):
            text = line.strip()
            if len(text) >= _SHORTEST:
                _CONCEALED.update(_forms(text))


def _forms(text: str) -> set[str]:
    """A text as programs print it: plain, for a URL, as JSON, as Python's ``repr``, in base64."""
    data = text.encode("utf-8", "surrogatepass")
    json_forms = (json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1])
    python = (repr(text)[1:-1], repr(data)[2:-1], ascii(text)[1:-1])
    urls = (quote(data), quote(data, safe=""), quote_plus(data))
    forms = {text, *json_forms, *python, *urls, json_forms[0].replace("/", "\\/")}
    # The value may start at any of three positions in a group of base64. Only characters that
    # depend on the value alone are compared.
    for before in range(3):
        whole = base64.b64encode(b"\0" * before + data).decode("ascii").rstrip("=")
        complete = (before + len(data)) * 8 // 6
        part = whole[-(-before * 8 // 6) : complete]
        if len(part) >= _SHORTEST_ENCODED:
            forms |= {part, part.replace("+", "-").replace("/", "_")}
    return forms


def counted(count: int, noun: str, plural: str = "") -> str:
    """A count and its noun: ``1 task``, ``1,000 tasks``; ``plural`` if it is not ``noun`` + s."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def abridged(texts: Sequence[str], most: int, separator: str = ", ") -> str:
    """The first texts, and the number of the others: ``a, b, 3 more``."""
    more = len(texts) - most
    return separator.join([*texts[:most], *([f"{more:,} more"] if more > 0 else [])])


def nearest(given: str, known: Iterable[str]) -> str | None:
    """The known name that is most similar to a given name; ``None`` if none is similar."""
    from difflib import get_close_matches  # noqa: PLC0415 - only after an error

    names = {folded(name): name for name in known}
    wanted = folded(given)
    if wanted in names:
        return names[wanted]
    begun = [name for folding, name in names.items() if folding.startswith(wanted)]
    if len(begun) == 1 and len(given) > 2:
        return begun[0]
    swapped = [name for folding, name in names.items() if _is_swapped(wanted, folding)]
    if len(swapped) == 1:
        return swapped[0]
    close = get_close_matches(wanted, names, n=1, cutoff=0.7)
    return names[close[0]] if close else None


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """The fix of an unknown name: the most similar known one; empty if none is similar."""
    near = nearest(given, known)
    return f"Did you mean `{near}`?" if near is not None else ""


def folded(name: str) -> str:
    """A name in lower case, without hyphens and underscores, for comparisons."""
    return name.lower().replace("_", "").replace("-", "")


def _is_swapped(given: str, known: str) -> bool:
    """Whether two neighboring letters are swapped; similarity alone misses this in short words."""
    if len(given) != len(known) or given == known:
        return False
    at = next(at for at, letter in enumerate(known) if given[at] != letter)
    return given == known[:at] + known[at : at + 2][::-1] + known[at + 2 :]


def contains_key(text: str) -> bool:
    """Whether a text contains a signature, a key or an authorization value in a known format.

    In contrast to :func:`redact`, concealed secrets do not count: the answer depends on the text
    alone, and not on what this process has read before.
    """
    return _without_keys(text) != text


def _without_keys(text: str) -> str:
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


def redact(text: str) -> str:
    """Remove SAS signatures, account keys, authorization values and concealed secrets from a text.

    The last safeguard of every output (screen, log, report), which should not contain secrets.
    """
    text = _without_keys(text)
    # The longest first, because one value can be a part of another.
    for value in sorted(_CONCEALED, key=len, reverse=True):
        text = text.replace(value, "***")
    return text
