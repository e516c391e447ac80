"""A run in which tasks failed in every way, created once for the commands that only read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from batchspec import local
from tests.e2e.conftest import Inside as Inside  # noqa: PLC0414 - for the tests of this folder
from tests.e2e.conftest import Workplace, clean_environ
from tests.e2e.conftest import place as place  # noqa: PLC0414 - a fixture of this folder, too

# The character after `write_url` makes the signature invalid.
MIXED = """\
version: 1
name: mixed
containers:
  out: {id: mixed-out}
pool:
  vm_size: standard_d2s_v5
  nodes: 1
  task_slots_per_node: 8
  image: ubuntu-24.04
  start_task: {command: echo node is ready; echo take care >&2}
job: {max_wall_clock_time: 10m}
tasks:
  good:
    id: good-{{ index }}
    for_each: {range: [0, 2]}
    command: echo hello {{ value }}; echo a warning >&2
  bad:
    id: bad-{{ index }}
    for_each: {range: [0, 3]}
    command: "test -e $AZ_BATCH_NODE_SHARED_DIR/fixed || { echo no luck {{ value }} >&2; exit 7; }"
  slow:
    id: slow
    command: sleep 60
    max_wall_clock_time: 1s
  lost:
    id: lost
    command: [no-such-program]
  upload:
    id: upload
    command: echo the upload fails
    output_files:
      - file_pattern: ../stdout.txt
        destination: {container: {container_url: "{{ containers.out.write_url }}x", path: x}}
        upload_options: {upload_condition: taskcompletion}
"""


@pytest.fixture
def near(place: Workplace) -> Workplace:
    """The tutorial in a separate folder, with a separate service."""
    return place


@pytest.fixture(scope="session")
def mixed(azurite_installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workplace]:
    """A run of :data:`MIXED` that has ended: two tasks succeeded, six failed.

    Tests only read it.
    """
    with _mixed(tmp_path_factory.mktemp("mixed")) as place:
        yield place


@pytest.fixture
def mixed_alone(azurite_installed: Path, tmp_path: Path) -> Iterator[Workplace]:
    """The same run for one test, which may change it."""
    with _mixed(tmp_path) as place:
        yield place


@contextmanager
def _mixed(folder: Path) -> Iterator[Workplace]:
    (folder / "specs").mkdir()
    spec = folder / "specs" / "topn.yaml"
    spec.write_text(MIXED, encoding="utf-8")
    home = folder / "home"
    place = Inside(folder, home, clean_environ({"BATCHSPEC_LOCAL_HOME": str(home)}))
    try:
        done = place.run("apply", spec, "--progress", "quiet")
        assert done.code == 3, done.text
        yield place
    finally:
        local.stop(home)
