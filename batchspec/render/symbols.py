"""The symbols of verbs, states and bars, with an ASCII set for other terminals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TextIO

from batchspec.plan.plan import Verb
from batchspec.render.output import encodes


@dataclass(frozen=True, slots=True)
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
