"""The report of a run over all its attempts, as one HTML page.

In: a :class:`RunHistory`. Out: the page as text, complete in itself: its scripts and its plotting
library are in it, and its content security policy lets no request leave it. Everything that a
chart shows is in a table, too, which needs no script. Every text is escaped, or inserted by the
scripts as text.

Not here: files of a run (``api``), and the fold of its events (``render.report``).
"""

from __future__ import annotations

from batchspec.render.report_page.history import (
    Applied,
    Attempt,
    RunHistory,
    TaskFile,
    build_timeline,
    last_run,
    merged_nodes,
)
from batchspec.render.report_page.page import page_html

__all__ = [
    "Applied",
    "Attempt",
    "RunHistory",
    "TaskFile",
    "build_timeline",
    "last_run",
    "merged_nodes",
    "page_html",
]
