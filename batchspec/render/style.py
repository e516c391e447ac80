"""Colours of text outside the live view, and the symbols of verbs, states and bars."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TextIO

from batchspec.frozen import frozen
from batchspec.plan import Verb
from batchspec.render.output import encodes

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
    """One set of symbols, each one cell wide; those of ``verbs`` have up to three cells."""

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
    node_failed: str
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
    node_failed="!",
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
    node_failed="!",
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
