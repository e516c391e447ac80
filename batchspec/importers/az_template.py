"""Templates of the Azure Batch CLI extensions: a pool or a job with parameters, and task factories.

A template has ``parameters``, ``variables`` and a ``pool`` or ``job``; expressions in brackets
(``[parameters('x')]``, ``[variables('x')]``, ``[concat(...)]``) can be anywhere in its strings. A
file group is the container ``fgrp-NAME`` of the linked storage account.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from batchspec.importers.draft import (
    CONTAINERS,
    JOB,
    OWN_FILE,
    PARAMETERS,
    Body,
    Draft,
    Expressions,
    Json,
    identifier,
    is_secret_name,
    stage_section,
)
from batchspec.importers.rest import RestReader, member, read_url, records
from batchspec.importers.rest_bodies import BodyImporter

ReadFile: TypeAlias = Callable[[str], object]
"""Reads a JSON file whose path a template names, relative to that template."""

_CALL = re.compile(r"\[(parameters|variables)\(\s*'([^']*)'\s*\)\]")
_CONCAT = re.compile(r"\[concat\((.*)\)\]", re.DOTALL)
_ARGUMENT = re.compile(
    r"\s*(?:'([^']*)'|\"([^\"]*)\"|(parameters|variables)\('([^']*)'\))\s*(?:,|$)"
)
_FIELD = re.compile(r"\{\{|\}\}|\{(\w+)(?::(\d))?\}")
_MOST_EXPANSIONS = 10_000
"""The maximum number of replaced variables; each can contain others several times."""
_TYPES = {"int": "integer", "string": "string", "bool": "boolean"}
_BOUNDS = {
    "minValue": "minimum",
    "maxValue": "maximum",
    "minLength": "minLength",
    "maxLength": "maxLength",
    "allowedValues": "enum",
    "defaultValue": "default",
}
_FILE_FIELDS = {
    "url": "file.url",
    "filePath": "file.path",
    "fileName": "file.name",
    "fileNameWithoutExtension": "file.stem",
}


def is_template(document: Json) -> bool:
    """Whether a document is a template of the extensions, or a job that refers to one."""
    return bool(
        any(isinstance(document.get(name), Mapping) for name in ("pool", "job"))
        or member(document, "applicationTemplateInfo")
        or member(document, "taskFactory")
    )


def is_parameters(document: Json) -> bool:
    """Whether a document contains values of parameters: ``{"name": {"value": 1}}``."""
    values = document.values()
    return bool(document) and all(
        isinstance(each, Mapping) and set(each) <= {"value", "metadata"} and "value" in each
        for each in values
    )


class TemplateImporter:
    """Fills a draft from templates."""

    def __init__(self, draft: Draft) -> None:
        self.draft = draft
        self._expressions = Expressions()
        self._reader = TemplateReader(draft, self._expressions)
        self._bodies = BodyImporter(draft, self._reader)
        self._names: dict[str, str] = {}
        self._variables: dict[str, Any] = {}
        self._used: set[str] = set()
        self._expanded = 0

    def template(self, document: Json, read_file: ReadFile) -> None:
        """A pool or job template, or a job that names an application template.

        ``read_file`` reads that application template.
        """
        self.draft.hide_secrets(document)
        self._declare(document)
        pool, job = member(document, "pool"), member(document, "job")
        if isinstance(pool, Mapping):
            self.draft.pool.pop("existing", None)
            self._bodies.pool(self._filled(member(pool, "properties") or pool))
        if isinstance(job, Mapping):
            self._job(member(job, "properties") or job, read_file)
        elif not isinstance(pool, Mapping):
            self._job(document, read_file)

    def values(self, document: Json) -> None:
        """Values of parameters become their defaults."""
        for name, value in document.items():
            key = self._names.get(name)
            if key is not None and "secret" not in self.draft.parameters.get(key, {}):
                self.draft.parameters[key]["default"] = value["value"]

    def finish(self) -> None:
        """Remove the parameters that the spec does not use."""
        for name, key in self._names.items():
            if key not in self._used and key in self.draft.parameters:
                del self.draft.parameters[key]
                self.draft.note(
                    PARAMETERS, f"Not imported: the parameter `{name}`, which is unused."
                )

    # --- parameters and expressions --------------------------------------------------------------

    def _declare(self, document: Json) -> None:
        variables = member(document, "variables")
        self._variables |= dict(variables) if isinstance(variables, Mapping) else {}
        declared = member(document, "parameters")
        for name, each in declared.items() if isinstance(declared, Mapping) else ():
            body: Body = {"type": _TYPES.get(str(each.get("type")).lower(), "string")}
            body |= {key: each[name_] for name_, key in _BOUNDS.items() if name_ in each}
            if _is_secret(name, each):
                body.pop("default", None)
                body["secret"] = True
            text = member(member(each, "metadata"), "description")
            if text:
                body["description"] = str(text)
            self._names[name] = self.draft.parameter(name, **body)

    def _filled(self, value: Any) -> Any:
        """A value with its expressions replaced by placeholders, or by the value of a variable."""
        match value:
            case Mapping():
                return {key: self._filled(item) for key, item in value.items()}
            case list():
                return [self._filled(item) for item in value]
            case str():
                whole = _CALL.fullmatch(value)
                if whole and whole[1] == "variables" and whole[2] in self._variables:
                    return self._variable(whole[2])
                concat = _CONCAT.fullmatch(value)
                if concat:
                    return self._joined(concat[1])
                return _CALL.sub(lambda match: self._call(match[1], match[2]), value)
        return value

    def _call(self, function: str, name: str) -> str:
        if function == "variables":
            found = self._variable(name)
            return found if isinstance(found, str) else str(found)
        key = self._names.get(name) or self.draft.parameter(name, type="string")
        self._names[name] = key
        self._used.add(key)
        return self._expressions.add(key)

    def _variable(self, name: str) -> Any:
        self._expanded += 1
        if self._expanded > _MOST_EXPANSIONS:
            raise ValueError(
                f"variables are nested more than {_MOST_EXPANSIONS:,} times in each other"
            )
        return self._filled(self._variables.get(name, ""))

    def _joined(self, arguments: str) -> str:
        found, end = "", 0
        for match in _ARGUMENT.finditer(arguments):
            if match.start() != end:
                break
            found += match[1] or match[2] or (self._call(match[3], match[4]) if match[3] else "")
            end = match.end()
        if end != len(arguments):
            self.draft.note("", f"Not imported: the expression `[concat({arguments})]`.")
        return found

    # --- the job ---------------------------------------------------------------------------------

    def _job(self, body: Json, read_file: ReadFile) -> None:
        application = member(body, "applicationTemplateInfo")
        if isinstance(application, Mapping):
            body = {**self._application(application, read_file), **body}
        filled = self._filled(body)
        if name := member(filled, "id"):
            self.draft.job["id"] = self._expressions.finish(str(name))
        self._bodies.job(filled)
        factory = member(body, "taskFactory")
        if isinstance(factory, Mapping):
            self._factory(factory)

    def _application(self, info: Json, read_file: ReadFile) -> Json:
        """The job properties of an application template, with its given parameters."""
        template = read_file(str(member(info, "filePath")))
        if not isinstance(template, Mapping):
            raise TypeError(f"{member(info, 'filePath')} is not an object")
        self.draft.hide_secrets(template)
        self._declare(template)
        given = member(info, "parameters") or {}
        self.values({name: {"value": value} for name, value in given.items()})
        names = {"parameters", "variables", "templateMetadata"}
        return {key: value for key, value in template.items() if key not in names}

    def _factory(self, factory: Json) -> None:
        kind = str(member(factory, "type")).lower()
        if kind == "taskcollection":
            for task in records(member(factory, "tasks")):
                self._task(self._filled(task), {}, str(member(task, "id") or "task"))
        elif kind in {"parametricsweep", "taskperfile"}:
            sweep = kind == "parametricsweep"
            items, fields = self._sweep(factory) if sweep else self._per_file(factory)
            repeated = _replaced(
                self._filled(member(factory, "repeatTask") or {}),
                lambda match: self._field(match, fields),
            )
            name = self._task(repeated, {"for_each": items}, "sweep" if sweep else "file")
            merge = member(factory, "mergeTask")
            if isinstance(merge, Mapping):
                self._task(self._filled(merge), {"needs": [name]}, "merge")
        else:
            self.draft.note(JOB, f"Not imported: the task factory `{member(factory, 'type')}`.")

    def _sweep(self, factory: Json) -> tuple[Body, dict[str, str]]:
        sets = [self._set(each) for each in records(member(factory, "parameterSets"))]
        if len(sets) == 1:
            return {"range": sets[0]}, {"0": "value"}
        names = [f"value{number}" for number in range(len(sets))]
        matrix = {name: {"range": each} for name, each in zip(names, sets, strict=True)}
        return {"matrix": matrix}, {str(number): name for number, name in enumerate(names)}

    def _set(self, given: Json) -> list[Any]:
        """A range, whose end is exclusive; ``end`` of a parameter set is inclusive."""
        start, end = self._bound(member(given, "start")), self._bound(member(given, "end"), "+ 1")
        step = self._bound(member(given, "step") or 1)
        return [start, end] if step == 1 else [start, end, step]

    def _bound(self, value: Any, more: str = "") -> Any:
        if isinstance(value, int):
            return value + (1 if more else 0)
        text = self._expressions.finish(self._filled(str(value)))
        if re.fullmatch(r"-?\d+", text):
            return int(text) + (1 if more else 0)
        return text.replace(" }}", f" {more} }}}}") if more else text

    def _per_file(self, factory: Json) -> tuple[Body, dict[str, str]]:
        source = self._filled(member(factory, "source") or {})
        items: Body = {"blobs": self._reader.source(source)}
        if prefix := member(source, "prefix"):
            items["prefix"] = self._expressions.finish(str(prefix))
        return items, dict(_FILE_FIELDS)

    def _field(self, match: re.Match[str], fields: Mapping[str, str]) -> str:
        if match[0] in {"{{", "}}"}:
            return match[0][0]
        expression = fields.get(match[1])
        if expression is None:
            return match[0]
        return self._expressions.add(
            f"{expression} | zfill({match[2]})" if match[2] else expression
        )

    # --- tasks -----------------------------------------------------------------------------------

    def _task(self, body: Json, members: Body, wanted: str) -> str:
        name = self.draft.stage(wanted, {})
        found = dict(members)
        if not members and member(body, "id"):
            found["id"] = self._expressions.finish(str(member(body, "id")))
        found |= self._bodies.command(str(member(body, "commandLine") or ""))
        found |= self._bodies.task(body, stage_section(name))
        if "blobs" in found.get("for_each", ()) and found.get("resources") == [OWN_FILE]:
            del found["resources"]  # The default.
        self._install(body)
        self.draft.stages[name] = found
        return name

    def _install(self, body: Json) -> None:
        """Packages of a task: the start task installs them, or the preparation task of the job."""
        if "existing" not in self.draft.pool:
            self._bodies.packages(body, self.draft.pool)
            return
        target: Body = {}
        self._bodies.packages(body, target)
        if target:
            self.draft.job["prepare"] = target["start_task"]


class TemplateReader(RestReader):
    """Reads the additions of the extensions: file groups as sources and destinations."""

    def resource(self, file: Json, section: str) -> str | Body:
        """A ResourceFile, which can name a file group."""
        source, path = member(file, "source"), member(file, "filePath")
        url = self.text(member(file, "httpUrl"))
        if url == "{{ file.url }}":
            return {"http_url": url} | ({"file_path": self.text(path)} if path else {})
        if not isinstance(source, Mapping):
            return super().resource(file, section)
        key, prefix = self.source(source), member(source, "prefix")
        if not prefix and not path:
            return key
        found: Body = {"storage_container_url": read_url(key)}
        found |= {"blob_prefix": self.text(prefix)} if prefix else {}
        return found | ({"file_path": self.text(path)} if path else {})

    def source(self, source: Json) -> str:
        """The key of the container of a file group, or of a container named by its URL."""
        group = member(source, "fileGroup")
        if group is None:
            found = super().resource({"containerUrl": member(source, "containerUrl")}, CONTAINERS)
            return found if isinstance(found, str) else self.draft.container("input", existing=True)
        return self._group(str(group), existing=True)

    def destination(self, target: Json, section: str) -> tuple[str, object]:
        """The container of an output: a file group, or a parameter that is a signed URL."""
        stored = member(target, "autoStorage")
        if isinstance(stored, Mapping):
            return self._group(str(member(stored, "fileGroup")), existing=False), member(
                stored, "path"
            )
        container = member(target, "container") or {}
        url = str(member(container, "containerUrl") or member(container, "containerSas"))
        name = self.expressions.only(url)
        if name is None:
            return super().destination(target, section)
        self.draft.note(
            section,
            f"`{name}` was the signed URL of a container. Here it is the container `output`, and "
            "batchspec signs its URL.",
        )
        self.draft.parameters.pop(name, None)
        return self.draft.container("output"), member(container, "path")

    def _group(self, group: str, *, existing: bool) -> str:
        name = self.expressions.only(group)
        if name is None:
            return self.draft.container(f"fgrp-{group}", key=identifier(group), existing=existing)
        text = self.expressions.finish(f"fgrp-{group}")
        return self.draft.container(text, key=name, existing=existing)


def _is_secret(name: str, declaration: Json) -> bool:
    """Whether a parameter is declared as secret, or is a text with the name of a secret."""
    kind = str(declaration.get("type")).lower()
    return kind == "securestring" or (kind == "string" and is_secret_name(name))


def _replaced(value: Any, field: Callable[[re.Match[str]], str]) -> Any:
    """A value with the fields in its strings replaced."""
    match value:
        case Mapping():
            return {key: _replaced(item, field) for key, item in value.items()}
        case list():
            return [_replaced(item, field) for item in value]
        case str():
            return _FIELD.sub(field, value)
    return value
