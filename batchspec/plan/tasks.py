"""The tasks of a stage, created one by one on iteration, in the order of the items.

Every iteration creates equal tasks. Only the parts that all tasks share are kept in memory.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from itertools import islice
from typing import TypeAlias
from urllib.parse import quote

from batchspec.diagnostics import Diagnostic, SpecError
from batchspec.frozen import frozen
from batchspec.plan.identity import VALID, Identity, covered, task_id, words_of
from batchspec.plan.items import Item, items
from batchspec.plan.managed_identity import authorized
from batchspec.plan.metadata import destination_of, stamped
from batchspec.plan.observed import UNMARKED, ContainerFacts, LocalFile, Marks, Observed, Stream
from batchspec.plan.rules.signed_urls import with_variables
from batchspec.plan.task_template import (
    COMMAND,
    ID,
    ITSELF,
    NAME,
    WORK,
    Draft,
    TaskTemplate,
    has_template,
)
from batchspec.spec import (
    READ,
    BlobUrl,
    Container,
    Quoting,
    Record,
    Spec,
    Stage,
    Template,
    Text,
    Value,
    bind_command,
    command_line,
    evaluate,
    literal_name,
    spec_scope,
    typed,
)

Scope: TypeAlias = Mapping[str, object]
Fill: TypeAlias = Callable[[Scope], Value]
_PARSED = 1024
"""The number of texts of a template that are cached with their parsed values."""


def filler(value: Value, *, windows: bool) -> Fill | None:
    """A function that fills in the templates of a value; ``None`` if there are none.

    Parts without templates are not copied.
    """
    shell = Quoting.WINDOWS if windows else Quoting.POSIX
    match value:
        case Template():
            return _evaluated(value, shell)
        case Record():
            fills = {
                key: fill for key, item in value.items() if (fill := filler(item, windows=windows))
            }
            if not fills:
                return None
            return lambda scope: Record(
                {key: fills[key](scope) if key in fills else item for key, item in value.items()}
            )
        case tuple():
            members = [(item, filler(item, windows=windows)) for item in value]
            if not any(fill for _, fill in members):
                return None
            return lambda scope: tuple(fill(scope) if fill else item for item, fill in members)
    return None


def _evaluated(template: Template, shell: Quoting) -> Fill:
    if template.kind is None:
        return lambda scope: evaluate(template, scope, shell=shell)
    # Tasks have few different numbers and choices: each is parsed once.
    read = lru_cache(maxsize=_PARSED)(partial(typed, kind=template.kind))
    return lambda scope: read(evaluate(template, scope, shell=shell))


def mentions(value: Value, word: str) -> bool:
    """Whether a template in a value may use a variable; false positives are harmless."""
    match value:
        case Template(source=source):
            return re.search(rf"\b{word}\b", source) is not None
        case Record():
            return any(mentions(item, word) for item in value.values())
        case tuple():
            return any(mentions(item, word) for item in value)
    return False


NAMED = 32_768
"""The largest number of characters of all resource files of one task ("Total size of resourceFiles
cannot be more than 32768 characters", BatchExplorer#30)."""
SIGNED = 470
"""The largest number of characters of a resource file without its blob's name (with a user
delegation SAS)."""


@frozen
class Task:
    """One task: ``body`` is the body of Create Task without the ``dependsOn`` of the stage's needs.

    ``inputs`` are the blobs that this spec uploads for the task, as container key and blob name;
    they must be uploaded before the task is submitted. ``index`` is the position in the stage,
    from 0.
    """

    id: str
    stage: str
    index: int
    body: Record
    inputs: tuple[tuple[str, str], ...] = ()
    marks: Marks = UNMARKED


def expand(spec: Spec, stage: Stage, observed: Observed, *, windows: bool) -> Expansion:
    """The tasks of a stage, as a stream; its length is known without creating them.

    Iteration raises :class:`~batchspec.diagnostics.SpecError` at the first item for which no task
    can be created. ``observed.rows`` is by stage name.
    """
    return Expansion(
        items(spec, stage, observed), TaskFactory(spec, stage, observed, windows=windows)
    )


@frozen
class Expansion:
    """A stage's tasks: a :class:`~batchspec.plan.observed.Stream`."""

    items: Stream[Item]
    maker: TaskFactory

    def __iter__(self) -> Iterator[Task]:
        make = self.maker.task
        for index, item in enumerate(self.items):
            yield make(index, item)

    def __len__(self) -> int:
        return len(self.items)

    def at(self, index: int) -> Task | None:
        """The task with this index; iterates over the items before it."""
        found = next(islice(self.items, index, None), None)
        return None if found is None else self.maker.task(index, found)


class TaskFactory:
    """Creates the task of an item; contains what all tasks of a stage share."""

    def __init__(self, spec: Spec, stage: Stage, observed: Observed, *, windows: bool) -> None:
        self._spec = spec
        self._stage = stage
        self._windows = windows
        self._scope = spec_scope(spec)
        self._shared = tuple(
            resource
            for key in stage.resources or ()
            for resource in container_resources(
                spec.containers[key], observed.containers[key], NAMED // len(stage.resources or ())
            )
        )
        command = (stage.command.template, *stage.command.arguments)
        self._command_templates = command
        self._renamed = any(mentions(template, "task") for template in command)
        self._indexed = any(mentions(template, "index") for template in command)
        self._command = bind_command(stage.command, self._scope, windows=windows)
        self._body = stage.body
        self._fill = filler(stage.body, windows=windows)
        self._covered = filler(covered(stage.body), windows=windows)
        indexed = self._indexed or mentions(stage.id, "index") or mentions(stage.body, "index")
        self._identity = Identity(spec, stage, observed, indexed=indexed)
        if self._covered is None:
            self._identity.share(covered(stage.body))
        # A stage may read the outputs of stages that it needs; these follow from their work.
        for needed in (other for other in spec.stages if other.name in stage.needs):
            self._identity.share(_all_work(expand(spec, needed, observed, windows=windows)))
        self._template = self._task_template() if has_template(stage, self._command) else None

    def _task_template(self) -> TaskTemplate:
        stage = self._stage
        parts = (*self._command_templates, stage.body)
        return TaskTemplate(
            stage,
            self._assembled(ID, COMMAND, stage.body, shown=NAME, work=WORK),
            self._identity,
            self._scope,
            command=self._command,
            covered=covered(stage.body) if self._covered is not None else None,
            windows=self._windows,
            has_identity=bool(self._spec.storage_identity),
            names_task=any(mentions(part, "task") for part in parts),
            names_index=any(mentions(part, "index") for part in parts),
        )

    @property
    def names_ids(self) -> bool:
        """Whether the spec sets the ids of these tasks; others are derived from the work."""
        return self._stage.id is not None

    @property
    def only_commands_differ(self) -> bool:
        """Whether tasks differ only in the command, and in values that follow from it."""
        return (
            self._command is not None
            and self._fill is None
            and self._covered is None
            and self._stage.id is None
            and not self._renamed
        )

    def command_identity(self, index: int, item: Item) -> str | None:
        """The identity of the command of a task if :attr:`only_commands_differ`.

        ``None`` if :meth:`task` has to create the task, because it has separate files or its
        command may have an error.
        """
        assert self._command is not None
        if item.sources and self._stage.resources is None:
            return None
        variables = item.variables
        return self._command.identity({"index": index, **variables} if self._indexed else variables)

    def work(self, identity: str, item: Item) -> str:
        """The digest of the work of a task, from :meth:`command_identity`."""
        return self._identity.work(identity, None, item.sources)

    def draft(self, index: int, item: Item) -> tuple[Draft, int] | None:
        """The draft of the task of an item, and its size.

        ``None`` if :meth:`task` has to create the task, because it may have an error or differ in
        more.
        """
        if self._template is None or self._template.renames or self._has_files(item):
            return None
        try:
            draft = self._template.draft(index, item, self._own_id(index, item))
        except SpecError:
            return None  # Raised again when the task is created.
        return None if draft is None else (draft, self._template.size(draft))

    def task(self, index: int, item: Item) -> Task:
        """The task of an item.

        Raises:
            SpecError: a template fails for the item, or gives an invalid id.
        """
        try:
            return self._from_template(index, item) or self._task(index, item)
        except SpecError as error:
            raise SpecError(
                *(_at_item(problem, index, item) for problem in error.problems)
            ) from None

    def _from_template(self, index: int, item: Item) -> Task | None:
        """The task of an item from the template of the stage; ``None`` if that is not possible."""
        if self._template is None or self._has_files(item):
            return None
        try:
            found = self._template.filled(
                index, item, self._own_id(index, item), partial(self._made_body, index, item)
            )
        except SpecError:
            return None  # Raised again when the task is created object by object.
        if found is None:
            return None
        name, marks, body = found
        return Task(name, self._stage.name, index, body, _inputs(item), marks)

    def _made_body(self, index: int, item: Item) -> Record:
        return self._task(index, item).body

    def _has_files(self, item: Item) -> bool:
        """Whether the task of an item gets the files of the item."""
        return bool(item.sources) and self._stage.resources is None

    def _own_id(self, index: int, item: Item) -> str | None:
        """The id that the spec sets."""
        if self._stage.id is None:
            return None
        return _own_id(self._stage.id, {**self._scope, "index": index, **item.variables})

    def _task(self, index: int, item: Item) -> Task:
        """The task of an item, created object by object."""
        scope = {**self._scope, "index": index, **item.variables}
        own = self._own_id(index, item)
        draft = {"task": {"id": own or ITSELF}, **scope}
        made = command_line(self._stage.command, draft, windows=self._windows)
        value = self._covered(draft) if self._covered else None
        marks = self._identity.marks(made, value, item, index)
        name = own or task_id(self._stage.name, item, marks.work)
        scope = {"task": {"id": name}, **scope}
        if own is None and self._renamed:
            made = command_line(self._stage.command, scope, windows=self._windows)
        filled = self._fill(scope) if self._fill else self._body
        assert isinstance(filled, Record)
        given = filled.string("displayName")
        shown = given if given is not None else words_of(self._stage.name, item)
        body = self._assembled(
            name,
            made,
            filled,
            shown=marks.named(shown),
            work=marks.work,
            files=tuple(self._files(item)) if self._has_files(item) else (),
        )
        return Task(name, self._stage.name, index, body, _inputs(item), marks)

    def _assembled(
        self,
        name: Value,
        command: Value,
        filled: Record,
        *,
        shown: Value,
        work: Value,
        files: tuple[Value, ...] = (),
    ) -> Record:
        """The body of a task; ``files`` are the ResourceFiles of its item."""
        body = {"id": name, "commandLine": command, **filled, "displayName": shown}
        if outputs := filled.array("outputFiles"):
            body["outputFiles"] = stamped(self._placed(outputs), work)
        if resources := (*filled.array("resourceFiles"), *self._shared, *files):
            body["resourceFiles"] = resources
        return with_variables(authorized(Record(body), self._spec.storage_identity))

    def _placed(self, files: tuple[Value, ...]) -> tuple[Value, ...]:
        """Output files, with a folder as destination if a name contains wildcard characters.

        A pattern escapes these characters. With a pattern, the path of the destination is a folder.

        Raises:
            SpecError: the file is renamed, which a pattern cannot express.
        """
        if self._fill is None:
            return files
        return tuple(
            self._with_folder(file) if isinstance(file, Record) else file for file in files
        )

    def _with_folder(self, file: Record) -> Record:
        name, target = literal_name(file.string("filePattern") or ""), destination_of(file)
        path = target.string("path") if target is not None else None
        if name is None or target is None or path is None:
            return file
        folder, _, last = path.rpartition("/")
        if last != name.rpartition("/")[2]:
            raise SpecError(
                Diagnostic(
                    "renamed-output",
                    f"the output {name!r} cannot be stored as {path!r}",
                    "Its name contains a character that is a wildcard in a pattern, and with a"
                    " wildcard the path is a folder.",
                    self._stage.where,
                    "Write a `path` that ends in `/`, or rename the file in the command.",
                )
            )
        return file.with_(destination=Record(container=target.with_(path=folder or None)))

    def _files(self, item: Item) -> Iterator[Record]:
        """The item's files: a single file by its name, several files by their paths."""
        for source in item.sources:
            alone = "file" in item.variables
            path = source.blob.rpartition("/")[2] if alone else source.blob
            url = BlobUrl(self._spec.container_id(source.container), source.blob, "r")
            yield Record(httpUrl=url, filePath=path)


def _inputs(item: Item) -> tuple[tuple[str, str], ...]:
    return tuple((source.container, source.blob) for source in item.sources if source.ours)


def container_resources(
    container: Container, facts: ContainerFacts, room: int = NAMED
) -> tuple[Value, ...]:
    """A whole container as ResourceFiles, for a start task, a preparation task or a stage.

    Files that this spec uploads are listed one by one, each with a signature for its blob only. If
    they need more than ``room`` characters, or are not known, the service lists the container.
    """
    if container.upload and _have_room(facts.files, room):
        return tuple(
            Record(httpUrl=BlobUrl(container.id, file.blob, "r"), filePath=file.blob)
            for file in facts.files
        )
    return (container_resource(container.id),)


def with_resources(
    body: Record, spec: Spec, observed: Observed, containers: Sequence[str]
) -> Record:
    """A start, preparation or release task with the files of these containers (keys)."""
    files = [*body.array("resourceFiles")]
    for key in containers:
        room = NAMED // len(containers)
        files += container_resources(spec.containers[key], observed.containers[key], room)
    return body.with_(resourceFiles=tuple(files))


def _have_room(files: Stream[LocalFile], room: int) -> bool:
    if len(files) * SIGNED > room:
        return False
    # The name is in the URL, with special characters encoded, and in the path.
    mentions = sum(len(quote(file.blob)) + len(file.blob) for file in files)
    return len(files) * SIGNED + mentions <= room


def container_resource(container: str) -> Record:
    """A ResourceFile for all blobs of a container, by the container's id."""
    return Record(storageContainerUrl=BlobUrl(container, None, READ))


def _all_work(tasks: Expansion) -> str:
    """A digest of the work of tasks. A generated id contains the digest of the task's work."""
    hasher = hashlib.sha256()
    for task in tasks:
        hasher.update(task.id.encode() + b"\n")
        if tasks.maker.names_ids:
            hasher.update(task.marks.work.encode() + b"\n")
    return hasher.hexdigest()


def _own_id(template: Template, scope: Mapping[str, object]) -> str:
    """The id from the template of the stage."""
    name = evaluate(template, scope)
    if isinstance(name, str) and VALID.fullmatch(name):
        return name
    if isinstance(name, Text):
        summary = "a task's id cannot contain a secret or a URL"
    elif len(name) > 64:
        summary = f"a task's id has at most 64 characters, and {name!r} has {len(name)}"
    else:
        summary = f"{name!r} is not a valid task id: use only letters, digits, `-` and `_`"
    fix = "Use `| slug` to replace other characters, or `| hash` to shorten a long string."
    raise SpecError(Diagnostic("task-id", summary, where=template.where, fix=fix))


def _at_item(problem: Diagnostic, index: int, item: Item) -> Diagnostic:
    """The diagnostic with the item in its detail, unless the stage has no ``for_each``."""
    if not item.variables:
        return problem
    words = ", ".join(repr(word) for word in item.words[:4])
    which = f"With index {index}" + (f": {words}." if words else ".")
    return replace(problem, detail=f"{problem.detail} {which}".strip())
