"""What a list asks of a table: a condition, where to go on, and how many rows.

What lives here: the noun that API and store share for lists. What may not: OData, HTTP.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list, by key: rows after ``after``, at most ``limit``.

    ``where`` is an SQL condition over the columns of the table, with ``?`` for ``values``; it is
    made by the service from a parsed filter, never by joining in text of a request.
    """

    limit: int
    after: str = ""
    where: str = "1"
    values: tuple[Any, ...] = ()


EVERYTHING = Page(limit=-1)
"""All rows; only for tables that are small by nature."""
