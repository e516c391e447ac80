"""The JSON Schema of a spec (draft-07), and look-ups in it.

``tools/generate_schema.py`` generates the file from the SDK's models and the language. Nothing
imports the SDK at run time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

Fragment: TypeAlias = Mapping[str, Any]
"""A subschema as parsed JSON."""

_NAME = "batchspec.schema.json"
_INSTALLED = Path(__file__).with_name(_NAME)
_CHECKOUT = Path(__file__).parents[2] / "schemas" / _NAME
"""A source checkout has the one committed file; the wheel contains it in the package."""


def load_schema() -> dict[str, Any]:
    """The published schema; a new copy for each call."""
    loaded: dict[str, Any] = json.loads(schema_text())
    return loaded


@lru_cache(maxsize=1)
def shared_schema() -> Fragment:
    """The schema, loaded once. Do not change it."""
    return load_schema()


def schema_text() -> str:
    """The published schema as text."""
    return (_INSTALLED if _INSTALLED.exists() else _CHECKOUT).read_text("utf-8")


def definition(name: str) -> Fragment:
    """A definition by name: a model of the SDK or a term of the language."""
    found: Fragment = shared_schema()["definitions"][name]
    return found


def resolved(schema: Fragment) -> Fragment:
    """A subschema with its reference followed. Keywords beside the reference are kept."""
    while True:
        reference = schema.get("$ref")
        if reference is None and len(schema.get("allOf", ())) == 1:
            reference = schema["allOf"][0].get("$ref")
        if reference is None:
            return schema
        kept = {key: value for key, value in schema.items() if key not in ("$ref", "allOf")}
        schema = {**definition(reference.rpartition("/")[2]), **kept}


def branches(schema: Fragment) -> Iterator[Fragment]:
    """The branches of a union, resolved, without the branch for a template."""
    for branch in (*schema.get("oneOf", ()), *schema.get("anyOf", ())):
        if branch.get("$ref") != "#/definitions/template":
            yield resolved(branch)


def types(schema: Fragment) -> tuple[str, ...]:
    """The types that a subschema accepts, without the string that only a template may be."""
    given = schema.get("type", ())
    found = (given,) if isinstance(given, str) else tuple(given)
    if "string" in found and len(found) > 1 and schema.get("pattern") == r"\{\{":
        found = tuple(kind for kind in found if kind != "string")
    return found
