"""``batchspec schema``: the JSON Schema of the spec language."""

from __future__ import annotations

from batchspec.cli.screen import out
from batchspec.spec import schema_text


def schema() -> int:
    """Print the schema."""
    out(schema_text().rstrip("\n"))
    return 0
