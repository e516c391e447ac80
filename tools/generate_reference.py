"""Write the tables of ``docs/spec.md`` from the schema; the text around them is written by hand.

A table is between ``<!-- keys: NAME -->`` and ``<!-- end -->``, where NAME is a definition of the
schema, or ``spec`` for the top level.

python tools/generate_reference.py          # write
python tools/generate_reference.py --check  # exit 1 if the file is stale
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from generated import main

from batchspec.spec import definition
from batchspec.spec.validator import Fragment, branches, resolved, shared_schema, types

TARGET = Path(__file__).parent.parent / "docs" / "spec.md"

_TABLE = re.compile(r"<!-- keys: (\w+) -->\n.*?<!-- end -->", re.DOTALL)

_TYPES = {
    "string": "string",
    "integer": "integer",
    "number": "number",
    "boolean": "`true`, `false`",
    "array": "list",
    "object": "mapping",
}


def filled(text: str) -> str:
    """The text with all tables generated from the schema."""
    return _TABLE.sub(lambda match: _table(match[1]), text)


def _table(name: str) -> str:
    noun = shared_schema() if name == "spec" else definition(name)
    own = [(key, member) for key, member in noun["properties"].items() if not _is_sdk(name, key)]
    required = noun.get("required", ())
    lines = [f"<!-- keys: {name} -->", "| key | value | description |", "| --- | --- | --- |"]
    for key, member in own:
        schema = resolved(member)
        mark = ", required" if key in required else ""
        described = schema.get("description", "").partition("\nhttps://")[0]
        text = described.replace("\n", " ").replace("|", "\\|")
        default = schema.get("default")
        if default is not None:
            text += f" Default `{json.dumps(default).strip(chr(34))}`."
        lines.append(f"| `{key}` | {_kind(schema)}{mark} | {text} |")
    return "\n".join([*lines, "<!-- end -->"])


def _is_sdk(name: str, key: str) -> bool:
    """Whether a key is a property of the SDK that the language does not redefine."""
    model = {
        "pool": "BatchPoolCreateOptions",
        "job": "BatchJobCreateOptions",
        "stage": "BatchTaskCreateOptions",
        "start_task": "BatchStartTask",
        "prepare": "BatchJobPreparationTask",
        "release": "BatchJobReleaseTask",
        "schedule": "BatchJobScheduleConfiguration",
    }.get(name)
    return model is not None and key != "id" and key in definition(model)["properties"]


def _kind(schema: Fragment) -> str:
    if schema.get("x-unit"):
        return str(schema["x-unit"])
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    options = list(branches(schema))
    if options:
        return " or ".join(dict.fromkeys(_kind(option) for option in options))
    found = [_TYPES[kind] for kind in types(schema)]
    return " or ".join(found) if found else "any"


if __name__ == "__main__":
    sys.exit(main({TARGET: filled(TARGET.read_text("utf-8"))}))
