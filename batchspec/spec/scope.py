"""What the names in templates stand for.

``parameters`` by their names, ``name``, ``job.id``, ``pool.id`` and ``containers`` are in scope
everywhere; in a stage also ``index``, ``task.id`` and the item. The innermost wins: a column
``name`` of a file of rows hides the spec's own ``name`` in its stage.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from batchspec.spec.held import Named
from batchspec.spec.model import (
    Container,
    EachBlob,
    EachFile,
    EachNumber,
    EachValue,
    Matrix,
    NumberRange,
    Once,
    Rows,
    Spec,
    Stage,
)
from batchspec.spec.rows import columns
from batchspec.spec.template import ANYTHING, VALUE, Names
from batchspec.spec.values import BlobUrl, Record, Value

READ = "rl"
"""A container to read from: its blobs, and which there are."""
WRITE = "cw"
"""A container to write to: new blobs and, when a task runs again, the same ones anew."""


def base_scope(
    *,
    name: str,
    job: str,
    pool: str,
    parameters: Mapping[str, Value],
    containers: Mapping[str, Container],
) -> dict[str, object]:
    """The names that are in scope everywhere, with their values."""
    return {
        "name": name,
        "job": {"id": job},
        "pool": {"id": pool},
        "containers": {key: _container(container.id) for key, container in containers.items()},
        **parameters,
    }


def spec_scope(spec: Spec) -> dict[str, object]:
    """:func:`base_scope` of a whole spec."""
    return base_scope(
        name=spec.name,
        job=spec.job.id,
        pool=spec.pool.id,
        parameters=spec.parameters,
        containers=spec.containers,
    )


def _container(container: str) -> dict[str, object]:
    return {
        "name": container,
        "url": BlobUrl(container),
        "read_url": BlobUrl(container, None, READ),
        "write_url": BlobUrl(container, None, WRITE),
    }


def file_item(container: str, blob: str, size: int, *, keep_path: bool) -> Named:
    """A file as an item: its text is its place in the task's working directory."""
    folder, _, name = blob.rpartition("/")
    dot = name.rfind(".")
    # As pathlib has it: a dot that begins or ends a name is a part of it.
    dot = dot if 0 < dot < len(name) - 1 else len(name)
    return Named(
        blob if keep_path else name,
        {
            "path": blob,
            "folder": folder,
            "name": name,
            "stem": name[:dot],
            "suffix": name[dot:],
            "size": size,
            "url": BlobUrl(container, blob, "r"),
        },
    )


_FILE = Names(dict.fromkeys(("path", "folder", "name", "stem", "suffix", "size", "url"), VALUE))
_ID = Names({"id": VALUE})
_CONTAINER = Names(dict.fromkeys(("name", "url", "read_url", "write_url"), VALUE))


def base_names(parameters: Mapping[str, Value], containers: Iterable[str]) -> Names:
    """The names of :func:`base_scope`."""
    return Names(
        {
            "name": VALUE,
            "job": _ID,
            "pool": _ID,
            "containers": Names(dict.fromkeys(containers, _CONTAINER)),
            **{name: _names_of(value) for name, value in parameters.items()},
        }
    )


def stage_names(base: Names, stage: Stage, *, task: bool = True) -> Names:
    """The names in a stage; ``task`` is not there in the template of the task's own id.

    The columns of a file of rows are read from it; where that fails, any name may be one, for the
    file has its own messages.
    """
    known = {**base.known, "index": VALUE}
    if task:
        known["task"] = _ID
    is_open = base.open
    match stage.for_each:
        case EachFile(group=None) | EachBlob(group=None):
            known["file"] = _FILE
        case EachFile() | EachBlob():
            known["files"] = ANYTHING
        case Matrix(axes=axes, include=include):
            known.update({axis: _axis(values) for axis, values in axes})
            known.update({key: ANYTHING for entry in include for key in entry})
        case Rows(path=path):
            found = columns(path)
            is_open = is_open or found is None
            known.update(dict.fromkeys(found or (), VALUE))
            known["row"] = ANYTHING if found is None else Names(dict.fromkeys(found, VALUE))
        case EachNumber():
            known["value"] = VALUE
        case EachValue(values=values):
            known["value"] = ANYTHING
            for value in values:
                if isinstance(value, Record):
                    known.update({key: _names_of(item) for key, item in value.items()})
        case Once():
            pass
    return Names(known, is_open)


def _axis(values: tuple[Value, ...] | NumberRange) -> Names:
    if isinstance(values, NumberRange):
        return VALUE
    return ANYTHING if any(isinstance(value, Record | tuple) for value in values) else VALUE


def _names_of(value: Value) -> Names:
    if isinstance(value, Record):
        return Names({key: _names_of(item) for key, item in value.items()})
    return ANYTHING if isinstance(value, tuple) else VALUE
