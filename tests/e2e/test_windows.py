"""A spec for Windows nodes on the embedded service, which has none: it says so, and soon."""

from __future__ import annotations

import zipfile

from tests.e2e.conftest import Workplace


def test_a_missing_package_is_named(place: Workplace) -> None:
    done = place.run("apply", place.folder / "specs" / "topn-windows.yaml")
    assert done.code == 4, done.text
    assert "an application package is not in the account" in done.text, done.text
    assert "python" in done.text


def test_windows_nodes_are_refused_by_name(place: Workplace) -> None:
    package = place.home / "applications" / "python" / "3.12.zip"
    package.parent.mkdir(parents=True)
    with zipfile.ZipFile(package, "w") as archive:
        archive.writestr("python.exe", "")
    done = place.run("apply", place.folder / "specs" / "topn-windows.yaml")
    assert done.code == 4, done.text
    said = " ".join(done.text.split())
    assert "got no node: AllocationFailed" in said
    assert "the local service has Linux nodes alone, and the pool names a Windows image" in said
