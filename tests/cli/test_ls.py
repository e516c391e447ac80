"""Blobs of the containers of a spec, and files of tasks and nodes."""

from __future__ import annotations

import json
import re

from tests.cli.conftest import Workplace


def test_containers(mixed: Workplace) -> None:
    assert mixed.run("ls", mixed.spec).out.splitlines()[0].split() == ["out", "mixed-out"]
    found = json.loads(mixed.run("ls", mixed.spec, "--format", "json").out)
    assert {"name": "out", "id": "mixed-out", "exists": True} in found["containers"]
    empty = mixed.run("ls", mixed.spec, "out")
    assert (empty.code, empty.out) == (0, "")
    assert empty.err == "no files in the container mixed-out\n"


def test_files_of_a_task(mixed: Workplace) -> None:
    lines = mixed.run("ls", mixed.spec, "good-1").out.splitlines()
    assert re.fullmatch(r" +8 B  20\d\d-.* UTC  stdout.txt", lines[-1])
    assert len(mixed.run("ls", mixed.spec, "good-1/stderr").out.splitlines()) == 1
    assert mixed.run("cat", mixed.spec, "good-1/stdout.txt").out == "hello 1\n"
    missing = mixed.run("cat", mixed.spec, "good-1/wd/nothing.csv")
    assert missing.code == 2
    assert f"`batchspec ls {mixed.spec} good-1` lists them" in missing.err


def test_files_of_a_node(mixed: Workplace) -> None:
    found = json.loads(mixed.run("ls", mixed.spec, "tvmps_", "--format", "json").out)
    assert found["source"]["kind"] == "node"
    assert "startup/stdout.txt" in {file["name"] for file in found["files"]}
    assert mixed.run("cat", mixed.spec, "tvmps_/startup/stdout.txt").out == "node is ready\n"


def test_what_does_not_exist(mixed: Workplace) -> None:
    done = mixed.run("ls", mixed.spec, "nowhere")
    assert done.code == 2
    assert "'nowhere' is not a container of the spec, and not a task or node of the run" in done.err
    assert "Containers: out" in done.err
    several = mixed.run("cat", mixed.spec, "bad-/stdout.txt")
    assert (several.code, "3 tasks contain 'bad-' in their ids" in several.err) == (2, True)
