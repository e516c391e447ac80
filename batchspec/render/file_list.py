"""Lists of containers, blobs and files, as text and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from batchspec.observe import FileSource, StoredFile
from batchspec.render import units
from batchspec.render.output import flat, json_text
from batchspec.render.progress.json_stream import moment

_SIZE, _TIME = 8, len("2026-12-01 02:00 UTC")


def file_line(file: StoredFile) -> str:
    """A file: size, time of its last change, name."""
    changed = units.moment(file.modified) if file.modified is not None else ""
    return f"{units.size(file.size):>{_SIZE}}  {changed:<{_TIME}}  {flat(file.name)}"


def files_json(source: FileSource, files: Sequence[StoredFile]) -> str:
    """The files of a container, task or node as indented JSON."""
    return json_text(
        {
            "version": 1,
            "source": {"kind": source.kind.value, "id": source.id},
            "files": [
                {
                    "name": file.name,
                    "size": file.size,
                    "modified": None if file.modified is None else moment(file.modified),
                }
                for file in files
            ],
        },
        indent=2,
    )


def containers_text(containers: Sequence[tuple[str, str, bool]]) -> Iterator[str]:
    """A line for each container: its name in the spec, its id, whether it exists."""
    width = max((len(key) for key, _, _ in containers), default=0)
    ids = max((len(each) for _, each, _ in containers), default=0)
    for key, container_id, exists in containers:
        note = "" if exists else "  does not exist"
        yield f"{key:<{width}}  {container_id:<{ids}}{note}".rstrip()


def containers_json(containers: Sequence[tuple[str, str, bool]]) -> str:
    """The containers of a spec as indented JSON."""
    return json_text(
        {
            "version": 1,
            "containers": [
                {"name": key, "id": container_id, "exists": exists}
                for key, container_id, exists in containers
            ],
        },
        indent=2,
    )
