"""Consumers of a run's events: each shows them its own way and changes nothing."""

from batchspec.render.progress.views import Kind, View, open_view

__all__ = ["Kind", "View", "open_view"]
