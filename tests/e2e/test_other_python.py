"""What one version of Python has written is used by another: service, client, cache and plans.

``OTHER_PYTHON`` is the interpreter of another environment in which this project is installed::

    python3.13 -m venv /tmp/other
    /tmp/other/bin/python -m pip install -e '.[local]'
    OTHER_PYTHON=/tmp/other/bin/python make test ARGS=tests/e2e/test_other_python.py
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Done, Workplace

OTHER = os.environ.get("OTHER_PYTHON", "")
pytestmark = [
    pytest.mark.skipif(not OTHER, reason="OTHER_PYTHON names no other Python with batchspec"),
    pytest.mark.timeout(600),
]


@dataclass(frozen=True)
class Client:
    """The command line under one Python."""

    python: str
    place: Workplace

    def run(self, *arguments: str | Path) -> Done:
        line = [self.python, "-P", "-m", "batchspec", *map(str, arguments)]
        done = subprocess.run(
            line,
            cwd=self.place.folder,
            env=self.place.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def succeeds(self, *arguments: str | Path) -> str:
        done = self.run(*arguments)
        assert done.code == 0, done.text
        return done.out

    def status(self) -> Any:
        return json.loads(self.succeeds("local", "status", "--format", "json"))

    def count(self, top: int, *, new: bool) -> None:
        """Apply the tutorial with that parameter. Not ``new``: there must be nothing to do."""
        given = ("--var", f"top={top}", "--progress", "json")
        planned = self.run("plan", self.place.spec, *given[:2], "--exit-code")
        assert planned.code == (6 if new else 0), planned.text
        self.succeeds("apply", self.place.spec, *given)
        for path in self.place.results.iterdir():
            assert len(path.read_text("utf-8").splitlines()) == 1 + top


def version(python: str) -> str:
    """The version of a Python, and where it imports batchspec from."""
    script = "import sys, batchspec; print(*sys.version_info[:2], batchspec.__file__)"
    return subprocess.run(
        [python, "-P", "-c", script], capture_output=True, text=True, check=True
    ).stdout


def processes_of(python: str) -> list[int]:
    """The ids of the processes that were started with this interpreter."""
    lines = subprocess.run(
        ["ps", "-A", "-o", "pid=,args="], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    return [int(line.split()[0]) for line in lines if line.split()[1] == python]


@pytest.fixture
def clients(separate_place: Workplace) -> tuple[Client, Client]:
    ours, theirs = version(sys.executable).split(), version(OTHER).split()
    assert ours[:2] != theirs[:2], "another version of Python"
    assert ours[2] == theirs[2], "the same source"
    return Client(sys.executable, separate_place), Client(OTHER, separate_place)


def test_a_service_and_its_data_folder_are_used_by_another_python(
    clients: tuple[Client, Client],
) -> None:
    """Started under one, used and stopped under the other; then the other way round."""
    ours, theirs = clients
    for number, (server, client) in enumerate(((ours, theirs), (theirs, ours), (ours, theirs))):
        # The first round creates everything; later ones find what the other Python has written.
        server.succeeds("local", "start")
        found = client.status()
        assert found["state"] == "running"
        assert found["pid"] in processes_of(server.python)
        if number:
            client.count(2 + number, new=False)
        client.count(3 + number, new=True)
        server.count(3 + number, new=False)
        assert client.run("logs", client.place.spec, "--var", f"top={3 + number}").code == 0
        client.succeeds("local", "stop")
        assert server.status()["state"] == "stopped"


def test_saved_plans_of_another_python_are_applied(clients: tuple[Client, Client]) -> None:
    saved = clients[0].place.folder / "saved.plan"
    for top, (planner, applier) in enumerate((clients, reversed(clients)), 4):
        planner.succeeds("plan", planner.place.spec, "--var", f"top={top}", "--out", saved)
        applier.succeeds("apply", saved)
        planner.count(top, new=False)


CACHE = """\
import sys
from pathlib import Path
from batchspec.observe import FileCache, file_cache
file_cache._BATCH = 1
file_cache._YOUNG = -10**15  # The cache takes files that have just changed.
with FileCache(Path(sys.argv[1])) as cache:
    for file in map(Path, sys.argv[2:]):
        (known,) = cache.get([str(file)], [file.stat()])
        print(file.name, known.hex() if known else None)
        if known is None:
            cache.add([file.stat()], [file.name.encode()])
"""
"""Prints the digests in a cache, and adds those that it lacks."""


def test_the_cache_of_files_of_another_python_is_used(tmp_path: Path) -> None:
    def read(python: str, names: str) -> list[str]:
        files = [tmp_path / name for name in names]
        done = subprocess.run(
            [python, "-P", "-c", CACHE, tmp_path / "state" / "cache", *files],
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.splitlines()

    for name in "abc":
        (tmp_path / name).write_text(name)
    assert read(sys.executable, "a") == ["a None"]
    assert read(OTHER, "ab") == ["a 61", "b None"]
    assert read(sys.executable, "abc") == ["a 61", "b 62", "c None"]
    assert read(OTHER, "abc") == ["a 61", "b 62", "c 63"]
