"""The values of arguments and options have the types that a command's function names."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer

from batchspec.cli.command_line import CommandLine
from batchspec.diagnostics import UsageError


class Size(StrEnum):
    SMALL = "small"
    LARGE = "large"


def run(line: str) -> dict[str, Any]:
    """The values that a command gets."""
    received: dict[str, Any] = {}
    app = CommandLine(name="sample")

    @app.callback()
    def root() -> None:
        pass

    @app.command()
    def sample(
        files: Annotated[list[Path] | None, typer.Argument()] = None,
        size: Annotated[Size, typer.Option()] = Size.SMALL,
        sizes: Annotated[list[Size] | None, typer.Option("--also")] = None,
        count: Annotated[int | None, typer.Option("--count", min=1, max=9)] = None,
        speed: float = 1.0,
        text: str = "",
        on: Annotated[bool, typer.Option("--on", envvar="SAMPLE_ON")] = False,
    ) -> None:
        received.update(locals())
        del received["received"]

    app(["sample", *line.split()], prog_name="sample", standalone_mode=False)
    return received


def test_defaults_remain() -> None:
    assert run("") == {
        "files": None,
        "size": Size.SMALL,
        "sizes": None,
        "count": None,
        "speed": 1.0,
        "text": "",
        "on": False,
    }


def test_values_are_converted() -> None:
    line = "a b --size large --also small --also large --count 3 --speed 2.5 --text 7 --on"
    assert run(line) == {
        "files": [Path("a"), Path("b")],
        "size": Size.LARGE,
        "sizes": [Size.SMALL, Size.LARGE],
        "count": 3,
        "speed": 2.5,
        "text": "7",
        "on": True,
    }
    assert isinstance(run("--size large")["size"], Size)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1", True), ("TRUE", True), ("yes", True), ("0", False), ("off", False), (" ", False)],
)
def test_a_flag_is_set_in_the_environment(
    monkeypatch: pytest.MonkeyPatch, text: str, expected: object
) -> None:
    monkeypatch.setenv("SAMPLE_ON", text)
    assert run("")["on"] is expected


@pytest.mark.parametrize(
    ("line", "summary"),
    [
        ("--size huge", "`--size` must be `small` or `large`, not `huge`"),
        ("--also huge", "`--also` must be `small` or `large`, not `huge`"),
        ("--count 0", "`--count` must be at least 1, not `0`"),
        ("--count 10", "`--count` must be at most 9, not `10`"),
        ("--count 2.5", "`--count` must be a whole number, not `2.5`"),
        ("--speed fast", "`--speed` must be a number, not `fast`"),
    ],
)
def test_a_wrong_value_is_reported(line: str, summary: str) -> None:
    with pytest.raises(UsageError) as caught:
        run(line)
    assert [one.summary for one in caught.value.problems] == [summary]


def test_a_wrong_flag_in_the_environment_names_the_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SAMPLE_ON", "perhaps")
    with pytest.raises(UsageError, match="from `SAMPLE_ON`") as caught:
        run("")
    assert "must be `true` or `false`, not `perhaps`" in caught.value.problems[0].summary
