"""Digests that are the same on every machine at any time: of values, files, a spec, and work.

The digest of a task's work covers the command, the environment, the image, the packages, the
content of the files that the task and its node get, and where its results go. It excludes times,
accounts, signatures, secrets and the place of logs, because these do not change the work. A
generated id ends with it (``STAGE-words-digest``); the display name of every task contains it, see
:class:`~batchspec.plan.observed.Marks`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from itertools import islice

from batchspec.plan.items import Item, Source
from batchspec.plan.observed import ContainerFacts, LocalFile, Marks, Observed
from batchspec.spec import (
    Container,
    Record,
    RowFile,
    Spec,
    Stage,
    Template,
    Text,
    Value,
    canonical_json,
    slug,
    text_digest,
    thaw,
)

_LENGTH = 16
"""Hexadecimal digits kept: 64 bits distinguish the states of a pool or job."""


def digest(*values: Value) -> str:
    """A short hexadecimal digest of JSON values; deferred texts count by their content."""
    return text_digest(*map(canonical_json, values))


def rows_digest(rows: Iterable[Record]) -> str:
    """A digest of rows, of which there may be millions; a :class:`RowFile` has a digest."""
    if isinstance(rows, RowFile):
        return rows.digest
    hasher = hashlib.sha256()
    for row in rows:
        hasher.update(digest(row).encode())
    return hasher.hexdigest()


_BATCH = 1000
"""Files that are hashed together, which takes less time than one by one."""


def content_digest(files: Iterable[LocalFile]) -> str:
    """A digest of files by name and content."""
    hasher = hashlib.sha256()
    rest = iter(files)
    while some := [blob.encode() + b"\0" + md5 for blob, _, _, md5, _ in islice(rest, _BATCH)]:
        hasher.update(b"".join(some))
    return hasher.hexdigest()[:_LENGTH]


def with_sources(value: Value) -> Value:
    """A value with the source text of its templates."""
    match value:
        case Template(source=source):
            return source
        case Record():
            return Record({key: with_sources(item) for key, item in value.items()})
        case tuple():
            return tuple(map(with_sources, value))
    return value


LONGEST = 64
VALID = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""The ids that the service accepts."""
_DIGEST = 14
"""Hexadecimal digits: 56 bits. Two of a million tasks share a digest once in 144,000 runs."""
_LONGEST_WORDS = 32
_COVERED = (
    "environmentSettings",
    "containerSettings",
    "applicationPackageReferences",
    "multiInstanceSettings",
    "resourceFiles",
)
"""The properties of a task's body that are the work itself; its outputs are, too."""
_PACKAGES = "applicationPackageReferences"
_LONGEST_TEXT = 128
"""Characters of the words of a display name that the spec does not give."""
_LOGS = "../std"
"""The start of the patterns of a task's own output: standard output and error are next to
``wd``."""


def words_of(stage: str, item: Item) -> str:
    """The display name of a task whose stage does not set one."""
    return " ".join(" ".join((stage, *item.words)).split())[:_LONGEST_TEXT]


def covered(body: Record) -> Record:
    """The properties of a task's body that its digest covers."""
    kept = {key: body[key] for key in _COVERED if key in body}
    if own := tuple(file for file in body.array("outputFiles") if not is_log(file)):
        kept["outputFiles"] = own
    return Record(kept)


def is_log(file: Value) -> bool:
    """Whether an output file is a task's standard output or error."""
    return isinstance(file, Record) and str(file.get("filePattern")).startswith(_LOGS)


class Identity:
    """The digests of a stage's tasks. Common parts are read only once."""

    def __init__(self, spec: Spec, stage: Stage, observed: Observed, *, indexed: bool) -> None:
        """``indexed``: ``index`` is part of the identity of the items."""
        self._stage = stage.name
        self._items = hashlib.sha256(stage.name.encode() + b"\x00")
        self._indexed = indexed
        hasher = hashlib.sha256(stage.name.encode())
        hasher.update(_canonical(image_of(spec)))
        hasher.update(_canonical(spec.job.properties.get("commonEnvironmentSettings")))
        if packages := spec.pool.properties.get(_PACKAGES):
            hasher.update(_canonical(packages))
        for key in dict.fromkeys((*spec.setup_containers, *(stage.resources or ()))):
            hasher.update(f"\x00{key}\x00".encode())
            _add_content(hasher, spec.containers[key], observed.containers[key])
        self._shared = hasher

    def share(self, value: Value) -> None:
        """Include a further value that is the same for all tasks."""
        self._shared.update(_canonical(value))

    @property
    def shared(self) -> str:
        """A digest of the parts of the work that all tasks share."""
        return self._shared.hexdigest()[:_DIGEST]

    def marks(self, command: str | Text, value: Value, item: Item, index: int) -> Marks:
        """The marks of one task; ``value`` is the part of its body that other tasks do not share.

        ``task.id`` stands for itself in both where it is generated, since it is not known yet.
        """
        text = command if isinstance(command, str) else command.identity()
        own = None if value is None else _canonical(value)
        return self.marks_of(self.work(text, own, item.sources), item, index)

    def marks_of(self, work: str, item: Item, index: int) -> Marks:
        """The marks of one task with this digest of its work."""
        hasher = self._items.copy()
        hasher.update(_item_key(item))
        if self._indexed:
            hasher.update(b"\x00%d" % index)
        content = _content(item.sources) if item.sources else ""
        return Marks(hasher.hexdigest()[:_DIGEST], content, work, self._stage)

    def work(self, command: str, own: bytes | None, sources: Iterable[Source]) -> str:
        """The digest of the work of one task.

        ``command`` is the identity of its command line, ``own`` the canonical JSON of the part of
        its body that other tasks do not share.
        """
        hasher = self._shared.copy()
        text = command.encode("utf-8", "surrogatepass")
        hasher.update(text if own is None else text + b"\x00" + own)
        for source in sources:
            _add_file(hasher, source.blob, source.size, source.content)
        return hasher.hexdigest()[:_DIGEST]


def _item_key(item: Item) -> bytes:
    """The identity of an item in its stage: the names of its files, otherwise its variables."""
    if item.sources:
        names = "\x00".join(f"{source.container}/{source.blob}" for source in item.sources)
        return names.encode("utf-8", "surrogatepass")
    members = item.variables
    value = members.get("row", members.get("value", members))
    number = len(value) if isinstance(value, Mapping) else 1
    if len(item.words) == number:
        # The usual case: all values are plain, and their words identify them.
        return "\x00".join(item.words).encode("utf-8", "surrogatepass")
    return _encode(value).encode("utf-8", "surrogatepass")


def _content(sources: Iterable[Source]) -> str:
    hasher = hashlib.sha256()
    for source in sources:
        _add_file(hasher, source.blob, source.size, source.content)
    return hasher.hexdigest()[:_DIGEST]


def _plain(value: object) -> object:
    """A JSON form of a member of an item that JSON cannot represent."""
    if isinstance(value, Text):
        return value.identity()
    return dict(value) if isinstance(value, Mapping) else str(value)


_encode = json.JSONEncoder(sort_keys=True, default=_plain).encode
"""JSON of an item's variables; a secret is ``***`` in it."""


def image_of(spec: Spec) -> Value:
    """The image of the nodes: its alias, or its reference; ``None`` if the spec has none."""
    if spec.pool.image is not None:
        return spec.pool.image.name
    return spec.pool.properties.record("virtualMachineConfiguration").get("imageReference")


def _add_content(hasher: hashlib._Hash, container: Container, facts: ContainerFacts) -> None:
    """The files that the spec uploads to a container, or the blobs of an existing one.

    Outputs of its tasks are excluded: they change during the run, they follow from the inputs of
    these tasks, and a stage that reads them has the tasks in ``needs``.
    """
    if container.upload:
        for file in facts.files:
            _add_file(hasher, file.blob, file.size, file.md5)
    elif container.existing:
        for blob in facts.blobs:
            _add_file(hasher, blob.name, blob.size, blob.content)


def _add_file(hasher: hashlib._Hash, name: str, size: int, content: bytes) -> None:
    hasher.update(f"\x00{name}\x00{size}\x00".encode("utf-8", "surrogatepass"))
    hasher.update(content)


def _canonical(value: Value) -> bytes:
    return _sorted(thaw(value, Text.identity)).encode()


_sorted = json.JSONEncoder(sort_keys=True).encode
"""The JSON of a plain value; ``json.dumps`` would create an encoder for each."""


def task_id(stage: str, item: Item, digest: str) -> str:
    """``STAGE-words-digest``, or ``STAGE-digest`` if there are no words or they do not fit."""
    stage = stage[: LONGEST - _DIGEST - 1]
    room = min(_LONGEST_WORDS, LONGEST - len(stage) - _DIGEST - 2)
    words = slug("-".join(item.words), room) if room > 0 else ""
    return f"{stage}-{words}-{digest}" if words else f"{stage}-{digest}"
