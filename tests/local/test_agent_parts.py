"""The pure parts of the agent: patterns, paths, command lines, clocks."""

from __future__ import annotations

import asyncio
import fnmatch
import itertools
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchspec.local.agent.node_logs import NodeLogs
from batchspec.local.agent.output_files import (
    UPLOAD_ERROR_LOG,
    UPLOAD_LOG,
    compile_pattern,
    find_files,
    find_in_task_directory,
    has_wildcard,
    upload_all,
)
from batchspec.local.agent.processes import expand_variables, split_command_line
from batchspec.local.agent.storage import blob_url
from batchspec.local.clock import Clock
from batchspec.local.safe_paths import OutsideError, create_file, open_directory, split

names = st.text("ab.*?[]!-^\\ \u00e9", min_size=1, max_size=6)


@settings(deadline=None)
@given(name=names, pattern=st.text("ab.*?c-", min_size=1, max_size=6))
def test_star_and_question_mark_are_as_in_fnmatch(name: str, pattern: str) -> None:
    hidden = name.startswith(".") and not pattern.startswith(".")
    expected = fnmatch.fnmatchcase(name, pattern) and not hidden
    assert bool(compile_pattern(pattern).fullmatch(name)) is expected


@settings(deadline=None)
@given(name=names)
def test_brackets_make_any_name_literal(name: str) -> None:
    escaped = re.sub(r"([*?\[])", r"[\1]", name)
    assert compile_pattern(escaped).fullmatch(name)


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("abc*", ["abc", "abcdef"], ["ab", "xabc"]),
        ("[abc]", ["a", "b"], ["d", "ab"]),
        ("[a-c]x", ["ax", "cx"], ["dx", "-x"]),
        ("[!abc]", ["d", "A"], ["a", "c"]),
        ("[!a-c]", ["d"], ["b"]),
        ("[]]", ["]"], ["["]),
        ("[a-]", ["a", "-"], ["b"]),
        ("[c-a]", [], ["a", "b", "c"]),
        ("[^a]", ["^", "a"], ["b"]),
        ("a[", ["a["], ["a"]),
        ("*.gif", ["a.gif"], [".a.gif"]),
        (".*.gif", [".a.gif"], ["a.gif"]),
        ("a+(b)|c$", ["a+(b)|c$"], ["aab"]),
    ],
)
def test_patterns_of_the_reference(pattern: str, yes: list[str], no: list[str]) -> None:
    matches = compile_pattern(pattern)
    assert [name for name in yes + no if matches.fullmatch(name)] == yes


def test_a_pattern_with_many_stars_is_linear() -> None:
    name = "a" * 250
    assert not compile_pattern("*a" * 60 + "*b").fullmatch(name)
    assert compile_pattern("*a" * 60 + "*").fullmatch(name)


def test_repeated_double_stars_are_one(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*"abcdefghijklmnopqrst")
    deep.mkdir(parents=True)
    (deep / "x").touch()
    (found,) = find_files("**/" * 40 + "x", tmp_path)
    assert found == (str(deep / "x"), "/".join("abcdefghijklmnopqrst") + "/x")


def test_each_directory_is_matched_once_for_each_part(tmp_path: Path) -> None:
    """The parts of the pattern match the directories in 10**11 ways."""
    deep = tmp_path.joinpath(*("a" * 40))
    deep.mkdir(parents=True)
    (deep / "x").touch()
    assert list(find_files("**/*a*/" * 20 + "**/y", tmp_path)) == []
    (found,) = find_files("**/*a*/" * 20 + "**", tmp_path)
    assert found[0] == str(deep / "x")


def test_find_files_enters_directories_but_no_links(tmp_path: Path) -> None:
    for name in ("a.txt", "d/b.txt", "d/e/c.txt", "d/.h/x.txt", ".h/y.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "round").symlink_to(tmp_path)
    (tmp_path / "link.txt").symlink_to(tmp_path / "a.txt")
    (tmp_path / "broken.txt").symlink_to(tmp_path / "none")

    def found(pattern: str, base: Path = tmp_path) -> list[str]:
        return [below for _, below in find_files(pattern, base)]

    assert found("**/*.txt") == ["a.txt", "d/b.txt", "d/e/c.txt", "link.txt"]
    assert found("d/**") == ["b.txt", "e/c.txt"]
    assert found("*/*.txt") == ["d/b.txt"]
    assert found("**/e/*") == ["d/e/c.txt"]
    assert found("**/**/c.txt") == ["d/e/c.txt"]
    assert found("../*.txt", tmp_path / "d") == ["a.txt", "link.txt"]
    assert found(f"{tmp_path}/d/*.txt") == ["b.txt"]
    assert found("d") == []
    assert found("none/*") == []
    assert found("") == []


@pytest.mark.parametrize(
    ("pattern", "wild"), [("a/b.txt", False), ("a*", True), ("a?", True), ("[a]", True)]
)
def test_patterns_with_a_wildcard(pattern: str, wild: bool) -> None:
    assert has_wildcard(pattern) is wild


@settings(deadline=None)
@given(st.lists(st.text(max_size=8).filter(lambda s: "\0" not in s), min_size=1, max_size=5))
def test_splitting_reverses_quoting(arguments: list[str]) -> None:
    line = " ".join("'" + argument.replace("'", "'\"'\"'") + "'" for argument in arguments)
    assert split_command_line(line) == arguments


def test_expansion_accepts_both_forms_and_keeps_unset_names() -> None:
    environment = {"A": "1", "AB": "2"}
    assert expand_variables("$A/${A}B/$AB/$C/${D}/$", environment) == "1/1B/2/$C/${D}/$"


@settings(deadline=None)
@given(st.text("ab./\\\0", max_size=12))
def test_a_path_stays_inside_or_is_refused(path: str) -> None:
    try:
        parts = split(path)
    except OutsideError:
        return
    assert os.path.normpath(path) == "/".join(parts)
    assert os.path.commonpath(["/top", os.path.normpath("/top/" + path)]) == "/top"


def test_a_new_file_appears_completely_or_not_at_all(tmp_path: Path) -> None:
    with open_directory(tmp_path, ["a", "b"]) as directory:
        with create_file(directory, "f", 0o640) as target:
            os.write(target, b"x")
            assert not (tmp_path / "a/b/f").exists()
        assert (tmp_path / "a/b/f").stat().st_mode & 0o777 == 0o640
        with pytest.raises(RuntimeError), create_file(directory, "g", 0o640) as target:
            os.write(target, b"x")
            raise RuntimeError
    assert [path.name for path in (tmp_path / "a/b").iterdir()] == ["f"]


def test_a_blob_url_keeps_the_credential_and_quotes_the_blob_name() -> None:
    url = blob_url("http://h/acct/c?sig=a%2Fb", "d/e f#?%.txt")
    assert url == "http://h/acct/c/d/e%20f%23%3F%25.txt?sig=a%2Fb"


def test_a_clock_follows_real_time_or_is_faster() -> None:
    assert abs(Clock().now() - datetime.now(UTC)) < timedelta(seconds=5)
    ahead = timedelta(days=400)
    assert abs(Clock(1, ahead).now() - datetime.now(UTC) - ahead) < timedelta(seconds=5)
    before = datetime.now(UTC)
    fast = Clock(1e6, ahead)
    first = fast.now()
    assert before + ahead <= first <= fast.now()
    with pytest.raises(ValueError, match="less than 1"):
        Clock(0.5)


async def test_timers_of_a_fast_clock_are_fast() -> None:
    fast = Clock(3600 * 1e3)
    before = fast.now()
    called = asyncio.Event()
    fast.call_later(timedelta(hours=1), called.set)
    async with asyncio.timeout(10):
        await called.wait()
        await fast.sleep(3600)
    assert fast.now() - before >= timedelta(hours=1)


def test_a_node_log_that_cannot_be_written_fails_no_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "agent-logs").touch()
    logs = NodeLogs(tmp_path)
    for number in range(20_001):
        logs.write("p", "n", datetime(2026, 3, 1, tzinfo=UTC), f"line {number}")
    logs.remove("p", "n")
    assert "the logs of nodes cannot be written: Not a directory" in caplog.text


async def test_lines_of_a_node_log_are_written_soon(tmp_path: Path) -> None:
    logs = NodeLogs(tmp_path)
    for text in ("run 1 starts", "run 1 ends"):
        logs.write("p", "n", datetime.now(UTC), text)
        logs.flush_soon()
    assert not list(tmp_path.iterdir())
    async with asyncio.timeout(10):
        while not (found := list(tmp_path.rglob("agent-debug.log"))):
            await asyncio.sleep(0.05)
    assert "run 1 starts\n" in found[0].read_text()
    assert "run 1 ends\n" in found[0].read_text()


@pytest.mark.parametrize("name", ["a\nb", "\x1b[2J", "\x7f", "d" * 200 + "/" + "e" * 250])
async def test_a_file_that_cannot_be_a_blob_does_not_stop_the_others(
    name: str, tmp_path: Path
) -> None:
    sent = []

    class Storage:
        async def upload_bytes(self, data: bytes, url: str, headers: object) -> str:
            sent.append(url)
            return ""

    path = tmp_path / "wd" / name
    path.parent.mkdir(parents=True)
    path.write_text("x")
    (tmp_path / "wd" / "z").write_text("x")
    outputs = [
        {
            "filePattern": "**/*",
            "destination": {"container": {"containerUrl": "http://a/c?sig=x", "path": "p" * 700}},
        }
    ]
    blobs, why = await upload_all(outputs, tmp_path, {}, Storage(), None)  # type: ignore[arg-type]
    assert blobs == ("p" * 700 + "/z",)
    assert len(sent) == 1
    assert why is not None and why.code == "FileUploadMiscError"
    assert "400 InvalidUri" in (tmp_path / UPLOAD_ERROR_LOG).read_text()


_ONE_FILE = {"filePattern": "../stdout.txt", "destination": {"container": {"containerUrl": "c"}}}
_SENT = ("stdout.txt",), None


class _Sink:
    """A client that accepts each upload."""

    async def upload_bytes(self, data: bytes, url: str, headers: object) -> str:
        return ""


def _task_directory(path: Path, size: int = 1) -> Path:
    (path / "wd").mkdir()
    (path / "stdout.txt").write_text("x" * size)
    return path


@pytest.mark.parametrize(("size", "call"), [(1, 0), (1, 1), (1, 2), (1 << 17, 2)])
@pytest.mark.parametrize("place", ["wd", "link"])
async def test_files_that_cannot_be_opened_at_once_do_not_block_the_service(
    size: int, call: int, place: str, tmp_path: Path
) -> None:
    """In another thread are: creation of the logs, search, reading of a file, lines of the logs.

    A small file is read with the search. A link can lead to another file system.
    """
    entered, end = threading.Event(), threading.Event()
    calls = itertools.count()
    main = threading.current_thread()

    @contextmanager
    def access() -> Iterator[None]:
        if threading.current_thread() is main:  # the first search finds the link
            assert place == "link"
            yield
            return
        if next(calls) == call:
            entered.set()
            assert end.wait(60)
        yield

    _task_directory(tmp_path, size)
    pattern = "../stdout.txt"
    if place == "wd":
        (tmp_path / "stdout.txt").rename(tmp_path / "wd" / "stdout.txt")
        pattern = "stdout.txt"
    else:
        (tmp_path / "stdout.txt").rename(tmp_path / "wd" / "file")
        (tmp_path / "stdout.txt").symlink_to(tmp_path / "wd" / "file")
    output = {**_ONE_FILE, "filePattern": pattern}
    uploading = asyncio.create_task(
        upload_all([output], tmp_path, {}, _Sink(), None, access)  # type: ignore[arg-type]
    )
    while not entered.is_set():
        await asyncio.sleep(0.001)
    end.set()
    assert await uploading == _SENT
    assert "stdout.txt -> stdout.txt" in (tmp_path / UPLOAD_LOG).read_text()


@pytest.mark.parametrize("pattern", ["../stdout.txt", "../std*.txt", ".././stdout.txt"])
async def test_logs_of_a_task_need_no_thread(
    pattern: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def to_thread(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(asyncio, "to_thread", to_thread)
    _task_directory(tmp_path)
    (tmp_path / "std.d.txt").mkdir()
    output = {**_ONE_FILE, "filePattern": pattern}
    sending = upload_all([output], tmp_path, {}, _Sink(), None)  # type: ignore[arg-type]
    assert await sending == _SENT
    assert f"{tmp_path}/stdout.txt -> stdout.txt\n" == (tmp_path / UPLOAD_LOG).read_text()


@pytest.mark.parametrize(
    "pattern", ["../stdout.txt", "../std*.txt", "../*.txt", "../none", "../x*", "../.h*"]
)
def test_files_of_the_task_directory_are_found_as_all_files(pattern: str, tmp_path: Path) -> None:
    _task_directory(tmp_path)
    for name in ("stderr.txt", ".hidden.txt", "wd/stdout.txt"):
        (tmp_path / name).touch()
    (tmp_path / "x.d").mkdir()
    expected = [name for _, name in find_files(pattern, tmp_path / "wd")]
    found = list(find_in_task_directory(pattern, tmp_path / "wd"))
    assert found == [(str(tmp_path / name), name) for name in expected]


async def test_a_pipe_in_the_place_of_the_log_of_uploads_is_an_error(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / UPLOAD_LOG)
    with pytest.raises(OSError, match=UPLOAD_LOG):
        await asyncio.wait_for(
            upload_all([_ONE_FILE], tmp_path, {}, None, None),  # type: ignore[arg-type]
            60,
        )
