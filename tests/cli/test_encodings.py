"""Standard output that is not UTF-8: texts are escaped, and documents for programs stay UTF-8."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.e2e.conftest import Workplace

SPEC = """\
version: 1
name: words
description: Größe 日本 🎉
containers:
  out: {id: words-out}
pool: {vm_size: standard_d2s_v5, nodes: 1, image: ubuntu-24.04}
job: {max_wall_clock_time: 10m}
tasks:
  make:
    command: echo Größe > größe.txt
    outputs: [{files: größe.txt, container: out}]
results: [{container: out, to: Größe}]
"""


def batchspec(
    *words: str | Path, encoding: str, environ: dict[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    environ = {**(environ or os.environ), "PYTHONIOENCODING": encoding}
    line = [sys.executable, "-m", "batchspec", *map(str, words)]
    return subprocess.run(line, check=False, capture_output=True, env=environ)


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "größe.yaml"
    path.write_text(SPEC, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("encoding", "name"),
    [("ascii", rb"gr\xf6\xdfe.yaml"), ("latin-1", "größe.yaml".encode("latin-1"))],
)
def test_characters_that_an_encoding_lacks_are_escaped(
    spec: Path, encoding: str, name: bytes
) -> None:
    done = batchspec("validate", spec, encoding=encoding)
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip().endswith(name + b": ok")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_a_printed_spec_is_utf8(spec: Path, encoding: str) -> None:
    done = batchspec("config", spec, encoding=encoding)
    assert done.returncode == 0, done.stderr
    assert yaml.safe_load(done.stdout.decode())["description"] == "Größe 日本 🎉"


def test_a_file_name_that_is_not_utf8_is_escaped(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.yaml"))
    path.write_text(SPEC, encoding="utf-8")
    done = batchspec("validate", path, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip().endswith(rb"\udcff.yaml: ok")


def test_errors_as_json_are_utf8(spec: Path) -> None:
    spec.write_text(SPEC.replace("version: 1", "version: 9"), encoding="utf-8")
    done = batchspec("plan", spec, "--format", "json", encoding="latin-1")
    assert done.returncode == 2
    assert json.loads(done.stdout.decode())["problems"][0]["where"]["file"].endswith("größe.yaml")


def test_plans_and_events_are_utf8_for_programs_and_escaped_for_people(place: Workplace) -> None:
    place.spec.write_text(SPEC, encoding="utf-8")

    def run(*words: str | Path) -> bytes:
        done = batchspec(*words, encoding="ascii", environ=dict(place.environ))
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert rb"Gr\xf6\xdfe \u65e5\u672c" in run("plan", place.spec)
    events = run("apply", place.spec, "-y", "--progress", "json").decode().splitlines()
    assert [json.loads(line) for line in events][-1]["type"] == "run_ended"
