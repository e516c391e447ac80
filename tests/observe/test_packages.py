"""Checks of the files of application packages."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from batchspec.api import RunOptions, check_spec
from batchspec.diagnostics import SpecError

SPEC = """version: 1
name: lab
packages: {tools: {version: "1.0", zip: tools.zip}}
pool: {vm_size: standard_d2s_v5, nodes: 1, image: ubuntu-24.04, packages: [tools]}
job: {max_wall_clock_time: 1h}
tasks: {count: {command: "true"}}
cleanup: {pool: always}
"""


@pytest.mark.parametrize("content", [b"no archive", b""])
def test_an_archive_that_is_no_zip_is_refused_before_the_upload(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "run.yaml").write_text(SPEC)
    archive = tmp_path / "tools.zip"
    archive.write_bytes(content)
    with pytest.raises(SpecError, match="is not a zip archive") as caught:
        check_spec(RunOptions(tmp_path / "run.yaml", {}, (), None, {}))
    assert [each.code for each in caught.value.problems] == ["bad-package"]
    with zipfile.ZipFile(archive, "w") as written:
        written.writestr("say", "hello")
    assert (
        check_spec(RunOptions(tmp_path / "run.yaml", {}, (), None, {}))[0]
        .packages["tools"]
        .is_archive
    )
