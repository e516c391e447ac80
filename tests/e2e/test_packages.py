"""Application packages are checked before anything is created."""

from __future__ import annotations

import zipfile

from tests.e2e.conftest import Workplace
from tests.e2e.test_ownership import batch, containers

SPEC = """\
version: 1
name: packed
containers: {input: {upload: [data.txt]}}
pool:
  vm_size: standard_d2s_v5
  nodes: 1
  image: ubuntu-24.04
  application_package_references: [{application_id: tool, version: "1.0"}]
job: {max_wall_clock_time: 10m}
tasks: {say: {command: cat "$AZ_BATCH_APP_PACKAGE_tool_1_0/hello.txt", logs: false}}
cleanup: {containers: always, pool: always}
"""


def test_a_missing_package_is_found_before_anything_is_created(place: Workplace) -> None:
    place.spec.write_text(SPEC, encoding="utf-8")
    (place.spec.parent / "data.txt").write_text("data", encoding="utf-8")
    folder = place.endpoints().data / "applications" / "tool"
    refused = place.run("apply", place.spec)
    assert refused.code == 2, refused.text
    assert "the account has no application 'tool' [missing-package]" in refused.text
    assert place.run("plan", place.spec).code == 2
    assert not containers(place)
    assert not list(batch(place).list_pools())
    folder.mkdir(parents=True)
    with zipfile.ZipFile(folder / "2.0.zip", "w") as archive:
        archive.writestr("hello.txt", "hello")
    refused = place.run("apply", place.spec)
    assert "the account has no version '1.0' of the application 'tool'" in refused.text
    (folder / "2.0.zip").rename(folder / "1.0.zip")
    done = place.run("apply", place.spec)
    assert done.code == 0, done.text
