"""The create models of the Batch SDK as JSON Schema definitions, from the source of the SDK.

Names are the attribute names of the SDK (snake_case); ``x-wire`` is the name in the REST API if it
differs. Read-only members are excluded.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from typing import Any

from azure.batch.models import _enums, _models

Schema = dict[str, Any]

ROOTS = (
    "BatchPoolCreateOptions",
    "BatchPoolSpecification",
    "BatchJobCreateOptions",
    "BatchJobSpecification",
    "BatchJobScheduleCreateOptions",
    "BatchTaskCreateOptions",
)
"""The models that a spec is converted to; nested models follow from them."""

TEMPLATE = r"\{\{"
"""Matches a template; used in patterns."""

_PART = r"[0-9]+(?:\.[0-9]+)?"
DURATION = (
    rf"^(?:(?=.)(?:[0-9]+d)?(?:[0-9]+h)?(?:[0-9]+m)?(?:{_PART}s)?"
    rf"|P(?=.)(?:[0-9]+W|(?:[0-9]+D)?(?:T(?=.)(?:[0-9]+H)?(?:[0-9]+M)?(?:{_PART}S)?)?))$|{TEMPLATE}"
)

SECRETS = frozenset({"password", "account_key", "sas_key", "ssh_private_key"})
"""Members that contain a secret in any model; a spec must use a secret parameter for them."""


def definitions() -> dict[str, Schema]:
    """Every model reachable from :data:`ROOTS`, by its name in the SDK."""
    classes = _classes(_models)
    enums = {name: _members(node) for name, node in _classes(_enums).items()}
    found: dict[str, Schema] = {}
    waiting = list(ROOTS)
    while waiting:
        name = waiting.pop(0)
        if name in found:
            continue
        found[name], needed = _model(classes[name], enums)
        waiting.extend(needed)
    return dict(sorted(found.items()))


_REFERENCE = "https://learn.microsoft.com/rest/api/batchservice"
_PAGES = {
    "BatchPoolCreateOptions": "pools/create-pool",
    "BatchJobCreateOptions": "jobs/create-job",
    "BatchJobScheduleCreateOptions": "job-schedules/create-job-schedule",
    "BatchTaskCreateOptions": "tasks/create-task",
    "BatchPoolSpecification": "jobs/create-job",
    "BatchJobSpecification": "job-schedules/create-job-schedule",
}
"""The page of the Batch reference with the request that contains a model, the first one."""


def reference_pages() -> dict[str, str]:
    """The page of the Batch reference that describes each model of :func:`definitions`.

    Without the anchor of the model: the YAML language server puts a backslash before ``#``, and the
    link in the editor would not work.
    """
    models = definitions()
    pages: dict[str, str] = {}
    for root, page in _PAGES.items():
        waiting = [root]
        while waiting:
            name = waiting.pop()
            if name in models and name not in pages:
                pages[name] = f"{_REFERENCE}/{page}"
                waiting += re.findall(r"'#/definitions/(\w+)'", repr(models[name]))
    return pages


def _classes(module: Any) -> dict[str, ast.ClassDef]:
    tree = ast.parse(inspect.getsource(module))
    return {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}


def _members(node: ast.ClassDef) -> list[tuple[str, str]]:
    """The REST values of an enumeration, each with its description in the SDK."""
    members: list[tuple[str, str]] = []
    for statement, description in _documented(node):
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Constant):
            members.append((str(statement.value.value), description))
    return members


def _documented(node: ast.ClassDef) -> Iterator[tuple[ast.stmt, str]]:
    for position, statement in enumerate(node.body):
        following = node.body[position + 1] if position + 1 < len(node.body) else None
        description = ""
        if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
            description = plain(str(following.value.value))
        yield statement, description


def _model(node: ast.ClassDef, enums: dict[str, list[tuple[str, str]]]) -> tuple[Schema, list[str]]:
    properties: dict[str, Schema] = {}
    required: list[str] = []
    needed: list[str] = []
    for statement, description in _documented(node):
        if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
            continue
        field = _field(statement)
        if "create" not in field["visibility"]:
            continue
        attribute = statement.target.id
        annotation = ast.unparse(statement.annotation)
        optional = annotation.startswith("Optional[")
        kind = annotation.removeprefix("Optional[")[:-1] if optional else annotation
        schema = _type(kind, enums, needed)
        parts = (_own_words(description), schema.pop("x-choices", ""))
        described: Schema = {"description": "\n\n".join(part for part in parts if part)}
        if field["name"] != attribute:
            described["x-wire"] = field["name"]
        if attribute in SECRETS or attribute == "protected_settings":
            described["x-secret"] = True
            described["description"] += " A secret: use a parameter with `secret: true`."
            schema = _SECRETS[schema["type"]]
        properties[attribute] = {**schema, **described}
        if not optional:
            required.append(attribute)
    schema = {
        "title": node.name,
        "description": plain(str(ast.get_docstring(node) or "").split("\n\n:ivar")[0]),
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }
    if not required:
        del schema["required"]
    return schema, needed


def _own_words(description: str) -> str:
    """A description without the parts that the schema contains."""
    description = description.removesuffix("Required.").strip()
    return re.sub(
        r"\s*(?:Required\.\s*)?(?:Known values are|Is one of|Is either).*$", "", description
    )


def _field(statement: ast.AnnAssign) -> dict[str, Any]:
    assert isinstance(statement.value, ast.Call)
    assert isinstance(statement.target, ast.Name)
    given = {
        keyword.arg: ast.literal_eval(keyword.value)
        for keyword in statement.value.keywords
        if keyword.arg in ("name", "visibility")
    }
    return {"name": statement.target.id, "visibility": ["create"], **given}


def _type(kind: str, enums: dict[str, list[tuple[str, str]]], needed: list[str]) -> Schema:
    quoted = re.findall(r"_models\.(\w+)", kind)
    if kind.startswith("list["):
        items = _type(kind[5:-1], enums, needed)
        description = items.pop("x-choices", "")
        return {"type": "array", "items": items, "x-choices": description}
    if kind == "dict[str, str]":
        return {"type": "object", "additionalProperties": {"type": "string"}}
    if kind.startswith("Union[str,"):
        return enumeration(enums[quoted[0]])
    if quoted:
        needed.append(quoted[0])
        return {"allOf": [{"$ref": f"#/definitions/{quoted[0]}"}]}
    return dict(_SCALARS[kind])


_SCALARS: dict[str, Schema] = {
    "str": {"type": "string"},
    "int": {"type": ["integer", "string"], "pattern": TEMPLATE},
    "bool": {"type": ["boolean", "string"], "pattern": TEMPLATE},
    "datetime.timedelta": {
        "type": "string",
        "pattern": DURATION,
        "x-unit": "duration",
        "examples": ["90s", "30m", "2h", "7d", "1h30m", "PT30M"],
    },
    "datetime.datetime": {
        "type": "string",
        "x-unit": "time",
        "examples": ["2026-12-01T06:00:00Z"],
    },
}


_SECRETS: dict[str, Schema] = {
    "string": {"type": "string", "pattern": TEMPLATE},
    "object": {
        "type": "object",
        "additionalProperties": {"type": "string", "pattern": TEMPLATE},
    },
}


def enumeration(members: list[tuple[str, str]]) -> Schema:
    """One of the members, or a template that yields one."""
    description = "\n".join(f"- `{value}`: {text}" for value, text in members if text)
    return {
        "anyOf": [
            {"enum": [value for value, _ in members]},
            {"$ref": "#/definitions/template"},
        ],
        "x-choices": description,
    }


def plain(text: str) -> str:
    """A docstring of the SDK as one paragraph of plain text."""
    text = " ".join(text.split())
    text = re.sub(r"`+([^`<]+?)\s*<([^`>]+)>`+__?", lambda m: _link(m[1], m[2]), text)
    text = re.sub(r"~?azure\.batch\.models\.(?:_models\.)?(\w+)", r"\1", text)
    return text.replace("``", "`").replace(r"\ ", "")


def _link(label: str, url: str) -> str:
    return url if label == url else f"{label} ({url})"
