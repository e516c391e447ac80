"""Specs from the files of other tools, or from the objects of a live account.

The tools are ``az batch`` (JSON), its extensions (templates) and batch-shipyard. In: documents
(parsed JSON or YAML) with their paths. Out: a :class:`Draft`, whose text is a spec, with a comment
for everything that has no counterpart. Nothing here reads an account.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from batchspec.diagnostics import Diagnostic, SpecError
from batchspec.importers.az_template import ReadFile, TemplateImporter, is_parameters, is_template
from batchspec.importers.draft import Draft, Json
from batchspec.importers.rest import RestReader, member, records
from batchspec.importers.rest_bodies import BodyImporter
from batchspec.importers.shipyard import ShipyardImporter, is_shipyard
from batchspec.spec import read_data

__all__ = ["Draft", "import_bodies", "import_documents"]


def import_documents(paths: Sequence[Path], *, job: str = "") -> Draft:
    """A draft of a spec from files of one tool. ``job`` selects one of several jobs.

    Raises:
        SpecError: a file cannot be read or is of no known kind, or ``job`` is missing or unknown.
    """
    documents = [(path, read_data(path)) for path in paths]
    try:
        return _imported(documents, Draft(name=_stem(paths[0])), job)
    except _MALFORMED as error:
        names = ", ".join(path.name for path in paths)
        raise SpecError(
            Diagnostic(
                "unknown-document",
                f"{names}: a value does not have the type that the tool writes",
                f"{type(error).__name__}: {error}",
                fix="Compare the file with an export of the tool.",
            )
        ) from None


_MALFORMED = (AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""The errors that values of unexpected types cause. The importers rely on the types that the tools
write."""


def _imported(documents: Sequence[tuple[Path, object]], draft: Draft, job: str) -> Draft:
    bodies = [body for _, found in documents for body in _bodies(found)]
    if any(is_shipyard(body) for body in bodies):
        for body in bodies:
            draft.hide_secrets(body)
        ShipyardImporter(draft).documents(bodies, job)
    elif any(is_template(body) for body in bodies):
        _templates(documents, draft)
    else:
        for path, found in documents:
            if not _bodies(found) or not all(_kind(body) for body in _bodies(found)):
                raise SpecError(_unknown(path))
        _import_bodies(draft, bodies)
    draft.finish()
    return draft


def import_bodies(name: str, pool: Json | None, job: Json | None, tasks: Sequence[Json]) -> Draft:
    """A draft from a live pool, a live job and its tasks."""
    draft = Draft(name=name)
    bodies = [body for body in (pool, job) if body is not None]
    _import_bodies(draft, [*bodies, *tasks])
    draft.name = name
    for section in (draft.pool, draft.job):
        section.pop("id", None)
    draft.finish()
    return draft


def _beside(document: Path, name: str) -> Path:
    """The file that a document names. Its content becomes a part of the spec.

    Raises:
        SpecError: it is not in the folder of the document or below it.
    """
    folder = document.resolve().parent
    path = (folder / name).resolve()
    if not path.is_relative_to(folder):
        raise SpecError(
            Diagnostic(
                "unknown-document",
                f"{document.name} names {name!r}, which is outside its folder",
                fix="Copy the file into the folder of the document, and change `filePath`.",
            )
        )
    return path


def _templates(documents: Sequence[tuple[Path, object]], draft: Draft) -> None:
    def read_beside(path: Path) -> ReadFile:
        return lambda name: read_data(_beside(path, name))

    mine = [(path, body) for path, found in documents for body in _bodies(found)]
    templates = [(path, body) for path, body in mine if is_template(body)]
    importer = TemplateImporter(draft)
    # The pool is first, so that a job does not refer to it as an existing pool.
    for path, body in sorted(templates, key=lambda each: "pool" not in each[1]):
        importer.template(body, read_beside(path))
    for path, body in mine:
        if is_parameters(body):
            importer.values(body)
        elif not is_template(body):
            raise SpecError(_unknown(path))
    importer.finish()


def _import_bodies(draft: Draft, bodies: Sequence[Json]) -> None:
    importer = BodyImporter(draft, RestReader(draft))
    for body in bodies:
        draft.hide_secrets(body)
    tasks: list[Json] = []
    for body in sorted(bodies, key=lambda each: _ORDER.index(_kind(each))):
        match _kind(body):
            case "pool":
                importer.pool(body)
            case "job":
                importer.job(body)
            case "schedule":
                importer.schedule(body)
            case _:
                tasks.append(body)
    named = next((each for each in bodies if _kind(each) in {"schedule", "job"}), None)
    if named is not None and member(named, "id"):
        draft.name = str(member(named, "id"))
    importer.tasks(tasks)


_ORDER = ("pool", "schedule", "job", "task", "")


def _kind(body: Json) -> str:
    """``pool``, ``job``, ``schedule`` or ``task``; empty for any other object."""
    if member(body, "vmSize") is not None:
        return "pool"
    if member(body, "jobSpecification") is not None:
        return "schedule"
    if member(body, "poolInfo") is not None:
        return "job"
    return "task" if member(body, "commandLine") is not None else ""


def _bodies(found: object) -> list[Json]:
    """The objects of a document: the document, its items, or the items of a page of a list."""
    if isinstance(found, list):
        return records(found)
    if not isinstance(found, Mapping):
        return []
    value = found.get("value")
    return records(value) if isinstance(value, list) else [found]


def _stem(path: Path) -> str:
    return path.resolve().parent.name if path.stem in {"config", "jobs", "pool"} else path.stem


def _unknown(path: Path) -> Diagnostic:
    return Diagnostic(
        "unknown-document",
        f"{path} is not a file that can be imported",
        "`import` reads pools, jobs, job schedules and tasks as JSON, templates of the Azure Batch "
        "CLI extensions, and the configuration files of batch-shipyard.",
    )
