"""Signatures of failures: the last significant line, without the parts that vary."""

from __future__ import annotations

import pytest

from batchspec.plan.failures import distinctive_parts, last_line, signature

TRACE = """\
Traceback (most recent call last):
  File "/mnt/batch/tasks/workitems/j/job-1/t-7/wd/topn.py", line 12, in <module>
    import numpy
    ^^^^^^^^^^^^
ModuleNotFoundError: No module named 'numpy'
"""
JAVA = """\
Exception in thread "main" java.lang.IllegalStateException: no row 17
\tat com.example.Main.main(Main.java:12)
\t... 3 more
"""


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (TRACE, "ModuleNotFoundError: No module named 'numpy'"),
        (JAVA, 'Exception in thread "main" java.lang.IllegalStateException: no row 17'),
        ("panic: x\nnote: run with `RUST_BACKTRACE=1`\n\n", "panic: x"),
        ("panic: x\nexit status 2\n", "panic: x"),
        ("a\nKilled\n", "Killed"),
        ("done\n-----\n", "done"),
        ("----\n", "----"),
        ("", ""),
        (" \n\t\n", ""),
    ],
)
def test_the_last_line_that_describes_the_error(text: str, line: str) -> None:
    assert last_line(text) == line


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("no row 17", "no row 3"),
        ("open /mnt/a/in_01.csv: denied", "open /mnt/b/x/in_2.csv: denied"),
        (r"open C:\data\a.csv: denied", r"open D:\b.csv: denied"),
        ("took 3.25 s", "took 1e-3 s"),
        ("at 0x7ffd3c2a", "at 0x10"),
        ("2026-01-02T03:04:05.123Z failed", "2025-11-30 13:14:15,5 failed"),
        ("03:04:05 failed", "13:14:15.25 failed"),
        ("id 6f9619ff-8b86-d011-b42d-00c04fc964ff", "id 7f9619ff-8b86-d011-b42d-00c04fc964aa"),
        ("commit 7f3a9c2", "commit 00be1aa"),
        ("GET https://a.example/x?sig=1 403", "GET https://b.example/y 403"),
        ("node tvmps_1 lost", "node tvmps_2 lost"),
        ("out/a/b.txt is empty", "out/c/d/e.txt is empty"),
    ],
)
def test_varying_parts_are_masked(one: str, other: str) -> None:
    assert signature(one) == signature(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("No module named 'numpy'", "No module named 'pandas'"),
        ("Permission denied", "No space left on device"),
        ("java.io.IOException: x", "java.lang.Error: x"),
    ],
)
def test_distinguishing_parts_are_not_masked(one: str, other: str) -> None:
    assert signature(one) != signature(other)


def test_the_ids_of_a_task_and_their_distinctive_parts_are_masked() -> None:
    names = ("count-lighthouse-ab12cd", "count-harbour-98fe01")
    parts = distinctive_parts(names)
    assert parts[names[0]] == ("lighthouse", "ab12cd")
    one, other = (
        signature(f"{word}.txt: cannot count in {name}", name, *parts[name])
        for word, name in zip(("lighthouse", "harbour"), names, strict=True)
    )
    assert one == other == "<id>.txt: cannot count in <id>"


def test_the_parts_of_a_single_id_are_words_like_others() -> None:
    assert distinctive_parts(["import-module"]) == {"import-module": ()}


@pytest.mark.parametrize("text", ["\xff\x00\x01", "\ufffd" * 5000, "x" * 100_000, "\x1b[31mred"])
def test_bytes_that_are_not_text_are_accepted(text: str) -> None:
    assert len(signature(text)) <= 200
