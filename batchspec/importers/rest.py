"""Bodies of the REST API as members of a spec, by the schema of the spec language.

Names are compared without case and underscores, because each client of the service writes them
differently. A property that the schema lacks becomes a note, unless only the service sets it.
Signatures are never kept: the spec names the container or blob.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias
from urllib.parse import unquote, urlsplit

from batchspec.importers.draft import Body, Draft, Expressions
from batchspec.spec import advice_on, definition, resolved

Fragment: TypeAlias = Mapping[str, Any]

_REPORTED = frozenset(
    (
        *("allocationstate", "allocationstatetransitiontime", "autoscalerun", "creationtime"),
        *("currentdedicatednodes", "currentlowprioritynodes", "currentnodecommunicationmode"),
        *("etag", "executioninfo", "lastmodified", "nodeinfo", "odataetag", "odatametadata"),
        *("odata.etag", "odata.metadata", "previousstate", "previousstatetransitiontime"),
        *("resizeerrors", "state", "statetransitiontime", "stats", "url", "id"),
        *("usesephemeralosdisk", "apiversion", "type"),
    )
)
"""Properties that the service reports or a template contains, and that no request sets."""

_FORMER = {
    "maxtaskspernode": "taskslotspernode",
    "targetdedicated": "targetdedicatednodes",
    "targetlowpriority": "targetlowprioritynodes",
    "blobsource": "httpurl",
    "containerurl": "storagecontainerurl",
}
"""Names of earlier versions of the REST API."""

_DEFAULTS: Mapping[str, object] = {
    "allow_task_preemption": False,
    "enable_auto_scale": False,
    "enable_inter_node_communication": False,
    "job_default_order": "none",
    "keep_alive": False,
    "max_parallel_tasks": -1,
    "node_fill_type": "spread",
    "priority": 0,
    "required_slots": 1,
    "resize_timeout": "PT15M",
    "task_failure_mode": "noaction",
    "task_slots_per_node": 1,
    "uses_task_dependencies": False,
}
"""Values that the service reports for properties that no request set."""

_WHEN = {"taskfailure": "failure", "taskcompletion": "always", "taskcomplete": "always"}
_PATH_STYLE = re.compile(r"localhost\b|127\.|\[::1\]|\d+\.\d+\.\d+\.\d+")
"""Hosts of emulators, which have the account in the path."""
_BLOB_HOST = re.compile(r"[a-z0-9]+\.(?:z\d+\.)?blob\.", re.IGNORECASE)


class RestReader:
    """Converts bodies of the REST API, whose texts may have placeholders of ``expressions``."""

    def __init__(self, draft: Draft, expressions: Expressions | None = None) -> None:
        self.draft = draft
        self.expressions = expressions or Expressions()

    def members(
        self, body: Mapping[str, Any], model: str, section: str, *, without: Sequence[str] = ()
    ) -> Body:
        """The members of ``body`` that are in the definition ``model`` of the schema.

        ``without`` are properties that the caller converts.
        """
        rest = {key: item for key, item in body.items() if _plain(key) not in map(_plain, without)}
        return self._record(rest, definition(model), section, "")

    def resources(self, files: Sequence[Mapping[str, Any]], section: str) -> list[str | Body]:
        """ResourceFiles; a whole container of the account is its key."""
        return [self.resource(file, section) for file in files]

    def outputs(self, files: Sequence[Mapping[str, Any]], section: str) -> list[Body]:
        """OutputFiles in their short form."""
        found: list[Body] = []
        for file in files:
            key, path = self.destination(member(file, "destination") or {}, section)
            body: Body = {"files": self.text(member(file, "filePattern")), "container": key}
            if path:
                body["path"] = self.text(path)
            condition = str(member(member(file, "uploadOptions") or {}, "uploadCondition") or "")
            if condition.lower() in _WHEN:
                body["when"] = _WHEN[condition.lower()]
            found.append(body)
        return found

    def destination(self, target: Mapping[str, Any], section: str) -> tuple[str, object]:
        """The key of the container of an output, and the path in it."""
        container = member(target, "container") or {}
        place = _location(
            str(member(container, "containerUrl") or member(container, "containerSas"))
        )
        if place is not None:
            return self.draft.container(place[0], existing=True), member(container, "path")
        self.draft.note(section, "The destination of an output is not a container of an account.")
        return self.draft.container("output"), member(container, "path")

    def text(self, value: object) -> str:
        """A text as a template, without signatures."""
        return self.expressions.finish(str(value))

    def _record(self, body: Mapping[str, Any], schema: Fragment, section: str, path: str) -> Body:
        properties = schema.get("properties", {})
        # A short form can have the same name as a property of the REST API.
        known = {_plain(key): key for key in properties}
        known |= {
            _plain(each["x-wire"]): key for key, each in properties.items() if "x-wire" in each
        }
        found: Body = {}
        for name, value in body.items():
            if value is None or value in ([], {}):
                continue
            plain = _FORMER.get(_plain(name), _plain(name))
            key = known.get(plain)
            if key is None:
                self._left_out(name, properties, section, path)
                continue
            converted = self._value(value, properties[key], section, f"{path}{key}.")
            if converted not in (None, {}, []) and _DEFAULTS.get(key, ...) != converted:
                found[key] = converted
        return found

    def _left_out(self, name: str, known: Fragment, section: str, path: str) -> None:
        if _plain(name) in _REPORTED or _plain(name).startswith("odata"):
            return
        advice = advice_on(name, known)
        words = (f"Not imported: `{path}{name}`.", advice.why, advice.fix)
        self.draft.note(section, " ".join(filter(None, words)))

    def _value(self, value: Any, schema: Fragment, section: str, path: str) -> Any:
        if schema.get("x-secret"):
            return self._secret(path)
        schema = resolved(schema)
        if isinstance(value, Mapping):
            if "properties" in schema:
                return self._record(value, schema, section, path)
            return {key: self._value(item, {}, section, path) for key, item in value.items()}
        if isinstance(value, list):
            value = [item for item in value if not _is_ours(item)]
            each = schema.get("items", {})
            return [self._value(item, each, section, path) for item in value]
        if not isinstance(value, str):
            return value
        return self._word(self.text(value), schema)

    def _word(self, text: str, schema: Fragment) -> Any:
        """A text; a choice of the schema in its letter case, or a number as a text."""
        for choice in _choices(schema):
            if choice.lower() == text.lower():
                return choice
        types = schema.get("type")
        if types and "integer" in types and re.fullmatch(r"-?\d{1,18}", text):
            return int(text)
        return text

    def _secret(self, path: str) -> str:
        name = self.draft.parameter(path.rstrip(".").rpartition(".")[2], type="string", secret=True)
        return f"{{{{ {name} }}}}"

    def resource(self, file: Mapping[str, Any], section: str) -> str | Body:
        """A ResourceFile, or the key of a container."""
        url = next(
            (
                str(found)
                for name in ("httpUrl", "blobSource", "storageContainerUrl", "containerUrl")
                if (found := member(file, name))
            ),
            "",
        )
        place = _location(url)
        rest = {
            key: value
            for key, value in file.items()
            if _plain(key) not in {"httpurl", "blobsource", "storagecontainerurl", "containerurl"}
        }
        if place is None:
            body = self._record(rest, definition("ResourceFile"), section, "")
            return {"http_url": self.text(url), **body} if url else body
        container, blob = place
        key = self.draft.container(container, existing=True)
        if blob:
            wanted = str(member(rest, "filePath") or blob)
            rest = {name: item for name, item in rest.items() if _plain(name) != "filepath"}
            folder = wanted.removesuffix(blob).rstrip("/")
            if not wanted.endswith(blob):
                self.draft.note(
                    section,
                    f"The file {blob!r} had the name {wanted!r} on the node; it keeps its own.",
                )
                folder = ""
            rest |= {"blobPrefix": blob} | ({"filePath": folder} if folder else {})
        body = self._record(rest, definition("ResourceFile"), section, "")
        if not body:
            return key
        return {"storage_container_url": read_url(key), **body}


def read_url(key: str) -> str:
    """A template of the signed URL of a container."""
    return f"{{{{ containers.{key}.read_url }}}}"


def records(value: object) -> list[Mapping[str, Any]]:
    """The objects of a list; none for another value."""
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def member(body: object, name: str) -> Any:
    """A property by its REST name, in every client's spelling; ``None`` if it does not exist."""
    if not isinstance(body, Mapping):
        return None
    wanted = _plain(name)
    return next((value for key, value in body.items() if _plain(str(key)) == wanted), None)


def _plain(name: str) -> str:
    return name.replace("_", "").lower()


def _is_ours(item: object) -> bool:
    """Whether an entry of metadata records a run of batchspec."""
    return isinstance(item, Mapping) and str(member(item, "name")).startswith("batchspec:")


def _location(url: str) -> tuple[str, str] | None:
    """The container and blob of the URL of a storage account; ``None`` for another URL."""
    parts = urlsplit(url)
    signed = "sig=" in parts.query
    if not parts.netloc or not (signed or _BLOB_HOST.match(parts.netloc)):
        return None
    path = unquote(parts.path).lstrip("/")
    if _PATH_STYLE.match(parts.netloc):
        path = path.partition("/")[2]  # After the account.
    container, _, blob = path.partition("/")
    # A public blob needs no signature and may be in another account.
    return (container, blob) if container and (signed or not blob) else None


def _choices(schema: Fragment) -> Sequence[str]:
    found = [*schema.get("enum", ())]
    for branch in schema.get("anyOf", ()):
        found += branch.get("enum", ())
    return [choice for choice in found if isinstance(choice, str)]
