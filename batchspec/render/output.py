"""The output of all commands: redaction of all texts, colours, symbols, wrapped lines.

The stderr of a task, a file name or the message of a service can contain signatures, keys and
escape sequences that move the cursor or change the title of a terminal. :func:`clean` removes both.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TextIO

from batchspec.diagnostics import Diagnostic, redact
from batchspec.frozen import frozen
from batchspec.plan import Verb

if TYPE_CHECKING:
    from batchspec.apply.events import Waiting

_SEQUENCE = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # colours, cursor moves
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?"  # titles, links
    r"|\x1b[@-Z\\-_]"
)
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
"""Control characters except tab and newline, line separators and direction marks."""

_ESCAPE = re.compile(r"\\.")
"""An escape of JSON, such as a quote with the backslash before it."""


def clean(text: str) -> str:
    """A text without secrets and control characters.

    Escape sequences are removed; of a line with carriage returns, the last part is kept, as on a
    terminal; other control characters become ``?``.
    """
    text = _SEQUENCE.sub("", text.replace("\r\n", "\n"))
    if "\r" in text:
        text = "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))
    return redact(_CONTROL.sub("?", text))


def flat(text: str) -> str:
    """A cleaned text on one line."""
    return " ".join(clean(text).split())


_COMMAND = re.compile(r"`[^`]*`")


def wrap(text: str, width: int, *, first: str = "", rest: str = "") -> list[str]:
    """A text in lines of ``width`` columns; text between backticks is never broken.

    ``first`` and ``rest`` are the indentation of the first line and of the others.
    """
    # textwrap breaks lines at ASCII whitespace only.
    text = _COMMAND.sub(lambda match: match[0].replace(" ", "\xa0"), text)
    lines = textwrap.wrap(
        text,
        max(width, 16),
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [line.replace("\xa0", " ") for line in lines]


def clean_json(value: object) -> object:
    """A JSON value with every text in it, keys included, without secrets.

    Redaction precedes encoding, because redaction of JSON text could remove the quote or the
    backslash after a secret.
    """
    match value:
        case str():
            return redact(value)
        case Mapping():
            return {redact(str(key)): clean_json(item) for key, item in value.items()}
        case list() | tuple():
            return [clean_json(item) for item in value]
    return value


def json_text(value: object, *, indent: int | None = None) -> str:
    """A JSON value as text, without secrets; on one line unless ``indent`` is given.

    If a later redaction of the whole text would remove an escaped quote after ``sig=``, quotes are
    written as ``\\u0022``, so that the text stays JSON.
    """
    separators = (",", ":") if indent is None else (",", ": ")
    text = json.dumps(clean_json(value), ensure_ascii=False, indent=indent, separators=separators)
    if redact(text) == text:
        return text
    return _ESCAPE.sub(lambda match: "\\u0022" if match[0] == '\\"' else match[0], text)


def encodes(stream: TextIO, sample: str = "✓→█…") -> bool:
    """Whether a stream can encode these characters."""
    try:
        sample.encode(getattr(stream, "encoding", None) or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


class LineWriter:
    """Writes lines to a stream; a character that it cannot encode is written as an escape."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def line(self, text: str) -> None:
        """Write one line (or several) and flush."""
        try:
            self._stream.write(text + "\n")
        except UnicodeEncodeError:
            encoding = self._stream.encoding
            self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
        self._stream.flush()


_ID = re.compile(r"(?<![\w/%.-])tvmps_[0-9a-f]{64}(_[a-z]+)?(?![\w/%-]|\.\w)")
"""An id that is not a part of a path or of a file name."""
_SHORTEST = len("tvmps_") + 8


@dataclass(slots=True)
class NodeIds:
    """Shortens the ids of nodes; a short id is unique among the ids so far.

    The id of a node of Azure Batch has 72 characters (``tvmps_`` and 64 hexadecimal digits). A
    short id is the beginning of the id, so commands that accept a part of an id accept it.
    """

    _seen: list[str] = field(default_factory=list)

    def add(self, nodes: Iterable[str]) -> None:
        """Add ids that are shown together with the ids of a text."""
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


_CODES = {
    "bold": "1",
    "dim": "2",
    "error": "1;31",
    "question": "1;35",
    "warning": "1;33",
    "note": "1;36",
    "fix": "32",
    "create": "32",
    "change": "33",
    "delete": "31",
    "move": "36",
    "keep": "2",
}


@frozen
class Style:
    """Adds a colour to a text if ``on``."""

    on: bool

    def __call__(self, style: str, text: str) -> str:
        """The text in the style of that name; an empty text stays empty."""
        return f"\x1b[{_CODES[style]}m{text}\x1b[0m" if self.on and text else text


def wants_color(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether to use colours on ``stream``.

    ``NO_COLOR`` (https://no-color.org) turns them off, ``FORCE_COLOR`` on; otherwise a
    terminal that is not dumb has colours.
    """
    if environ.get("NO_COLOR"):
        return False
    if environ.get("FORCE_COLOR"):
        return True
    return stream.isatty() and environ.get("TERM") != "dumb"


@frozen
class Symbols:
    """One set of symbols, each one cell wide; the symbols of ``verbs`` have up to three cells."""

    verbs: Mapping[Verb, str]
    done: str
    failed: str
    skipped: str
    spinner: str
    full: str
    head: str
    rest: str
    succeeded: str
    task_failed: str
    running: str
    active: str
    node_running: str
    node_idle: str
    node_starting: str
    node_leaving: str
    node_missing: str
    dot: str
    ellipsis: str


UNICODE = Symbols(
    verbs={
        Verb.CREATE: "+",
        Verb.UPDATE: "~",
        Verb.RESIZE: "±",
        Verb.REPLACE: "-/+",
        Verb.DELETE: "-",
        Verb.UPLOAD: "↑",
        Verb.SUBMIT: "→",
        Verb.WAIT: "…",
        Verb.DOWNLOAD: "↓",
        Verb.TERMINATE: "■",
        Verb.KEEP: "=",
    },
    done="✓",
    failed="✗",
    skipped="○",
    spinner="⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏",
    full="━",
    head="╸",
    rest="─",
    succeeded="█",
    task_failed="✗",
    running="▒",
    active="░",
    node_running="█",
    node_idle="□",
    node_starting="▒",
    node_leaving="▁",
    node_missing="·",
    dot=" · ",
    ellipsis="…",
)

ASCII = Symbols(
    verbs={
        Verb.CREATE: "+",
        Verb.UPDATE: "~",
        Verb.RESIZE: "%",
        Verb.REPLACE: "-/+",
        Verb.DELETE: "-",
        Verb.UPLOAD: "^",
        Verb.SUBMIT: ">",
        Verb.WAIT: ".",
        Verb.DOWNLOAD: "v",
        Verb.TERMINATE: "!",
        Verb.KEEP: "=",
    },
    done="*",
    failed="x",
    skipped="o",
    spinner="|/-\\",
    full="=",
    head=">",
    rest="-",
    succeeded="#",
    task_failed="x",
    running="+",
    active="-",
    node_running="#",
    node_idle="o",
    node_starting="+",
    node_leaving="_",
    node_missing=".",
    dot=", ",
    ellipsis="~",
)

_SAMPLE = "".join(
    [*UNICODE.verbs.values(), UNICODE.done, UNICODE.spinner, UNICODE.full, UNICODE.node_idle]
)


def symbols_for(stream: TextIO) -> Symbols:
    """The symbols that a stream can encode."""
    return UNICODE if encodes(stream, _SAMPLE) else ASCII
