"""``validate`` also reads the files that a spec names, and creates every task."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchspec.cli.commands.config import config
from batchspec.cli.commands.validate import validate
from batchspec.exit_codes import Exit

SPEC = """\
version: 1
name: demo
pool: {vm_size: standard_d2s_v5, nodes: 1, image: ubuntu-24.04}
job: {max_wall_clock_time: 1h}
tasks:
  sweep:
    for_each: {rows: rows.csv}
    command: echo {{ who }}
"""


@pytest.mark.parametrize(
    ("rows", "code", "said"),
    [
        ("who\nme\nyou\n", Exit.DONE, ": ok"),
        (None, Exit.USAGE, "spec.yaml:7:22: error: the file"),
        ("who\nme\nyou,they\n", Exit.USAGE, "rows.csv:3"),
    ],
)
def test_files_of_rows(
    rows: str | None,
    code: Exit,
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text(SPEC, encoding="utf-8")
    if rows is not None:
        (tmp_path / "rows.csv").write_text(rows, encoding="utf-8")
    assert validate([spec]) == code
    captured = capsys.readouterr()
    assert said in captured.out + captured.err


HEAD = """\
version: 1
name: demo
containers: {input: {upload: ["data/*"]}, output: {}}
pool: {vm_size: standard_d2s_v5, nodes: 1, image: ubuntu-24.04}
job: {max_wall_clock_time: 1h}
tasks:
"""


@pytest.mark.parametrize(
    ("tasks", "found"),
    [
        (
            """\
  sweep:
    for_each: {matrix: {a: [1, 2], b: [x, y]}, exclude: [{a: 2, b: y}]}
    id: "run-{{ a }}"
    command: hostname
""",
            ":9:10: error: two tasks of sweep have the id 'run-1'",
        ),
        (
            """\
  first: {id: first, command: hostname}
  last: {depends_on: {task_ids: [fisrt]}, command: hostname}
""",
            ":8:34: error: a task of last depends on 'fisrt', and no task has this id",
        ),
        (
            """\
  read:
    command: ls
    resources: [{storage_container_url: "{{ containers.input.read_url }}", blob_prefix: b}]
""",
            ":9:89: error: none of the files uploaded to input has the prefix 'b'",
        ),
        (
            """\
  write: {command: "curl -T a {{ containers.output.write_url }}/a"}
""",
            ":7:31: error: the path '/a' follows a signed URL",
        ),
        (
            """\
  write: {command: ls, outputs: [{files: 'parts\\*', container: output}]}
""",
            ":7:42: warning: the pattern 'parts\\\\*' contains a backslash",
        ),
        (
            """\
  blobs: {for_each: {blobs: output}, id: "b-{{ index }}", command: ls}
  after: {depends_on: {task_ids: [b-7]}, command: ls}
""",
            ": ok",
        ),
    ],
)
def test_findings_without_an_account(
    tasks: str, found: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/a.txt").write_text("a", encoding="utf-8")
    spec = tmp_path / "spec.yaml"
    spec.write_text(HEAD + tasks, encoding="utf-8")
    assert validate([spec]) == (Exit.USAGE if "error" in found else Exit.DONE)
    captured = capsys.readouterr()
    said = captured.out + captured.err
    assert found in said
    assert said.count("error:") <= 1
    if "ok" in found:
        assert "warning" not in said


TASKS = """\
version: 1
name: demo
parameters: {token: {type: string, secret: true, minLength: 8}}
containers: {input: {upload: [data/*.txt]}}
pool: {vm_size: standard_d2s_v5, nodes: NODES, image: ubuntu-24.04}
job: {max_wall_clock_time: 1h, env: {TOKEN: "{{ token }}"}}
tasks:
  rows:
    for_each: {rows: rows.csv}
    id: row-{{ who }}
    command: echo {{ number | int }} {{ token }}
  files:
    for_each: {files: input}
    id: file-{{ file.stem | lower }}
    command: cat {{ file.name }}
  sweep:
    for_each: {matrix: {a: [1, 2], b: [x]}}
    id: ID
    command: echo {{ a }} {{ b }}
"""


@pytest.mark.parametrize(
    ("rows", "nodes", "task_id", "errors"),
    [
        ("who,number\nme,1\nyou,2\n", "1", "s-{{ a }}", []),
        ("who,number\nme,1\nyou,x\n", "1", "s-{{ a }}", ["11:19: error: `{{ number | int }}`"]),
        ("who,number\nme,1\nMe,2\n", "1", "s-{{ a }}", ["10:9: error: two tasks of rows"]),
        (
            "who,number\nm e,1\n",
            "1",
            "s-{{ a }}",
            ["10:9: error: 'row-m e' is not a valid task id"],
        ),
        ("who,number\nme,1\n", "1", "s-{{ b }}", ["18:9: error: two tasks of sweep"]),
        (
            "who,number\nme,1\n",
            "1",
            "row-{{ 'me' if a == 1 else 'x' }}",
            ["tasks of rows and sweep"],
        ),
        ("who,number\nme,1\n", "0", "s-{{ a }}", ["error: the pool has no nodes"]),
        ("who,number\nme\n", "0", "s-{{ b }}", ["rows.csv:2", "the pool has no nodes", "18:9"]),
    ],
)
def test_tasks_are_checked_without_an_account_and_without_secrets(
    rows: str,
    nodes: str,
    task_id: str,
    errors: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/a.txt").touch()
    (tmp_path / "rows.csv").write_text(rows, encoding="utf-8")
    spec = tmp_path / "spec.yaml"
    spec.write_text(TASKS.replace("NODES", nodes).replace("ID\n", f"{task_id}\n"))
    assert validate([spec]) == (Exit.USAGE if errors else Exit.DONE)
    captured = capsys.readouterr()
    assert [text for text in errors if text not in captured.err] == []
    assert captured.err.count(": error: ") == len(errors)
    assert config(spec) == Exit.DONE
    assert "TOKEN\n    value: '{{ token }}'" in capsys.readouterr().out


def test_names_of_files_collide_in_ids(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "data").mkdir()
    for name in ("a.txt", "A.txt"):
        (tmp_path / "data" / name).write_text(name)
    (tmp_path / "rows.csv").write_text("who,number\nme,1\n")
    spec = tmp_path / "spec.yaml"
    spec.write_text(TASKS.replace("NODES", "1").replace("ID\n", "s-{{ a }}\n"))
    assert validate([spec]) == Exit.USAGE
    assert "14:9: error: two tasks of files have the id 'file-a'" in capsys.readouterr().err


def test_wrong_values_do_not_hide_errors_of_files_and_references(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/a.txt").write_text("a", encoding="utf-8")
    spec = tmp_path / "spec.yaml"
    tasks = """\
  read:
    command: ls
    resources:
      - {storage_container_url: "{{ containers.input.read_url }}", blob_prefix: b}
      - {storage_container_url: "{{ containers.input.read_url }}", file_mode: "0955"}
"""
    spec.write_text(HEAD + tasks, encoding="utf-8")
    assert validate([spec]) == Exit.USAGE
    said = capsys.readouterr().err
    first, second = said.index(":10:81: error: none of the files"), said.index(":11:79: error: ")
    assert first < second
    assert said.count("error:") == 2


@pytest.mark.parametrize(
    ("size", "image", "found"),
    [
        (
            "standard_d2_v5s",
            "image: ubuntu-24.04",
            "warning: 'standard_d2_v5s' is not in batchspec's table of VM sizes",
        ),
        (
            "standard_nc6",
            "image: ubuntu-24.04",
            "warning: the VM size 'standard_nc6' was retired by Azure on",
        ),
        (
            "standard_d2s_v5",
            "image: ubuntu-20.04",
            "error: Batch support of the image 'ubuntu-20.04' ended on 2025-04-23",
        ),
        (
            "standard_d2s_v5",
            "virtual_machine_configuration: {image_reference: {publisher: canonical, offer:"
            " ubuntu-24_04-lts, sku: server}, node_agent_sku_id: batch.node.ubuntu 22.04}",
            "error: the node agent 'batch.node.ubuntu 22.04' does not match the image",
        ),
        (
            "standard_a2_v2",
            "virtual_machine_configuration: {image_reference: {publisher: canonical, offer:"
            " ubuntu-24_04-lts, sku: server}, node_agent_sku_id: batch.node.ubuntu 24.04}",
            "warning: VMs of size 'standard_a2_v2' cannot boot the image",
        ),
        # The list of the account may have it.
        ("standard_d2s_v5", "image: someones-image", ": ok"),
    ],
)
def test_sizes_and_images_are_compared_with_the_catalog(
    size: str, image: str, found: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = tmp_path / "spec.yaml"
    pool = f"pool:\n  vm_size: {size}\n  nodes: 1\n  {image}\n"
    tasks = "tasks: {one: {command: hostname}}\n"
    spec.write_text(
        f"version: 1\nname: demo\n{pool}job: {{max_wall_clock_time: 1h}}\n{tasks}", encoding="utf-8"
    )
    assert validate([spec]) == (Exit.USAGE if "error" in found else Exit.DONE)
    captured = capsys.readouterr()
    assert found in captured.out + captured.err
