"""A spec for Windows nodes on the embedded service, which has only Linux nodes."""

from __future__ import annotations

from tests.e2e.conftest import Workplace
from tests.e2e.gallery import windows_package


def test_a_missing_package_is_reported_before_anything_is_created(place: Workplace) -> None:
    done = place.run("apply", place.folder / "specs" / "topn-windows.yaml")
    assert done.code == 2, done.text
    assert "the account has no application 'python' [missing-package]" in done.text, done.text


def test_windows_nodes_are_refused_with_the_reason(place: Workplace) -> None:
    windows_package(place)
    done = place.run("apply", place.folder / "specs" / "topn-windows.yaml")
    assert done.code == 4, done.text
    message = " ".join(done.text.split())
    assert "got no nodes: AllocationFailed" in message
    assert "has only Linux nodes and the pool has a Windows image" in message
