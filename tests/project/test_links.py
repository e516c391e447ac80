"""The links of the documentation lead to existing files, folders and headings."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.project.test_house import tracked

ROOT = Path(__file__).parents[2]
PAGES = {path.relative_to(ROOT).as_posix(): path for path in tracked("*.md", "**/*.md")}

FENCED = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
CODE = re.compile(r"`[^`\n]*`")
LINK = re.compile(r"\]\(([^)\s]+)\)")


def links(page: Path) -> list[str]:
    """The link targets of a page, except in code."""
    text = FENCED.sub("", page.read_text(encoding="utf-8"))
    return LINK.findall(CODE.sub("", text))


def anchors(page: Path) -> set[str]:
    """The anchors of the headings of a page."""
    text = FENCED.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ +(.*?) *$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", PAGES)
def test_links_have_existing_targets(name: str) -> None:
    page = PAGES[name]
    broken = []
    for link in links(page):
        if "://" in link:
            continue
        place, _, anchor = link.partition("#")
        target = page.parent / place if place else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def test_every_page_of_the_docs_is_linked_from_its_index() -> None:
    docs = ROOT / "docs"
    linked = {f"docs/{link.partition('#')[0]}" for link in links(docs / "index.md")}
    records = {f"docs/adr/{link}" for link in links(docs / "adr" / "README.md")}
    assert {name for name in PAGES if name.startswith("docs/")} - {"docs/index.md"} <= (
        linked | records
    )
    assert "docs/index.md" in links(ROOT / "README.md")
