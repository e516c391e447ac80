"""The names that templates can use, and their values.

The parameters, ``name``, ``job.id``, ``pool.id`` and ``containers`` are in scope everywhere; in a
stage also ``index``, ``task.id`` and the item. Inner names hide outer ones: a column ``name`` of a
file of rows hides the spec's ``name`` in its stage.
"""

from __future__ import annotations

from collections.abc import Mapping

from batchspec.spec.model import (
    EachBlob,
    EachFile,
    EachNumber,
    EachValue,
    ForEach,
    Matrix,
    NumberRange,
    Once,
    Rows,
    Spec,
)
from batchspec.spec.rows import columns
from batchspec.spec.template import ANYTHING, VALUE, Names
from batchspec.spec.values import BlobUrl, Named, Record, Value

READ = "rl"
"""SAS permissions to read and list the blobs of a container."""
WRITE = "cw"
"""SAS permissions to create blobs in a container and to overwrite them in a retry."""


def base_scope(
    *,
    name: str,
    job: str,
    pool: str,
    parameters: Mapping[str, Value],
    containers: Mapping[str, str],
) -> dict[str, object]:
    """The names that are in scope everywhere. ``containers`` are names in the account by key."""
    return {
        "name": name,
        "job": {"id": job},
        "pool": {"id": pool},
        "containers": {key: _container(id_) for key, id_ in containers.items()},
        **parameters,
    }


def spec_scope(spec: Spec) -> dict[str, object]:
    """:func:`base_scope` of a whole spec."""
    return base_scope(
        name=spec.name,
        job=spec.job.id,
        pool=spec.pool.id,
        parameters=spec.parameters,
        containers={key: container.id for key, container in spec.containers.items()},
    )


def _container(container: str) -> dict[str, object]:
    return {
        "name": container,
        "url": BlobUrl(container),
        "read_url": BlobUrl(container, None, READ),
        "write_url": BlobUrl(container, None, WRITE),
    }


def file_item(container: str, blob: str, size: int, *, keep_path: bool) -> Named:
    """A file as an item; its text form is its path in the task's working directory."""
    folder, _, name = blob.rpartition("/")
    dot = name.rfind(".")
    # As in pathlib, a dot at the start or end of a name does not start a suffix.
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


def names_of(value: object) -> Names:
    """The names of a value: the members of an object, and any name for a list."""
    if isinstance(value, Mapping):
        return Names({str(key): names_of(item) for key, item in value.items()})
    return ANYTHING if isinstance(value, tuple) else VALUE


_FILE = names_of(file_item("", "", 0, keep_path=True))
_ID = Names({"id": VALUE})


def stage_names(base: Names, items: ForEach, *, task: bool = True) -> Names:
    """The names in a stage. ``task`` is not defined in the template of the task's own id.

    The columns of a file of rows are read from the file. If that fails, any name is accepted,
    because the error of the file is reported separately.
    """
    known = {**base.known, "index": VALUE}
    if task:
        known["task"] = _ID
    is_open = base.open
    match items:
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
                    known.update(names_of(value).known)
        case Once():
            pass
    return Names(known, is_open)


def _axis(values: tuple[Value, ...] | NumberRange) -> Names:
    if isinstance(values, NumberRange):
        return VALUE
    return ANYTHING if any(isinstance(value, Record | tuple) for value in values) else VALUE
