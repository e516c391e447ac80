"""The results that `download` and `attach` download, and their reports of missing results."""

from __future__ import annotations

import json
from pathlib import Path

from azure.storage.blob import BlobServiceClient

from tests.cli.conftest import Inside, Workplace
from tests.cli.test_versions import HEAD, ok, results, written

COPY = (
    HEAD
    + """\
tasks:
  one:
    for_each: {files: input}
    command: echo WORD > {{ file.stem }}.out
    outputs: [{files: "{{ file.stem }}*.out", container: output}]
    logs: false
"""
)
TWO = {"in/a.txt": "a\n", "in/b.txt": "b\n"}


def elsewhere(place: Workplace, folder: Path) -> Workplace:
    """Another folder of the same host and account."""
    (folder / "specs").mkdir(parents=True)
    return Inside(folder, place.home, place.environ)


def test_results_of_another_version_are_a_question(near: Workplace) -> None:
    written(near, COPY.replace("WORD", "first"), TWO)
    ok(near.run("apply", near.spec, "--progress", "quiet"))

    # A spec of the same name in another folder.
    other = elsewhere(near, near.folder / "other")
    written(other, COPY.replace("WORD", "second"), TWO)
    for verb in ("download", "attach"):
        said = ok(other.run(verb, other.spec), 2)
        assert "the run in the account belongs to another version of the spec: applied by" in said
        assert "from another spec file of this host" in said
        quiet = other.run(verb, other.spec, "--progress", "json")
        assert "another version of the spec" in ok(quiet, 2)
    assert results(other) == {}
    ok(other.run("download", other.spec, "-y"))
    assert results(other) == {"a.out": "first", "b.out": "first"}
    ok(other.run("apply", other.spec, "-y"))
    assert results(other) == {"a.out": "second", "b.out": "second"}

    # An added input: the results of the current spec, and a note about the others.
    (other.spec.parent / "in" / "c.txt").write_text("c\n", encoding="utf-8")
    (other.spec.parent / "in" / "b.txt").unlink()
    said = ok(other.run("download", other.spec))
    assert "1 task of the spec is not in the account" in said
    assert "1 older blob was not downloaded" in said
    assert "1 file remains on this disk from an earlier version: b.out in" in said

    # A download reports a result that exists neither in the account nor on the disk.
    (other.spec.parent / "in" / "c.txt").unlink()
    ok(other.run("apply", other.spec))
    (other.spec.parent / "results" / "a.out").unlink()
    with BlobServiceClient.from_connection_string(near.endpoints().connection_string) as service:
        service.get_container_client("output").delete_blob("a.out")
    said = ok(other.run("download", other.spec))
    assert "outputs of 1 task are missing in the account" in said
    ok(other.run("apply", other.spec))
    assert results(other)["a.out"] == "second"

    # Without the inputs, versions cannot be compared.
    bare = elsewhere(near, near.folder / "bare")
    bare.spec.write_text(other.spec.read_text("utf-8"), encoding="utf-8")
    said = ok(bare.run("download", bare.spec))
    assert "the run was not compared with the spec" in said
    assert results(bare) == {"a.out": "second"}


REQUIRED = COPY.replace("container: output}]", "container: output, required: true}]").replace(
    "echo WORD", "test {{ file.stem }} != b || test -e GO || exit 0; echo good"
)


def test_attach_and_apply_report_required_outputs_that_are_missing(near: Workplace) -> None:
    written(near, REQUIRED.replace("results: [{container: output, to: results/}]\n", ""), TWO)
    ok(near.run("apply", near.spec, "--detach"))
    said = ok(near.run("attach", near.spec), 3)
    assert "output 'b*.out' of stage one: no file matched for 1 of 2 tasks" in said
    assert f"batchspec apply {near.spec} reruns the tasks whose outputs are missing" in said
    assert "batchspec retry" not in said
    planned = json.loads(near.run("plan", near.spec, "--format", "json").out)
    (submit,) = (step for step in planned["steps"] if step["verb"] == "submit")
    assert (submit["items"], submit["reason"]) == (1, "1 with missing outputs")
    assert "no file matched for 1 of 2 tasks" in ok(near.run("apply", near.spec), 3)
    near.let_go()
    ok(near.run("apply", near.spec))
    assert "Nothing to do" in ok(near.run("apply", near.spec))


def test_results_of_removed_inputs_are_reported_until_they_are_deleted(near: Workplace) -> None:
    """The containers are deleted, so that a lost result of a task needs a new run."""
    spec = COPY.replace("WORD", "first") + "cleanup: {containers: on_success}\n"
    inputs = near.spec.parent / "in"
    written(near, spec, {**TWO, "in/c.txt": "c\n"})
    ok(near.run("apply", near.spec, "-y"))
    (inputs / "c.txt").unlink()
    note = "1 file remains on this disk from an earlier version: c.out in"
    assert note in ok(near.run("plan", near.spec))

    # Another input runs, and its result is downloaded.
    (inputs / "d.txt").write_text("d\n", encoding="utf-8")
    ok(near.run("apply", near.spec, "-y"))
    for _ in range(2):
        said = ok(near.run("plan", near.spec, "--exit-code"))
        assert "Nothing to do" in said
        assert note in said

    # The result of the removed input is deleted: the others are not lost.
    (near.spec.parent / "results" / "c.out").unlink()
    said = ok(near.run("plan", near.spec, "--exit-code"))
    assert "Nothing to do" in said
    assert "from an earlier version" not in said

    # The input is back: only its task runs.
    (inputs / "c.txt").write_text("c\n", encoding="utf-8")
    assert "submit tasks of one (1)" in ok(near.run("apply", near.spec, "-y"))
    assert results(near) == dict.fromkeys(("a.out", "b.out", "c.out", "d.out"), "first")
