"""The task program as a command on files: encodings, results, messages and exit codes."""

from __future__ import annotations

import ast
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.task_app.conftest import SECRET, TOPN, command
from tests.task_app.naive import naive_count

TEXT = "One tree, two trees; the tree — Zoë’s tree — is the oldest.\n"
TOP3 = "tree\t3\nthe\t2\nis\t1\n"


def rows(result: str) -> str:
    """The result without its comment line."""
    comment, _, rest = result.partition("\n")
    assert comment.startswith("# ")
    return rest


def test_the_result_stands_beside_the_input_and_on_standard_output(tmp_path: Path) -> None:
    (tmp_path / "oak.txt").write_text(TEXT, encoding="utf-8")
    done = command("oak.txt", 3, cwd=tmp_path)
    assert done.returncode == 0
    result = (tmp_path / "oak.txt.top.txt").read_text(encoding="utf-8")
    assert rows(result) == TOP3
    assert result.startswith("# oak.txt: top 3 of 11 words, 8 different; read as utf-8\n")
    assert done.stdout == result
    assert sorted(path.name for path in tmp_path.iterdir()) == ["oak.txt", "oak.txt.top.txt"]


def test_files_that_differ_in_their_suffix_alone_do_not_share_a_result(tmp_path: Path) -> None:
    for name in ("a.txt", "a.md", "a"):
        (tmp_path / name).write_text("x")
        assert command(name, 1, cwd=tmp_path).returncode == 0
    assert len(list(tmp_path.glob("*.top.txt"))) == 3


@pytest.mark.parametrize(
    ("codec", "said"),
    [
        ("utf-8", "utf-8"),
        ("utf-8-sig", "utf-8"),
        ("utf-16", "utf-16"),
        ("utf-32", "utf-32"),
    ],
)
def test_unicode_texts_are_read_with_and_without_a_mark(
    tmp_path: Path, codec: str, said: str
) -> None:
    (tmp_path / "oak.txt").write_text(TEXT, encoding=codec)
    done = command("oak.txt", 3, cwd=tmp_path)
    assert rows(done.stdout) == TOP3
    assert done.stdout.partition("\n")[0].endswith(f"read as {said}")
    assert "read as" not in done.stderr


@pytest.mark.parametrize("order", ["le", "be"])
def test_utf_16_of_either_byte_order_is_read(tmp_path: Path, order: str) -> None:
    (tmp_path / "oak.txt").write_text("\ufeff" + TEXT, encoding=f"utf-16-{order}")
    assert rows(command("oak.txt", 3, cwd=tmp_path).stdout) == TOP3


def test_other_texts_are_read_as_windows_1252_and_that_is_said_twice(tmp_path: Path) -> None:
    (tmp_path / "oak.txt").write_bytes(TEXT.encode("cp1252") * 30_000)
    done = command("oak.txt", 9, cwd=tmp_path)
    assert done.returncode == 0
    assert "zoë's\t30000\n" in done.stdout
    assert "(a guess: it is not valid UTF-8)" in done.stdout.partition("\n")[0]
    assert "is read as windows-1252" in done.stderr


def test_a_damaged_text_with_a_mark_keeps_its_encoding_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "oak.txt").write_bytes(TEXT.encode("utf-16") + b"x")
    done = command("oak.txt", 3, cwd=tmp_path)
    assert rows(done.stdout) == TOP3
    assert "damaged" in done.stdout
    assert "damaged" in done.stderr


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None
)
@given(st.text("aé中😀' \n", max_size=50), st.integers(1, 9), st.sampled_from(["utf-8", "utf-16"]))
def test_characters_cut_at_the_end_of_a_block_are_whole(
    topn: ModuleType, tmp_path: Path, text: str, size: int, codec: str
) -> None:
    path = tmp_path / "cut.txt"
    path.write_bytes(text.encode(codec))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(topn, "BLOCK", size)
        blocks = topn.as_utf8(topn.read_blocks(path), topn.Encoding(codec))
        assert b"".join(blocks).decode("utf-8") == text


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None
)
@given(st.text("aé' \n", max_size=60), st.integers(1, 9), st.integers(1, 5))
def test_the_parts_of_a_file_have_its_words_and_cut_none(
    topn: ModuleType, tmp_path: Path, text: str, size: int, parts: int
) -> None:
    path = tmp_path / "parts.txt"
    path.write_text(text, encoding="utf-8", newline="")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(topn, "BLOCK", size)
        patch.setattr(topn, "PART", 4)
        starts = topn._starts(path, parts)
        parted = zip(starts, [*starts[1:], None], strict=True)
        found = [topn.count_part(path, *part) for part in parted]
    assert len(starts) <= parts
    assert sum(found, Counter()) == naive_count(text, topn.LONGEST)


def test_the_parts_of_a_large_file_are_counted_by_processes(
    topn: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "large.txt"
    path.write_text("Wörter über Wörter\n" * 20_000, encoding="utf-8")
    monkeypatch.setattr(topn, "PART", 100_000)
    assert len(topn._starts(path, 3)) == 3
    assert topn.count_utf8(path, 3) == {"wörter": 40_000, "über": 20_000}


def test_a_part_that_is_not_utf_8_decides_for_the_whole_file(
    topn: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "large.txt"
    path.write_bytes(b"plain words\n" * 20_000 + "Zoë".encode("cp1252"))
    monkeypatch.setattr(topn, "PART", 100_000)
    monkeypatch.setattr(topn, "processors", lambda: 2)
    words, encoding = topn.count_file(path)
    assert (words["zoë"], words["plain"], encoding.codec) == (1, 20_000, "windows-1252")


def test_a_text_of_many_blocks_is_counted_whole(topn: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "long.txt"
    path.write_text("Wörter über Wörter\n" * 60_000, encoding="utf-8")
    assert path.stat().st_size > 4 * topn.BLOCK
    words, _ = topn.count_file(path)
    assert words == {"wörter": 120_000, "über": 60_000}


def test_an_empty_file_has_an_empty_result(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    done = command("empty", 3, cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout == "# empty: top 3 of 0 words, 0 different; read as utf-8\n"


def test_fewer_words_than_asked_for_are_all_given(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("b a b")
    assert rows(command("a", 1000, cwd=tmp_path).stdout) == "b\t2\na\t1\n"


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("a",),
        ("a", "0"),
        ("a", "-1"),
        ("a", "3.0"),
        ("a", "three"),
        ("a", ""),
        ("a", "\u0663"),
        ("", "3"),
        ("a", "3", f"ftp://host/c?sig={SECRET}"),
        ("a", "3", f"/container?sig={SECRET}"),
        ("a", "3", f"http://[broken/c?sig={SECRET}"),
        ("a", "3", f"http://host:99999/c?sig={SECRET}"),
        ("a", "3", f"http://host/c\n?sig={SECRET}"),
        ("a", "3", ""),
        ("a", "3", f"http://host/c?sig={SECRET}", "more"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_exit_code_2(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    (tmp_path / "a").write_text("a")
    done = command(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.endswith("usage: python topn.py FILE N [CONTAINER_URL]\n")
    assert SECRET not in done.stderr


def test_what_cannot_be_read_is_one_line_and_exit_code_1(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name, reason in {
        "gone.txt": "No such file or directory",
        "folder": "it is not a regular file",
        "pipe": "it is not a regular file",
    }.items():
        done = command(name, 3, cwd=tmp_path, timeout=30)
        assert done.returncode == 1
        assert done.stdout == ""
        assert done.stderr == f"topn: cannot read {name}: {reason}\n"


def test_a_result_that_cannot_be_written_is_exit_code_1_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    (tmp_path / "a.top.txt").mkdir()
    done = command("a", 3, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == "topn: cannot write the result: Is a directory\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "a.top.txt"]


def test_control_characters_of_a_file_name_do_not_reach_the_result(tmp_path: Path) -> None:
    (tmp_path / "a\nb\x1b").write_text("a")
    done = command("a\nb\x1b", 3, cwd=tmp_path)
    assert done.stdout == "# a?b?: top 3 of 1 words, 1 different; read as utf-8\na\t1\n"


def test_a_locale_without_the_letters_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("中", encoding="utf-8")
    environment = {"PATH": os.environ["PATH"], "PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    done = command("a", 3, cwd=tmp_path, env=environment)
    assert done.returncode == 0
    assert rows(done.stdout) == "\\u4e2d\t1\n"
    assert rows((tmp_path / "a.top.txt").read_text(encoding="utf-8")) == "中\t1\n"


def test_an_interrupt_is_exit_code_130(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    code = (
        "import runpy, sys, pathlib, os, signal, time\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a background job ignores it
        "interrupt = lambda: (os.kill(os.getpid(), signal.SIGINT), time.sleep(60))\n"
        "pathlib.Path.stat = lambda *_, **__: interrupt()\n"
        f"sys.argv = ['topn', 'a', '3']; runpy.run_path({str(TOPN)!r}, run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (128 + signal.SIGINT, "topn: interrupted\n")


def test_the_program_is_one_file_of_the_standard_library_for_python_3_8() -> None:
    tree = ast.parse(TOPN.read_text(encoding="utf-8"), feature_version=(3, 8))
    imported: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            imported.add((node.module or "").partition(".")[0])
    assert imported <= sys.stdlib_module_names


def test_the_program_runs_on_the_other_pythons_of_this_machine(tmp_path: Path) -> None:
    (tmp_path / "oak.txt").write_text(TEXT, encoding="utf-8")
    ran = False
    for version in ("3.8", "3.9", "3.10", "3.12", "3.13", "3.14"):
        python = shutil.which(f"python{version}")
        asked = [python or "", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
        if python and subprocess.run(asked, capture_output=True, check=False).stdout:
            line = [python, str(TOPN), "oak.txt", "3"]
            done = subprocess.run(line, cwd=tmp_path, capture_output=True, check=False)
            assert done.returncode == 0, done.stderr
            assert rows(done.stdout.decode("utf-8")) == TOP3
            ran = True
    if not ran:
        pytest.skip("no other Python on this machine")
