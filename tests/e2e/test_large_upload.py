"""Ctrl-C during the upload of a large file: it stops, and the next apply resumes it."""

from __future__ import annotations

import hashlib
import os

from tests.e2e.conftest import Workplace, interrupt, until

SPEC = """\
version: 1
name: large
containers: {input: {upload: [big.bin]}, output: {}}
pool: {vm_size: standard_d2s_v5, nodes: 1, image: ubuntu-24.04}
job: {max_wall_clock_time: 5m}
tasks:
  sum:
    id: sum
    resources: [input]
    command: until test -e GO; do sleep 0.1; done; md5sum < big.bin > sum.txt
    outputs: [{files: sum.txt, container: output}]
results: [{container: output, to: ../results}]
"""


def test_an_upload_that_was_interrupted_resumes(place: Workplace) -> None:
    place.spec.write_text(SPEC.replace("GO", f"{place.folder}/go"), encoding="utf-8")
    big = place.spec.with_name("big.bin")
    data = os.urandom(64 << 20)
    big.write_bytes(data)
    first = place.start("apply", place.spec, "--progress", "plain")
    until(first, "files to input: 0 of 1 file")
    interrupt(first)
    said = first.communicate(timeout=100)[0]
    assert first.returncode == 130, said
    # The file changes between two runs, so the blocks of the old one are not used.
    data = data[:-1] + bytes([data[-1] ^ 1])
    big.write_bytes(data)
    second = place.start("apply", place.spec, "--progress", "plain")
    until(second, "files to input: 0 of 1 file")
    interrupt(second)
    second.communicate(timeout=100)
    place.let_go()
    done = place.run("apply", place.spec, "--progress", "quiet")
    assert done.code == 0, done.text
    found = (place.results / "sum.txt").read_text(encoding="utf-8").split()[0]
    assert found == hashlib.md5(data).hexdigest()
