"""Imports documents, and plans the spec for an account in which its existing containers exist."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from batchspec.importers import import_documents
from batchspec.spec import Spec, ValueSources, read_spec
from tests.spec.empty_account import plan


@dataclass(frozen=True)
class Imported:
    """An imported spec: its text, its YAML data, and its :class:`Spec`."""

    text: str
    document: dict[str, Any]
    spec: Spec


def imported(
    folder: Path,
    documents: Mapping[str, object],
    *,
    job: str = "",
    plans: bool = True,
    **variables: str,
) -> Imported:
    """Import documents by their file names; ``plans``: the spec is planned without an error."""
    paths = []
    for name, document in documents.items():
        path = folder / name
        text = document if isinstance(document, str) else json.dumps(document)
        path.write_text(text, encoding="utf-8")
        if path.name != "template.json":
            paths.append(path)
    text = import_documents(paths, job=job).text("test")
    assert "sig=" not in text
    spec_file = folder / "spec.yaml"
    spec_file.write_text(text, encoding="utf-8")
    spec = read_spec(spec_file, ValueSources(variables), needs_secrets=False)
    if plans:
        plan(spec)
    return Imported(text, yaml.safe_load(text), spec)
