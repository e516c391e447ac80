"""The spec and the transcript of the README are correct: they are run, and the output compared.

``BATCHSPEC_ACCEPT=1`` rewrites the transcript. Durations differ from run to run and are ignored.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.e2e.conftest import ROOT, Workplace

README = ROOT / "README.md"
SPEC = re.compile(r"<!-- the spec[^\n]*-->\n```yaml\n(.*?)```", re.DOTALL)
BLOCK = re.compile(r"(<!-- transcript[^\n]*-->\n```console\n)(.*?)(```\n<!-- end)", re.DOTALL)


def transcript() -> str:
    found = BLOCK.search(README.read_text(encoding="utf-8"))
    assert found, "the README has no transcript"
    return found[2]


def happening(place: Workplace, text: str) -> Iterator[str]:
    """The transcript as the commands print it now."""
    environ = {
        **place.environ,
        "COLUMNS": "84",
        "PATH": f"{Path(sys.executable).parent}:{place.environ['PATH']}",
    }
    for line in text.splitlines():
        if line.startswith("$ "):
            yield f"{line}\n"
            done = subprocess.run(
                ["/bin/sh", "-c", line.removeprefix("$ ")],
                cwd=place.folder,
                env=environ,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=100,
                check=True,
            )
            yield done.stdout


def timeless(text: str) -> str:
    return re.sub(r"\b(\d+m )?\d+(\.\d+)?m?s\b", "0s", text)


def test_the_transcript_is_what_happens(place: Workplace) -> None:
    place.endpoints()  # The start of the service is reported once, on standard error.
    text = transcript()
    now = "".join(happening(place, text))
    if os.environ.get("BATCHSPEC_ACCEPT"):
        whole = README.read_text(encoding="utf-8")
        README.write_text(BLOCK.sub(lambda m: m[1] + now + m[3], whole), encoding="utf-8")
        text = now
    assert timeless(now) == timeless(text)


def test_the_spec_of_the_first_screen_runs(place: Workplace) -> None:
    found = SPEC.search(README.read_text(encoding="utf-8"))
    assert found, "the README has no spec"
    folder = place.folder / "first"
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "log.txt").write_text("b\na\nb\n")
    (folder / "lines.yaml").write_text(found[1])
    for command in ("plan", "apply -y", "destroy -y"):
        verb, *options = command.split()
        done = place.run(verb, str(folder / "lines.yaml"), *options)
        assert done.code == 0, done.text
    lines = (folder / "results" / "log.top").read_text().split("\n")
    assert [line.split() for line in lines] == [["2", "b"], ["1", "a"], []]
