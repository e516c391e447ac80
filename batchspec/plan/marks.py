"""The marks of a task in its display name: which item it is made of, and what its work is."""

from __future__ import annotations

import re
from dataclasses import dataclass

_LONGEST_NAME = 1024
"""Characters of a display name (``BatchTaskCreateOptions.displayName``)."""

_MARKS = re.compile(
    r"\[item (?P<item>[0-9a-f]{14})(?:\.(?P<content>[0-9a-f]{14}))? work (?P<work>[0-9a-f]{14})\]$"
)


@dataclass(frozen=True, slots=True)
class Marks:
    """What a task is made of and what it does, as short digests in its display name.

    ``item`` is the stage and the item of it (a path, the variables), ``content`` the content of the
    item's files (empty where it has none), ``work`` all that the work is. Versions of the same
    task have the same ``item``.
    """

    item: str
    content: str
    work: str

    def named(self, text: str) -> str:
        """The display name: the text, shortened to what is possible, and the marks."""
        item = f"{self.item}.{self.content}" if self.content else self.item
        marks = f"[item {item} work {self.work}]"
        text = text[: _LONGEST_NAME - len(marks) - 1]
        return f"{text} {marks}" if text else marks


UNMARKED = Marks("", "", "")
"""The marks of a task that has none: another client made it."""


def read_marks(display_name: str) -> Marks:
    """The marks in a display name; :data:`UNMARKED` if there are none."""
    found = _MARKS.search(display_name)
    return Marks(found["item"], found["content"] or "", found["work"]) if found else UNMARKED
