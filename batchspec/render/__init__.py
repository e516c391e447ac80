"""Text for people and the published JSON: plans, progress, reports, status, diagnostics.

In: plans, events, reports and diagnostics as values. Out: text, JSON or HTML, or lines on a stream
that the caller passes. One module formats one subject; the name says which: ``plan``, ``progress``
(the views of a run), ``report`` (what the events of a run add up to), ``summary``, ``report_page``,
``status``, ``failures``, ``inventory``, ``doctor``, ``local``, ``logs``, ``questions``,
``diagnostics``. They share ``units``, ``style``, ``run_text`` and ``output``,
which redacts everything that is printed.

Not here: decisions, requests, files other than the page's style sheet, and prompts (``cli`` asks).
Only this package imports rich, and only in the live view, because it would double the start time of
``--help``. For the same reason this module imports nothing.
"""
