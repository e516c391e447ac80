"""Signed URLs in shell commands are passed in environment variables of the task.

Every user of a node can list the command lines of its processes, but only the task's own user can
read its environment. The shell replaces a variable between double quotes with its value and nothing
more, so the program gets the same argument. Digests are of bodies before this change.

Commands for ``cmd`` (which would interpret the ``%`` of a signature), commands without a shell, and
URLs inserted with ``| raw`` or ``| quote`` (another shell reads them) stay as they are; the rule
``secret-in-command`` reports them.
"""

from __future__ import annotations

from itertools import count
from typing import TypeGuard

from batchspec.spec import BlobUrl, Piece, Quoted, Quoting, Record, Text

_SHELL = "/bin/sh -c "
_NAME = "BATCHSPEC_URL_{}"
_REFERENCES = {
    Quoting.POSIX: '"${{{}}}"',
    Quoting.IN_DOUBLE: "${{{}}}",
    # The single quotes end before the variable and begin again after it.
    Quoting.IN_SINGLE: "'\"${{{}}}\"'",
}
"""How a script refers to a variable, by where it is."""
_SETTINGS = "environmentSettings"


def with_variables(task: Record) -> Record:
    """The body of a task whose shell takes signed URLs from variables.

    Variables have the names ``BATCHSPEC_URL_1``, ``BATCHSPEC_URL_2`` and so on, except for those
    that the task sets itself. A URL has one variable, however often the command contains it.
    """
    command = task.get("commandLine")
    if not isinstance(command, Text) or len(command.pieces) != 2:
        return task
    shell, script = command.pieces
    if shell != _SHELL or not isinstance(script, Quoted):
        return task
    given = task.get(_SETTINGS)
    settings = given if isinstance(given, tuple) else ()
    taken = {item.get("name") for item in settings if isinstance(item, Record)}
    free = (name for number in count(1) if (name := _NAME.format(number)) not in taken)
    names: dict[BlobUrl, str] = {}
    pieces: list[Piece] = []
    for piece in script.inner.pieces:
        if not _has_signed_url(piece):
            pieces.append(piece)
            continue
        for part in piece.inner.pieces:
            if isinstance(part, BlobUrl) and part.permissions:
                name = names[part] = names.get(part) or next(free)
                pieces.append(_REFERENCES[piece.quoting].format(name))
            else:
                # The shell joins adjacent quoted strings.
                pieces.append(Quoted(Text((part,)), piece.quoting))
    if not names:
        return task
    variables = (Record(name=name, value=Text((url,))) for url, name in names.items())
    return Record(
        {
            **task,
            "commandLine": Text((_SHELL, Quoted(Text(tuple(pieces)), script.quoting))),
            _SETTINGS: (*settings, *variables),
        }
    )


def with_variables_of(body: Record, *keys: str) -> Record:
    """A pool or job with :func:`with_variables` of these tasks in it."""
    tasks = {key: with_variables(task) for key in keys if isinstance(task := body.get(key), Record)}
    return body.with_(**tasks)


def _has_signed_url(piece: Piece) -> TypeGuard[Quoted]:
    """Whether a piece of a script is an argument with a signed URL that a variable can replace."""
    return (
        isinstance(piece, Quoted)
        and piece.quoting in _REFERENCES
        and any(isinstance(part, BlobUrl) and part.permissions for part in piece.inner.pieces)
    )
