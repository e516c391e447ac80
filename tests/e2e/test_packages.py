"""Application packages are checked before anything is created."""

from __future__ import annotations

import json
import zipfile

from tests.e2e.conftest import Workplace
from tests.e2e.test_ownership import batch, containers
from tests.e2e.test_tutorial import counted, written

OWN = """\
version: 1
name: packed
packages: {tools: {version: "1.0", files: ["tools/**"]}}
pool: {vm_size: standard_d2s_v5, nodes: 1, image: ubuntu-24.04, packages: [tools]}
job: {max_wall_clock_time: 10m}
tasks:
  say:
    command: '"$AZ_BATCH_APP_PACKAGE_tools_1_0"/bin/say > said.txt'
    outputs: [{files: said.txt, container: output}]
    logs: false
containers: {output: {}}
results: [{container: output, to: results/}]
cleanup: {containers: always, pool: always}
"""


def test_a_package_of_the_spec_is_uploaded_once_and_not_replaced(place: Workplace) -> None:
    place.spec.write_text(OWN, encoding="utf-8")
    program = place.spec.parent / "tools/bin/say"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\necho one\n", encoding="utf-8")
    program.chmod(0o755)
    done = place.run("apply", place.spec)
    assert done.code == 0, done.text
    said = place.spec.parent / "results/said.txt"
    assert said.read_text(encoding="utf-8") == "one\n"
    again = place.run("apply", place.spec)
    assert again.code == 0, again.text
    assert "Nothing to do" in again.text
    program.write_text("#!/bin/sh\necho two\n", encoding="utf-8")
    refused = place.run("apply", place.spec)
    assert refused.code == 2, refused.text
    assert "version '1.0' of the package 'tools' has other files [package-differs]" in refused.text
    place.edit("1.0", "1.1")
    place.edit("tools_1_0", "tools_1_1")
    done = place.run("apply", place.spec, "-y")
    assert done.code == 0, done.text
    assert said.read_text(encoding="utf-8") == "two\n"
    assert batch(place).get_application("tools").versions == ["1.0", "1.1"]


def test_packages_are_listed_uploaded_and_deleted(place: Workplace) -> None:
    spec = OWN.replace("cleanup: {containers: always, pool: always}", "cleanup: {pool: never}")
    place.spec.write_text(spec, encoding="utf-8")
    program = place.spec.parent / "tools/bin/say"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\necho one\n", encoding="utf-8")
    place.endpoints()
    assert "no application packages" in place.run("package", "list").out
    done = place.run("package", "upload", place.spec)
    assert (done.code, done.out) == (0, "package tools 1.0: uploaded\n"), done.text
    done = place.run("package", "upload", place.spec)
    assert (done.code, done.out) == (0, "package tools 1.0: up to date\n"), done.text
    assert not containers(place).keys() & {"output"}
    program.chmod(0o755)
    refused = place.run("package", "upload", place.spec)
    assert (refused.code, refused.out) == (2, ""), refused.text
    assert "[package-differs]" in refused.text
    place.edit('"1.0"', '"1.1"')
    assert place.run("package", "upload", place.spec).code == 0
    listed = place.run("package", "list", "--format", "json")
    assert json.loads(listed.out) == {"tools": ["1.0", "1.1"]}
    place.edit("tools_1_0", "tools_1_1")
    assert place.run("apply", place.spec).code == 0
    refused = place.run("package", "delete", "tools", "1.1", "-y")
    assert refused.code == 2, refused.text
    assert "version 1.1 of application tools is in use: pool packed" in refused.text
    done = place.run("package", "delete", "tools", "1.0", "-y")
    assert (done.code, done.out) == (0, "deleted version 1.0 of application tools\n"), done.text
    assert place.run("package", "delete", "tools", "1.0", "-y").code == 2
    assert place.run("package", "list").out == "tools  1.1\n"
    assert place.run("destroy", place.spec, "-y").code == 0
    assert place.run("package", "delete", "tools", "1.1", "-y").code == 0


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


def test_the_tutorial_runs_with_a_package_in_place_of_the_uploaded_program(
    place: Workplace,
) -> None:
    place.edit("  application:\n    upload: [../task_app/topn.py] ", "  # ")
    files = "files: [../task_app/topn.py]"
    place.edit("\npool:\n", f'\npackages: {{topn: {{version: "1", {files}}}}}\npool:\n')
    place.edit(
        '  start_task:\n    command: cp topn.py "$AZ_BATCH_NODE_SHARED_DIR/"\n'
        "    resources: [application] ",
        "  packages: [topn]\n  # ",
    )
    place.edit('"$AZ_BATCH_NODE_SHARED_DIR/topn.py"', '"$AZ_BATCH_APP_PACKAGE_topn_1/topn.py"')
    planned = place.run("plan", place.spec)
    assert planned.code == 0, planned.text
    assert "package topn" in planned.out
    done = place.run("apply", place.spec)
    assert done.code == 0, done.text
    inputs = sorted((place.folder / "specs" / "data").glob("*.txt"))
    assert len(inputs) == 3
    for path in inputs:
        assert written(place.results / f"{path.name}.top.txt") == counted(path, 3)
    assert "Nothing to do" in place.run("apply", place.spec).out
    assert place.run("destroy", place.spec, "-y").code == 0
    client = batch(place)
    assert not list(client.list_pools())
    assert not list(client.list_jobs())
    # Packages are of the account, not of a run.
    assert all(name.startswith("app-topn-") for name in containers(place))
    assert client.get_application("topn").versions == ["1"]
