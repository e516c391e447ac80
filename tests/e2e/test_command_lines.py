"""No process of the machine has a signature in its command line while the tutorial runs."""

from __future__ import annotations

import sys

import pytest

from tests.e2e.conftest import Workplace

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

START = 'if __name__ == "__main__":\n'
PROBE = """\
def write_exposed():
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes()
        except OSError:
            continue  # It has ended.
        found.append(line.rstrip(b"\\0").split(b"\\0"))
    assert any(__file__.encode() in words for words in found), "its own command line"
    exposed = [w for w in found if any(b"sig=" in part and {account!r} in part for part in w)]
    Path({folder!r}, os.environ["AZ_BATCH_TASK_ID"]).write_text(
        "".join(Path(os.fsdecode(words[0])).name + "\\n" for words in exposed)
    )


"""
"""Added to the program: a task writes the programs whose command lines contain a signature of the
account. The shell and the supervisor of the task, the service and the client run meanwhile."""


def exposed_by(place: Workplace) -> list[str]:
    """The programs with a signed URL in their command lines, as each task sees them."""
    folder = place.folder / "exposed"
    folder.mkdir()
    program = place.folder / "task_app" / "topn.py"
    text = program.read_text(encoding="utf-8")
    assert text.count(START) == 1
    account = place.endpoints().blob_url.encode()
    probe = PROBE.format(account=account, folder=str(folder))
    program.write_text(text.replace(START, f"{probe}{START}    write_exposed()\n"), "utf-8")
    done = place.run("apply", place.spec)
    assert done.code == 0, done.text
    tasks = sorted(folder.iterdir())
    assert len(tasks) == len(list(place.results.iterdir())) == 3
    return [path.read_text(encoding="utf-8") for path in tasks]


def test_no_command_line_contains_a_signature_during_the_tutorial(place: Workplace) -> None:
    assert exposed_by(place) == ["", "", ""]
    assert "secret-in-command" not in place.run("plan", place.spec, "--rerun").text


def test_the_command_line_of_a_program_contains_its_argument(place: Workplace) -> None:
    """The other test would see a signature; ``plan`` reports such a spec."""
    place.edit("    env: ", "    # env: ")
    place.edit("{{ top }}\n", "{{ top }} {{ containers.output.write_url }}\n")
    assert place.run("plan", place.spec).text.count("[secret-in-command]") == 1
    for programs in exposed_by(place):
        assert set(programs.splitlines()) == {"python3"}, "not the shell of the task"
