"""Specs from what other tools have: JSON of ``az batch``, templates of its extensions, the files of
batch-shipyard, and bodies of a live account.

In: documents (parsed JSON or YAML) with their paths. Out: a :class:`Draft`, whose text is a spec,
with a comment for everything that has no counterpart. Nothing here reads an account.
"""

from __future__ import annotations

from batchspec.importers.documents import import_bodies, import_documents
from batchspec.importers.draft import Draft

__all__ = ["Draft", "import_bodies", "import_documents"]
