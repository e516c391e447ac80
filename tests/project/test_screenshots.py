"""The pictures of the documentation contain the output of the commands."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.screenshots import LIVE, PICTURES, picture

IMAGES = Path(__file__).parents[2] / "docs" / "images"


def test_the_picture_of_the_screen_shows_stages_and_failures() -> None:
    svg = (IMAGES / LIVE).read_text(encoding="utf-8").partition("</defs>")[2]
    for text in ("simulate", "summarize", "total", "node-hours", "longest", "no&#160;convergence"):
        assert text in svg


def test_terminal_output_is_in_the_picture() -> None:
    svg = picture("first\r\nsecond\r\n", "title")
    assert ">first" in svg
    assert ">second" in svg


@pytest.mark.parametrize("name", PICTURES)
def test_the_committed_pictures_are_not_empty(name: str) -> None:
    assert "topn" in (IMAGES / name).read_text(encoding="utf-8").partition("</defs>")[2].replace(
        "specs/topn.yaml", ""
    )
