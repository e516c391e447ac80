"""Views of a run in progress: ``live``, ``plain``, ``json`` and ``quiet``.

In: stamped events. Out: lines on a stream, or a region of a terminal. Not here: the summary after
the run (``render.summary``), and prompts.
"""

from batchspec.render.progress.views import Kind, View, open_view

__all__ = ["Kind", "View", "open_view"]
