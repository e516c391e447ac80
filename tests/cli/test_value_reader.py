"""Values of secrets that a command reads from files, standard input and the terminal."""

from __future__ import annotations

import io
import os
import pty
import sys
from pathlib import Path

import pytest

from batchspec.cli.options import ValueReader
from batchspec.diagnostics import UsageError


def standard_input(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="ascii"))


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"s\xc3\xa9cret", "s\u00e9cret"),
        (b"secret\n", "secret"),
        (b"secret\r\n", "secret"),
        (b" a\r\nb \n\n", " a\r\nb \n"),
        (b"", ""),
    ],
)
def test_one_line_break_at_the_end_is_not_part_of_a_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes, value: str
) -> None:
    file = tmp_path / "value"
    file.write_bytes(data)
    assert ValueReader().read("token", f"@{file}") == value
    standard_input(monkeypatch, data)
    assert ValueReader().read("token", "-") == value


def test_a_path_can_begin_with_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "value").write_text("secret")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert ValueReader().read("token", "@~/value") == "secret"


def test_the_path_of_an_unreadable_file_is_not_shown_because_it_may_be_the_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bytes").write_bytes(b"\xff")
    monkeypatch.chdir(tmp_path)
    for text, reason in (("@hunter2", "No such file"), ("@bytes", "UTF-8"), ("@a\0b", "UTF-8")):
        with pytest.raises(UsageError, match=reason) as caught:
            ValueReader().read("token", text)
        (problem,) = caught.value.problems
        assert problem.code == "bad-value-source"
        assert "BATCHSPEC_VAR_TOKEN" in problem.fix
        assert text[1:] not in repr(problem)


def test_standard_input_has_one_value(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = ValueReader()
    standard_input(monkeypatch, b"secret\n")
    assert reader.read("token", "-") == "secret"
    assert reader.read("token", "-") == "secret", "a command may read its spec again"
    with pytest.raises(UsageError, match="both read standard input"):
        reader.read("other", "-")
    standard_input(monkeypatch, b"\xff")
    with pytest.raises(UsageError, match="UTF-8"):
        ValueReader().read("token", "-")
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(UsageError, match="closed"):
        ValueReader().read("token", "-")


def test_a_terminal_asks_without_echo(monkeypatch: pytest.MonkeyPatch) -> None:
    master, slave = pty.openpty()
    with os.fdopen(master, "wb", buffering=0), os.fdopen(slave, "r", encoding="utf-8") as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        asked = []

        def getpass(prompt: str, stream: object) -> str:
            asked.append((prompt, stream))
            return "secret"

        monkeypatch.setattr("getpass.getpass", getpass)
        assert ValueReader().read("token", "-") == "secret"
    assert asked == [("Value of token (not shown): ", sys.stderr)]


def test_a_value_has_a_maximum_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device or the file of a task in place of a value is not read into memory."""
    file = tmp_path / "value"
    file.write_bytes(b"x" * 1024 * 1024)
    assert len(ValueReader().read("token", f"@{file}")) == 1024 * 1024
    file.write_bytes(b"x" * (1024 * 1024 + 1))
    with pytest.raises(UsageError, match="longer than 1 MiB"):
        ValueReader().read("token", f"@{file}")
    standard_input(monkeypatch, file.read_bytes())
    with pytest.raises(UsageError, match="longer than 1 MiB"):
        ValueReader().read("token", "-")
