"""Configuration of the documentation site: ``make docs`` builds it into ``docs/_build/html``."""

import os
import re
from pathlib import Path

import batchspec

project = "batchspec"
author = "batchspec contributors"
release = version = batchspec.__version__

extensions = ["myst_parser"]
exclude_patterns = ["_build"]
# `## A heading` is the target of links to `#a-heading`, as on GitHub.
myst_heading_anchors = 4

html_theme = "furo"
html_title = "batchspec"
html_copy_source = False
html_show_copyright = False

DOCS = Path(__file__).parent
LINK = re.compile(r"\]\((?![a-z]+:|#)([^)#\s]+)")


def include_read(_app, path, docname, content):
    """Adapt an included page of another folder: its links, and the specs below the gallery."""
    folder = (DOCS / path).resolve().parent
    text = LINK.sub(lambda m: f"]({os.path.relpath(folder / m[1], DOCS)}", content[0])
    if docname == "gallery":
        text = re.sub(r"\]\(\.\./specs/([a-z-]+)\.yaml\)", r"](#\1yaml)", text)
        specs = re.findall(r"\[([a-z-]+\.yaml)\]\(#", text)
        text += "\n## The specs\n"
        for name in dict.fromkeys(specs):
            text += f"\n### {name}\n\n```{{literalinclude}} ../specs/{name}\n:language: yaml\n```\n"
    content[0] = text


def setup(app):
    """Register the hook, and return what Sphinx must know of it."""
    app.connect("include-read", include_read)
    return {"parallel_read_safe": True}
