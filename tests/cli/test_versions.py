"""Work that changes between two runs: repeated tasks, ended tasks, and valid results."""

from __future__ import annotations

import json

import pytest

from tests.cli.conftest import Workplace
from tests.e2e.conftest import Done, interrupt, until

HEAD = """\
version: 1
name: run
containers:
  input: {upload: [in/*.txt]}
  output: {}
pool: {vm_size: standard_d2s_v5, nodes: 1, task_slots_per_node: 4, image: ubuntu-24.04}
job: {max_wall_clock_time: 5m}
results: [{container: output, to: results/}]
"""

ONE = (
    HEAD
    + """\
tasks:
  one:
    for_each: {files: input}
    command: until test -e "GO"; do sleep 0.1; done; echo old > {{ file.stem }}.out
    outputs: [{files: "*.out", container: output}]
    logs: false
"""
)


def written(place: Workplace, text: str, files: dict[str, str] | None = None) -> None:
    """The spec with the files next to it; tasks wait for the file ``GO``."""
    place.spec.write_text(text.replace("GO", str(place.folder / "go")), encoding="utf-8")
    for name, content in (files or {"in/a.txt": "a\n"}).items():
        path = place.spec.parent / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content, encoding="utf-8")


def results(place: Workplace) -> dict[str, str]:
    folder = place.spec.parent / "results"
    return {p.name: p.read_text("utf-8").strip() for p in sorted(folder.glob("*"))}


def ok(done: Done, code: int = 0) -> str:
    assert done.code == code, done.text
    return " ".join(done.text.split())


def steps(done: Done) -> dict[str, int]:
    """The items of each step that was done, by verb and subject."""
    events = [json.loads(line) for line in done.out.splitlines()]
    return {f"{e['verb']} {e['subject']}": e["items"] for e in events if e["type"] == "step_done"}


def triples(stages: dict[str, dict[str, int]]) -> dict[str, tuple[int, int, int]]:
    """The number of tasks of each stage that succeeded and failed."""
    return {n: (s["total"], s["succeeded"], s["failed"]) for n, s in stages.items()}


def by_stage(done: Done) -> dict[str, tuple[int, int, int]]:
    """The totals of each stage at the end of a run, which are reported once."""
    events = map(json.loads, done.out.splitlines())
    (seen,) = (e for e in events if e["type"] == "stages_seen" and e["final"])
    return triples(seen["stages"])


def stages_now(place: Workplace) -> dict[str, tuple[int, int, int]]:
    return triples(json.loads(place.run("status", place.spec, "--format", "json").out)["stages"])


def started(place: Workplace) -> None:
    """A run that was interrupted while a task ran."""
    run = place.start("apply", place.spec, "--progress", "plain")
    until(run, "1 running")
    interrupt(run)
    assert run.wait(timeout=60) == 130


def test_an_earlier_version_is_ended_before_its_successor_runs(near: Workplace) -> None:
    written(near, ONE)
    started(near)
    near.edit("echo old", "echo new")
    near.edit("until test -e", "true until test -e")
    near.edit("; do sleep 0.1; done", "")
    said = ok(near.run("plan", near.spec))
    assert "terminate tasks of an earlier version (1) 1 running; submitted by" in said
    done = near.run("apply", near.spec, "--progress", "json", "-y")
    ok(done)
    assert steps(done)["terminate tasks of an earlier version"] == 1
    assert steps(done)["submit tasks of one"] == 1
    last = [e for e in map(json.loads, done.out.splitlines()) if e["type"] == "tasks_seen"][-1]
    assert (last["total"], last["succeeded"], last["failed"]) == (1, 1, 0)
    assert results(near) == {"a.out": "new"}
    assert "Nothing to do" in ok(near.run("apply", near.spec))


def test_fixed_tasks_do_not_queue_behind_those_that_hang(near: Workplace) -> None:
    files = {f"in/{n}.txt": f"{n}\n" for n in range(6)}
    written(near, ONE, files)
    run = near.start("apply", near.spec, "--progress", "plain")
    until(run, "4 running")
    interrupt(run)
    assert run.wait(timeout=60) == 130
    near.edit("until test -e", "true until test -e")
    near.edit("; do sleep 0.1; done", "")
    said = ok(near.run("plan", near.spec))
    assert "terminate tasks of an earlier version (6) 4 running, 2 waiting;" in said
    ok(near.run("apply", near.spec))
    assert results(near) == {f"{n}.out": "old" for n in range(6)}


SWEEP = (
    HEAD.replace("containers:", "parameters: {x: {type: integer, default: 1}}\ncontainers:")
    + """\
tasks:
  sweep:
    for_each: {range: [0, 3]}
    id: sweep-{{ value }}
    resources: [input]
    command: sh a.txt {{ x }} > {{ value }}.out
    outputs: [{files: "*.out", container: output}]
    logs: false
"""
)


INGREDIENTS: dict[str, tuple[tuple[str, ...], str]] = {
    "parameter": (("var", "x=2"), "one 2"),
    "program": (("in/a.txt", "echo two $1\n"), "two 1"),
    "command": (("spec", "sh a.txt {{ x }}", "sh a.txt {{ x }}0"), "one 10"),
    "env": (("spec", "logs: false", "logs: false\n    env: {Y: z}"), "one 1"),
    "job-env": (("spec", "job: {", "job: {env: {Y: z}, "), "one 1"),
    "image": (("spec", "ubuntu-24.04", "ubuntu-22.04"), "one 1"),
}


# That every ingredient is part of a generated id is checked in tests/plan/test_tasks.py.
@pytest.mark.parametrize(
    ("named", "ingredient"),
    [*((True, one) for one in INGREDIENTS), (False, "program")],
    ids=[*(f"explicit-{one}" for one in INGREDIENTS), "generated-program"],
)
def test_a_change_of_every_ingredient_is_detected(
    near: Workplace, ingredient: str, named: bool
) -> None:
    edit, expected = INGREDIENTS[ingredient]
    text = SWEEP if named else SWEEP.replace("    id: sweep-{{ value }}\n", "")
    written(near, text, {"in/a.txt": "echo one $1\n"})
    ok(near.run("apply", near.spec, "--progress", "quiet"))
    assert set(results(near).values()) == {"one 1"}
    assert "Nothing to do" in ok(near.run("apply", near.spec))
    more: tuple[str, ...] = ()
    match edit:
        case ("var", value):
            more = ("--var", value)
        case ("spec", old, new):
            near.edit(old, new)
        case (name, content):
            written(near, near.spec.read_text("utf-8"), {name: content})
    said = ok(near.run("apply", near.spec, "-y", *more))
    assert "submit tasks of sweep (3) 3 changed" in said
    assert set(results(near).values()) == {expected}
    assert "Nothing to do" in ok(near.run("apply", near.spec, *more))


def test_another_pool_does_not_change_the_work(near: Workplace) -> None:
    written(near, SWEEP, {"in/a.txt": "echo one $1\n"})
    ok(near.run("apply", near.spec, "--progress", "quiet"))
    near.edit("pool: {", "pool: {id: other, ")
    assert "submit" not in ok(near.run("plan", near.spec))


STAGES = (
    HEAD
    + """\
tasks:
  map:
    for_each: {files: input}
    command: grep -q good {{ file.name }} || exit 7; cp {{ file.name }} {{ file.stem }}.out
    outputs: [{files: "*.out", container: output}]
    logs: false
  merge:
    needs: [map]
    resources: [output]
    command: cat *.out > all.txt
    outputs: [{files: all.txt, container: output}]
    logs: false
  last:
    needs: [merge]
    resources: [output]
    command: wc -l < all.txt > lines.txt
    outputs: [{files: lines.txt, container: output}]
    logs: false
cleanup: {pool: on_success, containers: on_success}
"""
)


def test_retry_continues_with_what_depends_on_the_failed_tasks(near: Workplace) -> None:
    flag = near.folder / "fixed"
    text = STAGES.replace(
        "grep -q good {{ file.name }}", f"test {{{{ file.stem }}}} != b || test -e {flag}"
    )
    written(near, text, {f"in/{n}.txt": "good\n" for n in "abcd"})
    done = near.run("apply", near.spec, "--progress", "json")
    ok(done, 3)
    # Tasks that wait for a failed task end with the job.
    assert by_stage(done)["map"] == (4, 3, 1)
    flag.touch()
    done = near.run("retry", near.spec, "--progress", "json")
    ok(done)
    # Tasks that succeeded in the earlier job are part of every total.
    assert by_stage(done) == {"map": (4, 4, 0), "merge": (1, 1, 0), "last": (1, 1, 0)}
    assert stages_now(near) == by_stage(done)
    said = ok(near.run("status", near.spec))
    assert "map: 4 of 4 done, 4 succeeded merge: 1 of 1 done, 1 succeeded last: 1 of 1" in said
    did = steps(done)
    assert {k: v for k, v in did.items() if k.startswith("submit")} == {
        "submit tasks of map": 1,
        "submit tasks of merge": 1,
        "submit tasks of last": 1,
    }
    assert "delete pool run" in did
    assert results(near)["lines.txt"] == "4"
    assert "No task of run has failed" in ok(near.run("retry", near.spec))
    assert "Nothing to do" in ok(near.run("apply", near.spec))


def test_a_partial_retry_reports_the_remaining_failures(near: Workplace) -> None:
    flag = near.folder / "fixed"
    text = STAGES.replace("grep -q good {{ file.name }}", f"test -e {flag}")
    written(near, text, {f"in/{n}.txt": "good\n" for n in "ab"})
    ok(near.run("apply", near.spec, "--progress", "quiet"), 3)
    flag.touch()
    said = ok(near.run("retry", near.spec, "--task", "map-a"), 3)
    # Tasks that failed in the earlier job and are left out count as failed tasks of the run.
    assert "map: 2 of 2 done, 1 succeeded, 1 failed" in said
    assert stages_now(near)["map"] == (2, 1, 1)
    status = json.loads(near.run("status", near.spec, "--format", "json").out)["tasks"]
    assert (status["total"], status["succeeded"], status["failed"]) == (4, 1, 1)
    assert "pool run" in said.partition("Left in the account")[2]
    assert f"batchspec retry {near.spec}" in said
    ok(near.run("retry", near.spec))
    assert results(near)["lines.txt"] == "2"


PROGRAM = (
    HEAD.replace(
        "input: {upload: [in/*.txt]}", "input: {upload: [in/*.txt]}\n  app: {upload: [app/*]}"
    )
    + """\
tasks:
  work:
    for_each: {files: input}
    resources:
      - app
      - {http_url: "{{ file.url }}", file_path: "{{ file.name }}"}
    command: sh prog.sh {{ file.name }} > {{ file.stem }}.out
    outputs: [{files: "*.out", container: output}]
    logs: false
"""
)


def program(place: Workplace, text: str) -> None:
    path = place.spec.parent / "app" / "prog.sh"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")


def test_retry_runs_the_failed_tasks_with_the_fixed_program(near: Workplace) -> None:
    program(near, "test $1 != 3.txt -a $1 != 7.txt || exit 9\necho one\n")
    written(near, PROGRAM, {f"in/{n}.txt": f"{n}\n" for n in range(12)})
    ok(near.run("apply", near.spec, "--progress", "quiet"), 3)
    program(near, "echo two\n")
    said = ok(near.run("plan", near.spec))
    assert "10 succeeded and 2 failed" in said
    assert "batchspec retry" in said
    done = near.run("retry", near.spec, "--progress", "json")
    ok(done)
    assert steps(done)["submit tasks of work"] == 2
    last = [e for e in map(json.loads, done.out.splitlines()) if e["type"] == "tasks_seen"][-1]
    assert (last["total"], last["succeeded"], last["failed"]) == (12, 12, 0)
    assert "12 of 12 done" in ok(near.run("status", near.spec))
    assert sorted(results(near).values()) == ["one"] * 10 + ["two"] * 2
    said = ok(near.run("apply", near.spec))
    assert "Nothing to do" in said
    assert "10 tasks ran with an earlier version of the spec or its files" in said
    assert "--rerun" in said
    ok(near.run("apply", near.spec, "--rerun", "-y"))
    assert set(results(near).values()) == {"two"}
    said = ok(near.run("apply", near.spec))
    assert "earlier version" not in said


START_TASK = """\
version: 1
name: run
containers: {output: {}}
pool:
  vm_size: standard_d2s_v5
  nodes: 2
  image: ubuntu-24.04
  start_task: {command: test -e "GO"}
job: {max_wall_clock_time: 5m}
tasks:
  one:
    for_each: {range: [0, 2]}
    command: echo {{ value }} > {{ value }}.out
    outputs: [{files: "*.out", container: output}]
    logs: false
results: [{container: output, to: results/}]
"""


def test_retry_restarts_the_nodes_whose_start_task_failed(near: Workplace) -> None:
    written(near, START_TASK)
    ok(near.run("apply", near.spec, "--progress", "quiet"), 4)
    near.let_go()
    done = near.run("retry", near.spec, "--progress", "json")
    ok(done)
    assert steps(done)["update pool run"] == 2
    assert results(near) == {"0.out": "0", "1.out": "1"}
    assert "No task of run has failed" in ok(near.run("retry", near.spec))


def test_retry_again_and_by_cause_with_an_edited_program(near: Workplace) -> None:
    program(near, "test $1 != 1.txt || exit 8\ntest $1 != 2.txt || exit 9\necho one\n")
    written(near, PROGRAM, {f"in/{n}.txt": f"{n}\n" for n in range(4)})
    ok(near.run("apply", near.spec, "--progress", "quiet"), 3)
    program(near, "test $1 != 2.txt || exit 9\necho two\n")
    said = ok(near.run("retry", near.spec, "--cause", "exit-8"), 3)
    assert "1 task is left out" in said
    ok(near.run("retry", near.spec, "--progress", "quiet"), 3)
    program(near, "echo three\n")
    ok(near.run("retry", near.spec, "--progress", "quiet"))
    # Each part is the result of the version that ran it, and the last part shows the version.
    assert results(near) == {"0.out": "one", "1.out": "two", "2.out": "three", "3.out": "one"}
    said = ok(near.run("apply", near.spec))
    assert "Nothing to do" in said
    assert "3 tasks ran with an earlier version" in said
    program(near, "echo four\n")
    ok(near.run("apply", near.spec, "--progress", "quiet"))
    assert set(results(near).values()) == {"four"}


def test_retry_after_the_pool_was_cleaned_up_in_an_auto_pool(near: Workplace) -> None:
    flag = near.folder / "fixed"
    text = STAGES.replace("grep -q good {{ file.name }}", f"test -e {flag}")
    text = text.replace("pool: {vm", "pool: {lifetime: job, vm").replace(
        "cleanup: {pool: on_success, containers: on_success}", ""
    )
    written(near, text, {f"in/{n}.txt": "good\n" for n in "ab"})
    ok(near.run("apply", near.spec, "--progress", "quiet"), 3)
    flag.touch()
    ok(near.run("retry", near.spec))
    assert results(near)["lines.txt"] == "2"
    assert "Nothing to do" in ok(near.run("apply", near.spec))


def test_a_kill_while_an_earlier_version_is_ended(near: Workplace) -> None:
    written(near, ONE, {f"in/{n}.txt": f"{n}\n" for n in range(6)})
    started(near)
    near.edit("echo old", "echo new")
    near.edit("until test -e", "true until test -e")
    near.edit("; do sleep 0.1; done", "")
    run = near.start("apply", near.spec, "--progress", "plain")
    until(run, "terminate tasks of an earlier version")
    run.kill()
    run.communicate(timeout=30)
    ok(near.run("apply", near.spec, "--progress", "quiet", "-y"))
    assert set(results(near).values()) == {"new"}
    assert "Nothing to do" in ok(near.run("apply", near.spec))


@pytest.mark.parametrize("named", [True, False], ids=["explicit", "generated"])
def test_tasks_in_progress_stay_when_the_input_of_another_changes(
    near: Workplace, named: bool
) -> None:
    text = ONE.replace("echo old", "cat {{ file.name }}")
    if named:
        text = text.replace("    logs: false", "    id: one-{{ file.stem }}\n    logs: false")
    written(near, text, {f"in/{n}.txt": f"{n}\n" for n in "abcdef"})
    run = near.start("apply", near.spec, "--progress", "plain")
    until(run, "4 running")
    interrupt(run)
    assert run.wait(timeout=60) == 130
    (near.spec.parent / "in" / "a.txt").write_text("other\n", encoding="utf-8")
    (near.spec.parent / "in" / "f.txt").write_text("other\n", encoding="utf-8")
    run = near.start("apply", near.spec, "--progress", "plain")
    seen = until(run, "done    terminate tasks of an earlier version")
    assert "create  job" not in seen
    near.let_go()
    run.communicate(timeout=60)
    assert run.returncode == 0
    assert results(near) == {
        "a.out": "other",
        "b.out": "b",
        "c.out": "c",
        "d.out": "d",
        "e.out": "e",
        "f.out": "other",
    }
    assert "Nothing to do" in ok(near.run("apply", near.spec))


def test_results_of_an_earlier_version_are_not_downloaded(near: Workplace) -> None:
    written(near, SWEEP, {"in/a.txt": "echo one $1\n"})
    ok(near.run("apply", near.spec, "--progress", "quiet"))
    near.edit("> {{ value }}.out", "> {{ value }}.new")
    near.edit('files: "*.out"', 'files: "*.new"')
    for path in (near.spec.parent / "results").iterdir():
        path.unlink()
    said = ok(near.run("apply", near.spec, "-y", "--progress", "plain"))
    assert "3 older blobs were not downloaded" in said
    assert set(results(near)) == {"0.new", "1.new", "2.new"}


PREPARED = """\
version: 1
name: run
containers: {output: {}}
pool:
  vm_size: standard_d2s_v5
  nodes: 2
  image: ubuntu-24.04
job:
  max_wall_clock_time: 5m
  prepare: {command: mkdir CLAIMED || test -e LICENCE || exit 9}
tasks:
  one:
    for_each: {range: [0, 2]}
    command: until test -e "GO"; do sleep 0.1; done; echo {{ value }} > {{ value }}.out
    outputs: [{files: "*.out", container: output}]
results: [{container: output, to: results/}]
"""


@pytest.mark.parametrize("lifetime", ["own", "job"])
def test_retry_restarts_the_nodes_whose_preparation_task_failed(
    near: Workplace, lifetime: str
) -> None:
    licence = near.folder / "licence"
    text = PREPARED.replace("CLAIMED", str(near.folder / "claimed")).replace(
        "LICENCE", str(licence)
    )
    if lifetime == "job":
        text = text.replace("  nodes: 2\n", "  nodes: 2\n  lifetime: job\n")
    written(near, text)
    run = near.start("apply", near.spec, "--progress", "plain")
    # On one of the two nodes the preparation task succeeds, and a task runs.
    until(run, "failed on 1 node (exit code 9)")
    interrupt(run)
    assert run.wait(timeout=60) == 130
    licence.touch()
    retry = near.start("retry", near.spec, "--progress", "plain")
    seen = until(retry, "2 running")
    assert "restart nodes: preparation task failed on 1" in " ".join(seen.split())
    near.let_go()
    retry.communicate(timeout=60)
    assert retry.returncode == 0
    assert results(near) == {"0.out": "0", "1.out": "1"}
    assert "preparation" not in ok(near.run("failures", near.spec))


@pytest.mark.parametrize("lifetime", ["own", "job"])
@pytest.mark.parametrize("options", [(), ("--cause", "preparation-task")])
def test_retry_runs_tasks_that_no_node_was_prepared_for(
    near: Workplace, options: tuple[str, ...], lifetime: str
) -> None:
    licence = near.folder / "licence"
    text = PREPARED.replace("mkdir CLAIMED || ", "").replace("LICENCE", str(licence))
    if lifetime == "job":
        text = text.replace("  nodes: 2\n", "  nodes: 2\n  lifetime: job\n")
    written(near, text)
    said = ok(near.run("apply", near.spec, "--progress", "plain"), 4)
    assert "batchspec retry" in said
    licence.touch()
    near.let_go()
    # The job has ended: the next one prepares its nodes itself.
    said = ok(near.run("retry", near.spec, "--progress", "plain", *options))
    assert "restart nodes" not in said
    assert "create job run-r2" in said
    assert results(near) == {"0.out": "0", "1.out": "1"}
