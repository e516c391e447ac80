"""The JSON Schema of a spec, as it is shipped, and ways to look things up in it.

The file is generated (``tools/generate_schema.py``) from the SDK's models and the language; nothing
here or anywhere else at run time imports the SDK.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

Fragment: TypeAlias = Mapping[str, Any]
"""A part of the schema: JSON as it is."""

FILE = Path(__file__).with_name("batchspec.schema.json")


def json_schema() -> dict[str, Any]:
    """The schema (draft-07) as it is published; a fresh copy."""
    loaded: dict[str, Any] = json.loads(schema_text())
    return loaded


@lru_cache(maxsize=1)
def shipped() -> Fragment:
    """The schema, read once; not to be changed."""
    return json_schema()


def schema_text() -> str:
    """The schema as the file that is shipped."""
    return FILE.read_text("utf-8")


def definition(name: str) -> Fragment:
    """A definition by name: a model of the SDK, or a noun of the language."""
    found: Fragment = shipped()["definitions"][name]
    return found


def resolved(schema: Fragment) -> Fragment:
    """A fragment with its reference followed; what stands beside the reference stays."""
    while True:
        reference = schema.get("$ref")
        beside = schema
        if reference is None and len(schema.get("allOf", ())) == 1:
            reference = schema["allOf"][0].get("$ref")
        if reference is None:
            return schema
        kept = {key: value for key, value in beside.items() if key not in ("$ref", "allOf")}
        schema = {**definition(reference.rpartition("/")[2]), **kept}


def branches(schema: Fragment) -> Iterator[Fragment]:
    """The branches of a union, resolved, less the one that stands for a template."""
    for branch in (*schema.get("oneOf", ()), *schema.get("anyOf", ())):
        if branch.get("$ref") != "#/definitions/template":
            yield resolved(branch)


def types(schema: Fragment) -> tuple[str, ...]:
    """The types that a fragment admits, less the text that only a template may be."""
    given = schema.get("type", ())
    found = (given,) if isinstance(given, str) else tuple(given)
    if "string" in found and len(found) > 1 and schema.get("pattern") == r"\{\{":
        found = tuple(kind for kind in found if kind != "string")
    return found
