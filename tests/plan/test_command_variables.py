"""Signed URLs in shell commands are passed in variables, and programs get the same arguments."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace

import pytest

from batchspec.plan.actions import CreateJob, CreatePool
from batchspec.plan.build import build_plan
from batchspec.plan.rules.signed_urls import with_variables
from batchspec.plan.tasks import expand
from batchspec.spec import BlobUrl, Command, Record, Shell, Stage, Text, command_line, thaw
from tests.plan import making
from tests.spec.empty_account import IMAGES

URL = "http://host/a?sv=2024-11-04&se=2026-03-01T13%3A00%3A00Z&sig=a%2Bb'c\"$HOME`id`\\d%3D"
"""The resolved URL; a real URL contains none of these shell characters."""
CONTAINER = BlobUrl("output", None, "cw")
OTHER = BlobUrl("input", None, "rl")
URLS = {CONTAINER: URL, OTHER: "http://host/other?sig=x"}
SCOPE = {"containers": {"output": {"write_url": CONTAINER}, "input": {"read_url": OTHER}}}
WRITE = "{{ containers.output.write_url }}"
SHELLS = [shell for shell in ("sh", "bash", "dash", "busybox") if shutil.which(shell)]


def body(command: str, *, shell: Shell = Shell.DEFAULT, windows: bool = False) -> Record:
    made = command_line(Command(shell, template=making.template(command)), SCOPE, windows=windows)
    return Record(id="t", commandLine=made)


def resolved(task: Record) -> dict[str, object]:
    found = thaw(task, lambda text: text.resolve(lambda url: URLS[url]))
    assert isinstance(found, dict)
    return found


def environment(task: dict[str, object]) -> dict[str, str]:
    settings = task.get("environmentSettings", [])
    assert isinstance(settings, list)
    return {item["name"]: item["value"] for item in settings}


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        (WRITE, URL),
        (f'"{WRITE}"', URL),
        (f"'{WRITE}'", URL),
        (f'"a {WRITE} b"', f"a {URL} b"),
        (f"'a {WRITE} b'", f"a {URL} b"),
        (f"--to={WRITE}", f"--to={URL}"),
        (f'''"it's {WRITE}"''', f"it's {URL}"),
        (f"""'say "{WRITE}"'""", f'say "{URL}"'),
        (f'"$(printf %s {WRITE})"', URL),
        (f'"$(printf %s "{WRITE}")"', URL),
        (f'"`printf %s {WRITE}`"', URL),
        (f"${{UNSET:-{WRITE}}}", URL),
        (f"{WRITE}{{{{ containers.input.read_url }}}}", URL + URLS[OTHER]),
    ],
)
def test_the_program_gets_the_same_argument(shell: str, argument: str, expected: str) -> None:
    task = resolved(with_variables(body(f"printf '<%s>' {argument}")))
    assert "sig=" not in str(task["commandLine"])
    line = str(task["commandLine"]).removeprefix("/bin/")
    program = ["busybox", "sh"] if shell == "busybox" else [shell]
    done = subprocess.run(
        ["/bin/sh", "-c", line.replace("sh", " ".join(program), 1)],
        env={"PATH": "/usr/bin:/bin", **environment(task)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"<{expected}>"
    assert done.stderr == ""


def test_a_url_has_one_variable_and_names_of_the_task_are_kept() -> None:
    task = body(f"a {WRITE} '{WRITE}' {{{{ containers.input.read_url }}}}").with_(
        environmentSettings=(Record(name="BATCHSPEC_URL_1", value="mine"),)
    )
    found = resolved(with_variables(task))
    assert environment(found) == {
        "BATCHSPEC_URL_1": "mine",
        "BATCHSPEC_URL_2": URL,
        "BATCHSPEC_URL_3": URLS[OTHER],
    }
    assert str(found["commandLine"]).count("BATCHSPEC_URL_2") == 2


@pytest.mark.parametrize(
    "task",
    [
        body(f"a {WRITE}", shell=Shell.NONE),
        body(f"a {WRITE}", windows=True),
        body("a {{ containers.output.write_url | raw }}"),
        body("sh -c 'a {{ containers.output.write_url | quote }}'"),
        body("a b"),
        Record(id="t", commandLine=Text(("a ", BlobUrl("output", None, "cw")))),
    ],
    ids=["no shell", "cmd", "raw", "another shell", "no URL", "text"],
)
def test_other_commands_do_not_change(task: Record) -> None:
    assert with_variables(task) is task


def test_unsigned_urls_stay_in_the_command() -> None:
    plain = replace(CONTAINER, permissions="")
    made = command_line(
        Command(Shell.DEFAULT, template=making.template("a {{ url }}")),
        {"url": plain},
        windows=False,
    )
    task = Record(id="t", commandLine=made)
    assert with_variables(task) is task


def _task(stage: Stage) -> Record:
    (task,) = expand(making.spec(stage), stage, making.observed(), windows=False)
    return task.body


def test_tasks_of_a_stage_get_variables() -> None:
    body = _task(making.stage("run {{ containers.output.write_url }}"))
    assert "BATCHSPEC_URL_1" in str(thaw(body["commandLine"], lambda text: text.shown))
    setting = Record(name="BATCHSPEC_URL_1", value=Text((CONTAINER,)))
    assert body["environmentSettings"] == (setting,)


def test_start_preparation_and_release_tasks_get_variables() -> None:
    command = body(f"a {WRITE}")
    special = {"jobPreparationTask": command, "jobReleaseTask": command}
    spec = making.spec(making.stage(), job=Record(special))
    spec = replace(
        spec, pool=replace(spec.pool, properties=Record(startTask=command, targetDedicatedNodes=1))
    )
    plan = build_plan(spec, replace(making.observed(), images=IMAGES))
    actions = [step.action for step in plan.steps]
    (pool,) = (action.body for action in actions if isinstance(action, CreatePool))
    (job,) = (action.body for action in actions if isinstance(action, CreateJob))
    for task in (pool["startTask"], job["jobPreparationTask"], job["jobReleaseTask"]):
        assert isinstance(task, Record)
        found = resolved(task.with_(resourceFiles=None))
        assert environment(found) == {"BATCHSPEC_URL_1": URL}
        assert "sig=" not in str(found["commandLine"])
