"""Rules about sizes: what a request and a command line can contain."""

from __future__ import annotations

import json
from collections.abc import Iterator

from batchspec.diagnostics import Place
from batchspec.plan.rules.image import runs_windows
from batchspec.plan.rules.rule import ERROR, Finding, RuleContext, RuleGroup
from batchspec.spec import Record, Text, Value

REQUESTS = RuleGroup("Sizes", "What a request to the service and a command line can contain.")

MAX_REQUEST = 1_000_000
"""Bytes; the service accepts requests of up to 1 MB (Create Task Collection)."""

CMD_LINE = 8191
"""Characters that cmd.exe accepts ("Command prompt line string limitation")."""

PROGRAM_LINE = 32_767
"""Characters that CreateProcess accepts."""

SH_ARGUMENT = 131_071
"""Bytes of one argument on Linux (MAX_ARG_STRLEN less the NUL): the whole of ``sh -c``."""

_SIGNATURE = 300
"""About the length of a signature, which is added to a URL at submission."""


def size_of(value: Value) -> int:
    """About how many bytes a value has as JSON, signatures included."""
    # The most frequent type first: for each that is not a Record, `Record()` is slow.
    match value:
        case str():
            return len(value) + 2 if value.isascii() else len(json.dumps(value))
        case tuple():
            return sum([1 + size_of(item) for item in value])
        case Record():
            return sum([len(key) + 6 + size_of(item) for key, item in value.items()])
        case Text():
            urls = sum(1 for _ in value.urls())
            return size_of(value.shown) + urls * _SIGNATURE
        case None | bool() | int() | float():
            return 8
    return _SIGNATURE


@REQUESTS.check(
    "request-too-large",
    ERROR,
    title="The pool or the job exceeds the size of a request",
    why="The service accepts requests of up to 1 MB, signatures included.",
    fix="Move long values to a file, and pass the file as a resource.",
)
def request_too_large(context: RuleContext) -> Iterator[Finding]:
    """A body of Create Pool or Create Job above the limit."""
    spec = context.spec
    for subject, body, where in (
        ("pool", context.body, spec.pool.where),
        ("job", spec.job.properties, spec.job.where),
    ):
        size = size_of(body)
        if size > MAX_REQUEST:
            yield Finding(
                f"the request for the {subject} has {size:,} bytes; the limit is {MAX_REQUEST:,}",
                where,
            )


@REQUESTS.rule(
    "task-too-large",
    ERROR,
    title="A task exceeds the size of a request",
    why="The service accepts requests of up to 1 MB, signatures included.",
    fix="Use smaller groups, or name containers as `resources`.",
)
def task_too_large(task: str, body: Record, where: Place) -> Iterator[Finding]:
    """A body of Create Task above the limit."""
    size = size_of(body)
    if size > MAX_REQUEST:
        yield Finding(
            f"the request for task {task} has {size:,} bytes; the limit is {MAX_REQUEST:,}", where
        )


@REQUESTS.check(
    "command-too-long",
    ERROR,
    title="A command is longer than the shell accepts",
    why="Linux accepts 131,071 bytes in one argument; `cmd` accepts a line of 8,191 characters.",
    fix="Move long values to a file, and name the file in the command.",
)
def command_too_long(context: RuleContext) -> Iterator[Finding]:
    """Commands of the start task and of the special tasks of a job."""
    windows = runs_windows(context.spec, context.observed)
    longest = PROGRAM_LINE if windows else SH_ARGUMENT
    start = context.body.record("startTask").get("commandLine")
    yield from long_command("the start task", start, longest, context.at_pool("start_task"))
    for key, name, *keys in (
        ("jobManagerTask", "the job manager task", "job_manager_task"),
        ("jobPreparationTask", "the job preparation task", "prepare", "job_preparation_task"),
        ("jobReleaseTask", "the job release task", "release", "job_release_task"),
    ):
        command = context.spec.job.properties.record(key).get("commandLine")
        yield from long_command(name, command, longest, context.at_job(*keys))


def long_command(subject: str, command: Value, longest: int, where: Place) -> Iterator[Finding]:
    """A command of ``command-too-long``."""
    length = size_of(command)
    if length > longest:
        yield Finding(
            f"the command of {subject} has {length:,} characters; the limit is {longest:,}", where
        )


_NAMES = 4096
"""More bytes than the id and the display name of a task have."""
_QUOTED = 20
"""More characters than a command line has for one of its identity, with two levels of quotes."""
_ESCAPED = 12
"""The most characters that JSON has for one that is not ASCII."""


def command_room(like: Record, longest: int) -> int:
    """How many characters of a command are short enough for certain, see :func:`has_room`.

    ``like`` is the body of a task of which others differ in their commands and names only;
    ``longest`` is how many characters the shell accepts.
    """
    command = like["commandLine"]
    urls = size_of(command) if isinstance(command, Text) else 0
    return max(0, min(longest - urls, MAX_REQUEST - size_of(like) - _NAMES) // _QUOTED)


def room_for_strings(like: Record) -> int:
    """How many bytes the command and other strings of a task may have for certain.

    ``like`` is the body of a task of which others differ in these only. Its own strings are part of
    its size, so that there is more room than this.
    """
    return max(0, MAX_REQUEST - size_of(like) - _NAMES)


def has_room(identity: str, room: int) -> bool:
    """Whether the command with this identity (``Text.identity``) is short enough for certain."""
    return len(identity) * (1 if identity.isascii() else _ESCAPED) <= room
