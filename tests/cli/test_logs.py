"""The output of tasks: found by a part of the id, followed, and read without the node."""

from __future__ import annotations

import json
import re
import shutil

import pytest

from batchspec.render.logs import OutputRedactor
from tests.cli.conftest import Workplace
from tests.e2e.conftest import until


def test_only_stdout_is_shown(mixed: Workplace) -> None:
    done = mixed.run("logs", mixed.spec, "good-1")
    assert (done.code, done.out, done.err) == (0, "hello 1\n", "")


def test_an_option_shows_stderr(mixed: Workplace) -> None:
    done = mixed.run("logs", mixed.spec, "BAD-2", "--stderr")
    assert (done.code, done.out) == (0, "no luck 2\n")


def test_an_empty_file_refers_to_the_other_stream(mixed: Workplace) -> None:
    done = mixed.run("logs", mixed.spec, "bad-2")
    assert (done.code, done.out) == (0, "")
    assert "--stderr" in done.err


def test_without_a_task_started_tasks_are_listed(mixed: Workplace) -> None:
    done = mixed.run("logs", mixed.spec)
    lines = done.out.splitlines()
    assert done.code == 0
    assert len(lines) == 8
    assert "succeeded  good-0" in lines
    assert "failed     slow  timeout" in lines
    assert "failed     upload  upload" in lines


def test_a_unique_part_of_an_id_selects_a_task(mixed: Workplace) -> None:
    assert mixed.run("logs", mixed.spec, "od-0").out == "hello 0\n"
    several = mixed.run("logs", mixed.spec, "good")
    assert several.code == 2
    assert "good-0\n  good-1" in several.err


def test_a_misspelled_id_gets_a_suggestion(mixed: Workplace) -> None:
    done = mixed.run("logs", mixed.spec, "god-1")
    assert done.code == 2
    assert "Did you mean 'good-1'?" in done.err


def test_a_start_task_is_shown_by_its_node(mixed: Workplace) -> None:
    assert mixed.run("logs", mixed.spec, "--start-task", "tvm").out == "node is ready\n"
    stderr = mixed.run("logs", mixed.spec, "--start-task", "tvm", "--stderr", "-f")
    assert stderr.out == "take care\n"
    wrong = mixed.run("logs", mixed.spec, "--start-task", "nowhere")
    assert wrong.code == 2
    (short,) = re.findall(r"tvmps_\w+", wrong.err)
    assert len(short) == len("tvmps_") + 8
    assert mixed.run("logs", mixed.spec, "--start-task", short).out == "node is ready\n"


def test_a_file_is_followed_until_the_task_ends(place: Workplace) -> None:
    command = (
        'echo one; while [ ! -e "$AZ_BATCH_NODE_SHARED_DIR/go" ]; do sleep 0.1; done; echo two'
    )
    place.spec.write_text(
        f"""\
version: 1
name: slow
pool: {{vm_size: standard_d2s_v5, nodes: 1, image: ubuntu-24.04}}
job: {{max_wall_clock_time: 5m}}
tasks:
  slow: {{id: slow, command: '{command}'}}
""",
        encoding="utf-8",
    )
    run = place.start("apply", place.spec, "--progress", "plain")
    until(run, "1 running")
    follow = place.start("logs", place.spec, "slow", "-f")
    assert follow.stdout is not None
    assert follow.stdout.readline() == "one\n"
    (shared,) = place.home.glob("batch/nodes/slow/*/shared")
    (shared / "go").touch()
    assert follow.communicate(timeout=60)[0] == "two\n"
    assert follow.returncode == 0
    run.communicate(timeout=60)
    assert run.returncode == 0


def test_logs_are_available_without_the_pool_and_the_job(near: Workplace) -> None:
    near.edit("containers: on_success", "containers: never")
    near.edit("pool: ask", "pool: always")
    assert near.run("apply", near.spec, "--progress", "quiet").code == 0
    kept = near.run("logs", near.spec, "lighthouse")
    assert kept.code == 0, kept.text
    assert kept.out.startswith("# lighthouse.txt: top 3")
    (name,) = (
        line.split()[1]
        for line in near.run("logs", near.spec).out.splitlines()
        if "lighthouse" in line
    )
    near.edit("job: ask", "job: always")
    assert near.run("apply", near.spec, "-y", "--progress", "quiet").code == 0
    alone = near.run("logs", near.spec, name)
    assert (alone.code, alone.out) == (0, kept.out)


def test_before_the_first_run_there_is_nothing_to_show(mixed: Workplace) -> None:
    other = mixed.spec.with_name("other.yaml")
    other.write_text(
        mixed.spec.read_text(encoding="utf-8").replace("name: mixed", "name: other"),
        encoding="utf-8",
    )
    done = mixed.run("logs", other)
    assert done.code == 2
    assert "batchspec apply" in done.err


@pytest.mark.parametrize("shown", [True, False])
def test_a_signature_in_two_chunks_is_redacted(shown: bool) -> None:
    lines = OutputRedactor(shown)
    data = lines(b"see http://x/y?sig=abc") + lines(b"def%3D&se=1\nnext") + lines.end()
    assert data == b"see http://x/y?sig=***&se=1\nnext"


def test_control_characters_are_removed_only_for_a_terminal() -> None:
    said = b"\x1b[2Jgone \xff\x00\n"
    assert OutputRedactor(shown=False)(said) == said
    assert OutputRedactor(shown=True)(said) == "gone �?\n".encode()


def test_the_buffer_of_a_long_line_is_bounded() -> None:
    lines = OutputRedactor(shown=False)
    assert lines(b"x" * 70_000) == b"x" * 70_000


def test_lines_of_several_tasks_are_prefixed(mixed: Workplace) -> None:
    done = mixed.run("logs", mixed.spec, "good-*")
    assert sorted(done.out.splitlines()) == ["good-0 | hello 0", "good-1 | hello 1"]
    assert mixed.run("logs", mixed.spec, "good-1", "good-1*").out == "good-1 | hello 1\n"
    done = mixed.run("logs", mixed.spec, "good-1", "bad-2", "--stderr")
    lines = [re.sub(" +", " ", line) for line in done.out.splitlines()]
    assert sorted(lines) == ["bad-2 | no luck 2", "good-1 | a warning"]


@pytest.mark.parametrize("options", [(), ("-f",)])
def test_a_pattern_that_matches_no_task_is_an_error(
    mixed: Workplace, options: tuple[str, ...]
) -> None:
    done = mixed.run("logs", mixed.spec, "good-1*", "zzz-*", *options)
    assert (done.code, done.out) == (2, "good-1 | hello 1\n")
    assert "error: no task matches 'zzz-*' [no-such-task]" in done.err
    assert f"`batchspec logs {mixed.spec}` lists" in done.err


def test_all_tasks_of_a_job_that_has_ended_are_followed_to_its_end(mixed: Workplace) -> None:
    done = mixed.run("logs", mixed.spec, "-f")
    assert (done.code, done.out) == (0, ""), "those that had ended before are left out"


def test_a_node_is_found_like_a_task(mixed: Workplace) -> None:
    assert mixed.run("logs", mixed.spec, "tvmps_").out == "node is ready\n"


def test_the_record_of_a_run_shows_the_end_of_stderr_of_a_deleted_task(mixed: Workplace) -> None:
    runs = mixed.spec.parent / ".batchspec" / "mixed" / "runs" / "20200101T000000.000000Z"
    runs.mkdir(parents=True)
    event = {"type": "task_failed", "seq": 1, "at": "2020-01-01T00:00:00Z", "job": "mixed"}
    event |= {"exit_code": 1, "code": "", "message": ""}
    failures = [
        {**event, "task": "gone-70", "stderr": "no network\n"},
        {**event, "task": "gone-7", "stderr": "no disk\n"},
    ]
    (runs / "events.jsonl").write_text("\n".join(map(json.dumps, failures)), encoding="utf-8")
    try:
        done = mixed.run("logs", mixed.spec, "gone-7")
        assert mixed.run("logs", mixed.spec, "one-70").out == "no network\n"
        several = mixed.run("logs", mixed.spec, "gone-")
        assert (several.code, several.out) == (2, "")
    finally:
        shutil.rmtree(runs)
    assert (done.code, done.out) == (0, "no disk\n")
    assert "gone-7 was deleted; the end of its stderr" in done.err


FOLLOWED = """\
version: 1
name: followed
pool: {vm_size: standard_d2s_v5, nodes: 1, task_slots_per_node: 4, image: ubuntu-24.04}
job: {max_wall_clock_time: 10m}
tasks:
  say:
    id: say-{{ index }}
    for_each: {range: [0, 3]}
    command: echo hello {{ value }}; echo careful >&2
"""


def test_apply_prints_what_tasks_write(near: Workplace) -> None:
    near.spec.write_text(FOLLOWED, encoding="utf-8")
    done = near.run("apply", near.spec, "--follow", "-y")
    assert done.code == 0
    written = sorted(line for line in done.out.splitlines() if line.startswith("say-"))
    expected = [f"say-{n} | {text}" for n in range(3) for text in ("careful", f"hello {n}")]
    assert written == expected
    refused = near.run("apply", near.spec, "--follow", "--detach")
    assert (refused.code, "`--follow` cannot be combined" in refused.err) == (2, True)
