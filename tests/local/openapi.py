"""Checks requests and replies against the published OpenAPI description of the protocol.

The description is expected next to the project (``../shared/openapi``); without it nothing is
checked. Unknown properties are violations. Enum values are compared without regard to case, since
the real service uses other cases than its description. ``DEVIATIONS`` comes from checking 721
recorded exchanges.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from jsonschema import Draft4Validator

FOLDER = Path(__file__).parents[3] / "shared" / "openapi"
FILES = {
    "2026-10-01": "openapi-2026-10-01.structure.json",
    "2025-06-01": "openapi-2025-06-01.structure.json",
    "2024-02-01.19.0": "BatchService-2024-02-01.19.0.json",
}
"""By api-version; the replies of others are compared with the models of their SDK."""
CONTROL_PLANE = FOLDER.parent / "arm" / "BatchManagement-2025-06-01.derived.json"

DEVIATIONS = {
    "'password' is a required property": "user accounts of a pool are returned without it",
    "'displayName' is a required property": "applications without a display name omit it",
    "'lastBootTime' is a required property": "its description says that it may be absent",
    "'ipv6Address' is a required property": "only pools with IPv6 have it",
}
"""Violations of the real service that are not reported, with the reason."""


_NUMBER = re.compile(r"'-?\d+' is not of type 'integer'")


class Description:
    """The OpenAPI description at ``path``."""

    FLAGS = re.NOFLAG
    METADATA = True
    """Whether JSON in replies has ``odata.metadata``."""
    UNKNOWN = frozenset({400, 405})
    """The statuses for a path that is not described."""

    def __init__(self, path: Path) -> None:
        raw = self._load(path)
        self._paths = [
            (
                re.compile(_path_pattern(template) + "/?$", self.FLAGS),
                verbs,
            )
            for template, verbs in raw["paths"].items()
        ]
        self._definitions = {name: _close(shape) for name, shape in raw["definitions"].items()}
        self._parameters = raw.get("parameters", {})

    def _load(self, path: Path) -> dict[str, Any]:
        raw: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return raw

    def violations(
        self,
        method: str,
        url: str,
        body: bytes | None,
        status: int,
        headers: Mapping[str, str],
        reply: bytes | None,
    ) -> list[str]:
        """The violations of one exchange; a rejected request need not conform."""
        parts = urlsplit(url)
        operation = self._operation(method, parts.path)
        if operation is None:
            return [] if status in self.UNKNOWN else [f"{method} {parts.path} is not described"]
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        found = []
        if status < 400:
            found += self._request(operation, query, body, replaces=method == "PUT")
            if str(status) not in operation["responses"] and status != 304:
                found.append(f"status {status} is not described")
        schema = operation["responses"].get(str(status), operation["responses"]["default"])
        if status != 304 and method != "HEAD":
            found += self._reply(schema, headers, reply, selected="$select" in query)
        return [f"{method} {parts.path}: {text}" for text in found]

    def _operation(self, method: str, path: str) -> Mapping[str, Any] | None:
        for pattern, verbs in self._paths:
            if pattern.match(path) and method.lower() in verbs:
                operation: Mapping[str, Any] = verbs[method.lower()]
                return operation
        return None

    def _request(
        self,
        operation: Mapping[str, Any],
        query: Mapping[str, str],
        body: bytes | None,
        *,
        replaces: bool,
    ) -> list[str]:
        parameters = [
            self._parameters[p["$ref"].rpartition("/")[2]] if "$ref" in p else p
            for p in operation["parameters"]
        ]
        known = {p["name"].lower() for p in parameters if p["in"] == "query"}
        found = [f"query {name}" for name in query if name.lower() not in {*known, "$skiptoken"}]
        shapes = [p["schema"] for p in parameters if p["in"] == "body"]
        if body and shapes:
            value = json.loads(body)
            # The SDK sends back a resource with this property.
            value.pop("odata.metadata", None)
            errors = self._errors(value, shapes[0])
            # The published model of PUT is that of the reply; its examples send a part of it.
            found += [e for e in errors if not (replaces and "is a required property" in e)]
            # azure-cli writes numbers as strings, which the service accepts (recorded).
            found = [e for e in found if not _NUMBER.search(e)]
        elif body:
            found.append("a body is not described")
        return found

    def _reply(
        self,
        response: Mapping[str, Any],
        headers: Mapping[str, str],
        reply: bytes | None,
        *,
        selected: bool,
    ) -> list[str]:
        schema = response.get("schema")
        if schema is None:
            return ["a reply body is not described"] if reply else []
        if "file" in (schema.get("type"), schema.get("format")):
            return []
        if not headers.get("content-type", "").startswith("application/json"):
            return [f"content type {headers.get('content-type')}"]
        value = json.loads(reply or b"null")
        if self.METADATA:
            if next(iter(value), "") != "odata.metadata":
                return ["odata.metadata is not first"]
            del value["odata.metadata"]
        errors = self._errors(value, schema)
        return [e for e in errors if not (selected and "is a required property" in e)]

    def _errors(self, value: Any, schema: Mapping[str, Any]) -> list[str]:
        full = {**_close(schema), "definitions": self._definitions}
        return [
            f"{'/'.join(map(str, error.absolute_path))}: {error.message}"
            for error in Draft4Validator(full).iter_errors(value)
            if not any(known in error.message for known in DEVIATIONS)
        ]


class ControlPlaneDescription(Description):
    """The OpenAPI description of the control plane at ``path``."""

    FLAGS = re.IGNORECASE
    METADATA = False
    UNKNOWN = frozenset({400, 401, 404, 405})

    def _load(self, path: Path) -> dict[str, Any]:
        raw = super()._load(path)
        definitions = raw["definitions"]
        for shape in definitions.values():
            for base in shape.pop("allOf", ()):
                inherited = definitions[base["$ref"].rpartition("/")[2]]
                shape["properties"] = {**inherited["properties"], **shape["properties"]}
                shape["required"] = [*shape.get("required", ()), *inherited.get("required", ())]
            if not shape.get("required", True):
                del shape["required"]
        return raw

    def _operation(self, method: str, path: str) -> Mapping[str, Any] | None:
        found = super()._operation(method, path)
        # Recorded; the description has only the operation that leads to it.
        return OPERATION_RESULT if found is None and "/poolOperationResults/" in path else found


OPERATION_RESULT: Mapping[str, Any] = {
    "parameters": [{"name": "api-version", "in": "query"}],
    "responses": {"200": {}, "202": {}, "default": {"schema": {}}},
}


def _path_pattern(template: str) -> str:
    """The paths of a template, whose parts in braces are variable."""
    # The slashes in the path of a file may be encoded or, as the service lists it, plain.
    parts = re.split(r"(\{\w+\})", template)
    return "".join(
        {"{filePath}": ".+"}.get(part, "[^/]+") if part.startswith("{") else re.escape(part)
        for part in parts
    )


def _close(schema: Any) -> Any:
    """A schema for jsonschema: without unknown properties, enum values in any case."""
    if isinstance(schema, list):
        return [_close(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    out = {
        name: {key: _close(one) for key, one in part.items()}
        if name == "properties"
        else _close(part)
        for name, part in schema.items()
        if name
        in ("type", "properties", "items", "required", "$ref", "additionalProperties", "enum")
    }
    if schema.get("format") == "int64":
        # Recorded: 64-bit numbers are written as strings.
        out["type"] = ["integer", "string"]
    if "properties" in out:
        out.setdefault("additionalProperties", False)
    if "enum" in out:
        words = "|".join(re.escape(word) for word in out.pop("enum"))
        out["pattern"] = f"^(?i:{words})$"
    return out


@cache
def openapi_description(version: str, *, control_plane: bool = False) -> Description | None:
    """The description of an api-version; ``None`` if it is not available."""
    if control_plane:
        path = CONTROL_PLANE if version == "2025-06-01" else Path()
        return ControlPlaneDescription(path) if path.is_file() else None
    path = FOLDER / FILES.get(version, "")
    return Description(path) if path.is_file() else None
