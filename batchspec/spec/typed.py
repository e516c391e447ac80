"""What a template makes for a task, read as if it had been written where the template stands.

The number, choice or duration of one task is read, checked and told of by what reads and checks
those that are written out.
"""

from __future__ import annotations

from batchspec.problems import Problems
from batchspec.spec.node import Node
from batchspec.spec.shape import part
from batchspec.spec.values import Kind, Text, Value
from batchspec.spec.wire import value


def typed(text: str | Text, kind: Kind) -> Value:
    """The text as what is wanted in its place, in the form of the service.

    Raises:
        SpecError: it is none of that; the problem has the place of the template.
    """
    problems = Problems()
    raw = text if isinstance(text, str) else ""
    given = Node(text, kind.where, raw=raw, key=kind.where, filled=True)
    found = part(given, kind.schema, kind.name, problems)
    problems.raise_if_any()
    assert found is not None
    made = value(found, kind.schema)
    return made if kind.becomes is None else kind.becomes[made]
