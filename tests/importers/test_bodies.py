"""Pools, jobs and tasks as JSON of the REST API, as clients write it."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from batchspec.diagnostics import SpecError
from batchspec.importers import import_bodies, import_documents
from batchspec.importers.draft import SecretRemoval
from batchspec.importers.rest_bodies import without_number
from batchspec.spec import command_line, expanded_document, spec_scope
from tests.importers.drafts import imported

POOL: dict[str, Any] = {
    "id": "shared",
    "vmSize": "standard_d2s_v5",
    "state": "active",
    "eTag": "0x1",
    "targetDedicatedNodes": 2,
    "targetLowPriorityNodes": 1,
    "currentDedicatedNodes": 2,
    "taskSlotsPerNode": 4,
    "virtualMachineConfiguration": {
        "imageReference": {
            "publisher": "canonical",
            "offer": "ubuntu-24_04-lts",
            "sku": "server",
            "version": "latest",
        },
        "nodeAgentSkuId": "batch.node.ubuntu 24.04",
    },
    "startTask": {
        "commandLine": "/bin/bash -c 'apt-get update && apt-get install -y jq'",
        "userIdentity": {"autoUser": {"scope": "pool", "elevationLevel": "Admin"}},
        "maxTaskRetryCount": 2,
        "waitForSuccess": True,
    },
    "userAccounts": [{"name": "me", "elevationLevel": "admin", "password": "hunter2-secret"}],
    "certificateReferences": [{"thumbprint": "x"}],
    "autoScaleFormula": None,
}
JOB: dict[str, Any] = {
    "id": "render",
    "priority": 100,
    "poolInfo": {"poolId": "shared"},
    "onAllTasksComplete": "noaction",
    "constraints": {
        "maxWallClockTime": "P10675199DT2H48M5.4775807S",
        "maxTaskRetryCount": 1,
    },
    "commonEnvironmentSettings": [{"name": "LEVEL", "value": "3"}],
    "state": "active",
}


def task(name: str, command: str, **more: Any) -> dict[str, Any]:
    return {"id": name, "commandLine": command, "state": "completed", **more}


def test_a_pool_and_a_job(tmp_path: Path) -> None:
    found = imported(
        tmp_path,
        {"pool.json": POOL, "job.json": JOB, "tasks.json": [task("one", "hostname")]},
        password="p",
    )
    pool = found.document["pool"]
    assert pool["nodes"] == {"dedicated": 2, "spot": 1}
    assert pool["image"] == "ubuntu-24.04"
    assert "virtual_machine_configuration" not in pool
    assert pool["start_task"]["command"] == "apt-get update && apt-get install -y jq"
    assert pool["start_task"]["elevated"] is True
    assert pool["user_accounts"][0]["password"] == "{{ password }}"
    assert "hunter2" not in found.text
    assert "Not imported: `certificateReferences`. The REST API removed it" in found.text
    job = found.document["job"]
    assert job["max_wall_clock_time"] == "1d"
    assert job["max_retries"] == 1
    assert job["env"] == {"LEVEL": "3"}
    assert found.document["tasks"]["one"] == {"id": "one", "command": "hostname"}


URL = "https://acc.blob.core.windows.net/inputs"
SIGNED = "https://acc.blob.core.windows.net/inputs/scene.blend?sv=2026&sig=abc%3D"


def test_tasks_that_differ_in_a_word_are_one_stage(tmp_path: Path) -> None:
    outputs = [
        {
            "filePattern": "*.png",
            "destination": {
                "container": {"containerUrl": "https://acc.blob.core.windows.net/frames?sig=x"}
            },
            "uploadOptions": {"uploadCondition": "taskSuccess"},
        }
    ]
    tasks = [
        task(
            f"frame-{number}",
            f"/bin/bash -c 'render --frame {number} > {number}.log'",
            resourceFiles=[{"httpUrl": SIGNED, "filePath": "scene.blend"}],
            outputFiles=outputs,
        )
        for number in range(1, 6)
    ]
    last = task("join", "ls -l", dependsOn={"taskIds": [each["id"] for each in tasks]})
    found = imported(tmp_path, {"job.json": JOB, "tasks.json": {"value": [*tasks, last]}})
    stages = found.document["tasks"]
    assert stages["frame"] == {
        "for_each": {"range": [1, 6]},
        "id": "frame-{{ value }}",
        "command": "render --frame {{ value }} > {{ value }}.log",
        "resources": [
            {
                "storage_container_url": "{{ containers.inputs.read_url }}",
                "blob_prefix": "scene.blend",
            }
        ],
        "outputs": [{"files": "*.png", "container": "frames"}],
    }
    assert stages["join"]["needs"] == ["frame"]
    assert found.document["pool"] == {"existing": "shared"}


@pytest.mark.parametrize(
    ("commands", "items", "command"),
    [
        (
            ["run a 1", "run b 5"],
            {"list": [{"id": "t0", "value1": "a", "value2": 1},
                      {"id": "t1", "value1": "b", "value2": 5}]},
            "run {{ value1 }} {{ value2 }}",
        ),
        (["run 'x;y'", "run 'z'"], None, None),
        (["one two", "three"], None, None),
        (["true", "true"], {"list": [{"id": "t0"}, {"id": "t1"}]}, "true"),
    ],
)  # fmt: skip
def test_commands_that_differ(
    commands: list[str], items: dict[str, Any] | None, command: str | None, tmp_path: Path
) -> None:
    tasks = [task(f"t{number}", line) for number, line in enumerate(commands)]
    found = imported(tmp_path, {"job.json": JOB, "tasks.json": tasks})
    stages = list(found.document["tasks"].values())
    if items is not None:
        assert stages == [{"for_each": items, "id": "{{ id }}", "command": command}]


@pytest.mark.parametrize(
    ("line", "member"),
    [
        ("echo a b", {"command": "echo a b"}),
        ("/bin/sh -c 'a | b'", {"command": "a | b"}),
        ("/bin/bash -c 'a | b'", {"command": "a | b"}),
        ("bash -c '[[ -e x ]] && y'", {"command": ["bash", "-c", "[[ -e x ]] && y"]}),
        ("bash -ec 'a | b'", {"command": ["bash", "-ec", "a | b"]}),
        ("echo $HOME", {"command_line": "echo $HOME"}),
        ("cmd /c dir %TEMP%", {"command_line": "cmd /c dir %TEMP%"}),
        (
            "/bin/sh -c 'docker ps --format \"{{.Names}}\"'",
            {"command": "docker ps --format \"{{ '{{' | raw }}.Names}}\""},
        ),
    ],
)
def test_command_lines(line: str, member: dict[str, Any], tmp_path: Path) -> None:
    found = imported(tmp_path, {"job.json": JOB, "tasks.json": [task("t", line)]}, plans=False)
    assert found.document["tasks"]["t"] == {"id": "t", **member}


def test_braces_of_a_command_stay_as_they_are(tmp_path: Path) -> None:
    line = "/bin/sh -c 'docker ps --format \"{{.Names}}\"'"
    found = imported(tmp_path, {"job.json": JOB, "tasks.json": [task("t", line)]})
    (stage,) = found.spec.stages
    command = command_line(stage.command, spec_scope(found.spec), windows=False)
    assert '"{{.Names}}"' in str(command)


def test_a_secret_is_a_parameter_in_every_place(tmp_path: Path) -> None:
    secret = "hunter2-and-more"
    work = task(
        "t",
        f"/bin/sh -c 'curl -H {secret} x'",
        environmentSettings=[
            {"name": "API_TOKEN", "value": secret},
            {"name": "HEADER", "value": f"Bearer {secret}"},
            {"name": "THREADS", "value": "4"},
        ],
    )
    found = imported(tmp_path, {"job.json": JOB, "tasks.json": [work]}, api_token=secret)
    assert secret not in found.text
    stage = found.document["tasks"]["t"]
    assert stage["command"] == "curl -H {{ api_token }} x"
    assert stage["env"] == {
        "API_TOKEN": "{{ api_token }}",
        "HEADER": "Bearer {{ api_token }}",
        "THREADS": "4",
    }


def test_two_values_of_a_variable_are_two_parameters(tmp_path: Path) -> None:
    work = [
        task(name, "true", environmentSettings=[{"name": "API_TOKEN", "value": f"{name}-value"}])
        for name in ("first", "second")
    ]
    found = imported(
        tmp_path, {"job.json": JOB, "tasks.json": work}, api_token="p", api_token_2="q"
    )
    stages = found.document["tasks"]
    assert stages["first"]["env"] == {"API_TOKEN": "{{ api_token }}"}
    assert stages["second"]["env"] == {"API_TOKEN": "{{ api_token_2 }}"}


def test_a_secret_value_does_not_change_other_words(tmp_path: Path) -> None:
    work = task(
        "render",
        "render --frames 17 --out frame-7.png 7",
        environmentSettings=[{"name": "KEY", "value": "7"}, {"name": "TOKEN", "value": "frame"}],
    )
    found = imported(tmp_path, {"job.json": JOB, "tasks.json": [work]}, key="7", token="frame")
    command = found.document["tasks"]["render"]["command"]
    assert command == "render --frames 17 --out frame-7.png {{ key }}"


@pytest.mark.parametrize("count", [1, 3])
def test_a_signature_in_a_command_is_not_imported(count: int, tmp_path: Path) -> None:
    work = [
        task(f"t{number}", f"/bin/sh -c 'curl {URL}/{number}.csv?sv=1&sig=abc{number}'")
        for number in range(count)
    ]
    found = imported(tmp_path, {"job.json": JOB, "tasks.json": work})
    assert "sv=1" not in found.text and "abc" not in found.text
    assert URL in found.text


def test_the_last_number_of_a_range_may_be_large(tmp_path: Path) -> None:
    last = 10**14
    work = [task(f"t-{number}", f"run {number}") for number in (0, 1, last)]
    found = imported(tmp_path, {"job.json": JOB, "tasks.json": work})
    assert found.document["tasks"]["t"]["for_each"] == {"list": [0, 1, last]}


@pytest.mark.parametrize("end", ["\n", "\r", "\x85", "\u2028", "\x00", "\ufeff"])
def test_a_comment_does_not_end_within_a_line(end: str, tmp_path: Path) -> None:
    pool = {**POOL, f"unknown{end}evil: 1 #": True}
    bodies = {"pool.json": pool, "job.json": JOB, "tasks.json": [task("t", "true")]}
    found = imported(tmp_path, bodies, password="p", plans=False)
    assert "evil" in found.text
    assert not any("evil" in key for key in found.document)


def test_a_job_schedule(tmp_path: Path) -> None:
    schedule = {
        "id": "nightly",
        "schedule": {"recurrenceInterval": "P1D", "doNotRunUntil": "2027-01-01T00:00:00Z"},
        "jobSpecification": {
            "poolInfo": {
                "autoPoolSpecification": {"poolLifetimeOption": "jobschedule", "pool": POOL}
            },
            "jobManagerTask": {"id": "m", "commandLine": "python3 run.py"},
            "constraints": {"maxWallClockTime": "PT1H"},
        },
    }
    found = imported(tmp_path, {"schedule.json": schedule}, password="p", plans=False)
    assert found.document["job"]["schedule"] == {"every": "P1D", "start": "2027-01-01T00:00:00Z"}
    assert found.document["pool"]["lifetime"] == "job_schedule"
    assert found.document["job"]["job_manager_task"]["command_line"] == "python3 run.py"


def test_an_unknown_document(tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_text('{"a": 1}', encoding="utf-8")
    with pytest.raises(SpecError, match="is not a file that can be imported"):
        import_documents([path])


@pytest.mark.parametrize(
    "document",
    [
        [task("t", "true", dependsOn={"taskIds": 1})],
        {**POOL, "virtualMachineConfiguration": {"imageReference": 7}},
        {
            "pool_specification": {
                "vm_count": {"dedicated": []},
                "autoscale": {"scenario": {"name": "x"}},
            }
        },
    ],
)
def test_values_of_other_types(document: object, tmp_path: Path) -> None:
    path = tmp_path / "odd.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(SpecError, match=r"odd\.json: a value does not have the type"):
        import_documents([path])


def test_live_bodies_get_a_separate_name() -> None:
    draft = import_bodies("render-imported", POOL, JOB, [task("t", "true")])
    text = draft.text("job render")
    assert "name: render-imported" in text
    assert "id: shared" not in text
    assert "vm_size: standard_d2s_v5" in text


IDENTITY = (
    "/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity"
    "/userAssignedIdentities/nodes"
)


def files(pool: dict[str, object]) -> dict[str, object]:
    return {"pool.json": pool, "job.json": JOB, "tasks.json": [task("one", "hostname")]}


@pytest.mark.parametrize(
    "assigned",
    [[{"resourceId": IDENTITY, "principalId": "1"}], {IDENTITY: {}}],
    ids=["Batch", "Resource Manager"],
)
def test_the_identities_of_a_pool(tmp_path: Path, assigned: object) -> None:
    identity = {"type": "UserAssigned", "userAssignedIdentities": assigned}
    found = imported(tmp_path, files({**POOL, "identity": identity}), password="p")
    assert found.document["pool"]["identity"] == {"ids": [IDENTITY]}


def test_a_pool_without_identity(tmp_path: Path) -> None:
    none = {**POOL, "identity": {"type": "None"}}
    found = imported(tmp_path, files(none), password="p")
    assert "identity" not in found.document["pool"]


def test_a_generated_script_of_clean_is_the_key_again(tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text(
        "version: 1\nname: demo\npool: {existing: there}\njob: {max_wall_clock_time: 1h}\n"
        "tasks: {run: {for_each: {range: [0, 3]}, clean: true, command: 'echo {{ value }}  a'}}\n"
    )
    document = expanded_document(path)
    template = document["tasks"]["run"]["command"]  # type: ignore[index]
    assert "first-files" in template
    lines = [template.replace("{{ value }}", str(number)) for number in range(3)]
    tasks = [task(f"run-{n}", shlex.join(["/bin/sh", "-c", lines[n]])) for n in range(3)]
    draft = import_bodies("x", None, JOB, tasks)
    (stage,) = draft.stages.values()
    assert stage["clean"] is True
    assert "first-files" not in str(stage)
    # A command that only has the same beginning is unchanged.
    (other,) = import_bodies("x", None, JOB, [task("t", "/bin/sh -c 'found=1'")]).stages.values()
    assert other["command"] == "found=1"


@pytest.mark.parametrize(
    ("task_id", "stem"),
    [("a-12", "a"), ("a", "a"), ("a_-1", "a"), ("12", ""), ("a1b", "a1b"), ("a-", "a")],
)
def test_the_stem_of_an_id(task_id: str, stem: str) -> None:
    assert without_number(task_id) == stem


def test_unclosed_expressions_take_linear_time() -> None:
    # With quadratic time, this takes minutes.
    text = "{{ " * 200_000
    assert SecretRemoval({"hunter2hunter2": "token"})(
        f"{text}hunter2hunter2 {{{{ hunter2 }}}}"
    ) == (f"{text}{{{{ token }}}} {{{{ hunter2 }}}}")
