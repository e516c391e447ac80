"""The fenced blocks of documentation pages, and a session that does what a page shows.

A comment directly before a block states what the block is:

    <!-- file: NAME -->        its text is the file NAME
    <!-- edit: NAME -->        a diff of the file NAME, without line numbers
    <!-- exit: N -->           commands, of which the last one ends with exit code N
    <!-- not run: REASON -->   commands that the test does not run
    <!-- not a spec -->        YAML of another program
    <!-- fragment -->          YAML that is part of a spec, but not at its top level

Blocks in the language `console` without a comment are commands, and all of them succeed.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.e2e.conftest import Inside

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

_BLOCK = re.compile(
    r"(?:^<!-- (?P<kind>file|edit|exit|not run|not a spec|fragment)(?:: (?P<value>.*?))? -->\n)?"
    r"^```(?P<language>[\w-]*)[^\n]*\n(?P<text>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
_VARYING = (
    (re.compile(r"\b(\d+h )?(\d+m )?\d+(\.\d+)?m?s\b"), "0s"),
    (re.compile(r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(\.\d+)?Z?"), "TIME"),
    (re.compile(r" \(\d+:\d\d:\d\d\)$", re.MULTILINE), ""),  # pytest, after a minute
    (re.compile(r"\btvm\w+"), "NODE"),
)
_SHELL = re.compile(r"[|<>;&$*`(\\]")
ELLIPSIS = "..."


@dataclass(frozen=True)
class Block:
    """A fenced block: its language and text, what its comment states, and its place."""

    page: Path
    language: str
    text: str
    kind: str
    value: str
    start: int
    """The offset of the text in the page."""

    @property
    def where(self) -> str:
        before = self.page.read_text("utf-8")[: self.start]
        return f"{self.page.relative_to(ROOT)}:{before.count(chr(10)) + 1}"


def pages() -> list[Path]:
    """All pages of the site."""
    return sorted(path for path in DOCS.rglob("*.md") if "_build" not in path.parts)


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    return [
        Block(page, m["language"], m["text"], m["kind"] or "", m["value"] or "", m.start("text"))
        for m in _BLOCK.finditer(page.read_text("utf-8"))
    ]


def runs(block: Block) -> bool:
    """Whether a session does something for a block."""
    return block.kind in {"file", "edit", "exit"} or (
        block.language == "console" and block.kind != "not run"
    )


@dataclass
class Session:
    """A folder and a command line in which the blocks of a page are carried out in order."""

    place: Inside
    shown: list[tuple[Block, str]] = field(default_factory=list)
    """Each block of commands with its text as it would be now."""
    homes: list[Path] = field(default_factory=list)
    """The data folders of embedded services that the page selects."""

    def play(self, block: Block) -> None:
        """Write or edit the file, or run the commands, and compare their output.

        Raises:
            AssertionError: a command ended with another exit code, or an edit does not fit.
        """
        if block.kind == "file":
            path = self.place.folder / block.value
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, "utf-8")
        elif block.kind == "edit":
            path = self.place.folder / block.value
            path.write_text(edited(path.read_text("utf-8"), block), "utf-8")
        else:
            self._run(block)

    def _run(self, block: Block) -> None:
        entries = list(commands(block.text))
        now = ""
        for number, (command, output) in enumerate(entries, 1):
            expected = int(block.value) if block.kind == "exit" and number == len(entries) else 0
            code, text = self._command(command)
            assert code == expected, f"{block.where}: {command}\nexit code {code}\n{text}"
            now += f"$ {command}\n" + (elided(text, output) if output else "")
        self.shown.append((block, now))

    def _command(self, command: str) -> tuple[int, str]:
        command = command.replace("\\\n", " ")
        words = shlex.split(command, comments=True)
        if words[0] == "cd":
            self.place = replace(self.place, folder=self.place.folder / words[1])
            return 0, ""
        if words[0] == "export":
            given = dict(word.split("=", 1) for word in words[1:])
            if home := given.get("BATCHSPEC_LOCAL_HOME"):
                self.homes.append(self.place.folder / home)
            self.place.environ.update(given)
            return 0, ""
        if words[0] == "unset":
            for word in words[1:]:
                del self.place.environ[word]
            return 0, ""
        first, _, rest = command.partition(" | ")
        if words[0] == "batchspec" and not _SHELL.search(first):
            # In this process, which has imported the SDKs.
            done = self.place.run(*shlex.split(first)[1:])
            return self._shell(rest, done.out) if rest else (done.code, done.text)
        return self._shell(command, "")

    def _shell(self, command: str, text: str) -> tuple[int, str]:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        ended = subprocess.run(
            ["/bin/sh", "-c", command],
            cwd=self.place.folder,
            env={**self.place.environ, "PATH": path},
            input=text,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=250,
            check=False,
        )
        return ended.returncode, ended.stdout


def commands(text: str) -> Iterator[tuple[str, list[str]]]:
    """The commands of a block, each with the lines of output that the page shows."""
    command, output = "", list[str]()
    for line in text.splitlines():
        if command.endswith("\\"):
            command += f"\n{line}"
        elif line.startswith("$ "):
            if command:
                yield command, output
            command, output = line.removeprefix("$ "), []
        else:
            output.append(line)
    if command:
        yield command, output


def elided(text: str, shown: list[str]) -> str:
    """Output without the part that the page leaves out (:data:`ELLIPSIS`)."""
    lines = text.strip("\n").splitlines()
    if ELLIPSIS in shown:
        head = shown.index(ELLIPSIS)
        tail = len(shown) - head - 1
        lines = [*lines[:head], ELLIPSIS, *lines[len(lines) - tail :]]
    return "".join(f"{line.rstrip()}\n" for line in lines)


def edited(text: str, block: Block) -> str:
    """A text after an edit that the block shows as a diff.

    Raises:
        AssertionError: the lines are not in the text, or more than once.
    """
    lines = block.text.splitlines()
    old = "".join(f"{line[1:]}\n" for line in lines if not line.startswith("+"))
    new = "".join(f"{line[1:]}\n" for line in lines if not line.startswith("-"))
    assert text.count(old) == 1, f"{block.where}: the edit does not fit:\n{text}"
    return text.replace(old, new)


def timeless(text: str) -> str:
    """Output without what differs from run to run: durations, times, ids of nodes."""
    for pattern, name in _VARYING:
        text = pattern.sub(name, text)
    return re.sub(r" +", " ", text)


def accept(page: Path, shown: list[tuple[Block, str]]) -> None:
    """Write the present output of the commands into the page."""
    text = page.read_text("utf-8")
    for block, now in reversed(shown):
        if timeless(now) != timeless(block.text):
            text = text[: block.start] + now + text[block.start + len(block.text) :]
    page.write_text(text, "utf-8")
