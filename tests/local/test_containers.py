"""Tasks in containers, with a stand-in for the engine, and with a real engine if one is installed.

The stand-in is a program of the name ``docker`` that takes the commands the service gives, notes
them, and runs what it is to run as a process of this machine.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.local.engines import (
    WAIT,
    job,
    pool,
    processes_of,
    release_tasks,
    running_with_engine,
    task,
    wait_until,
)
from tests.local.running import Service

STAND_IN = """\
#!{python}
import json, os, pathlib, subprocess, sys

home = pathlib.Path(os.environ["STAND_IN"])
words = sys.argv[1:]
config = None
if words[0] == "--config":
    config = (pathlib.Path(words[1]) / "config.json").read_text()
    words = words[2:]
verb, rest = words[0], words[1:]
note = lambda name: home / f"{{name}}.json"
if verb == "version":
    if (home / "down").exists():
        sys.exit("Cannot connect to the Docker daemon")
    print("99.0")
elif verb == "create":
    made = {{"config": config, "env": {{}}, "volumes": [], "options": [], "state": "created"}}
    while rest[0].startswith("--"):
        option, value = rest[0], rest[1]
        rest = rest[2:]
        if option == "--env":
            name, sign, text = value.partition("=")
            made["env"][name] = text if sign else os.environ[name]
        elif option == "--volume":
            made["volumes"].append(value)
        elif option in ("--name", "--workdir", "--label"):
            made[option[2:]] = value
        else:
            made["options"] += [option, value]
    made["image"], made["command"] = rest[0], rest[1:]
    if made["image"] == "none":
        sys.exit("Unable to find image 'none:latest' locally\\npull access denied for none")
    if "--wrong" in made["options"]:
        sys.exit("unknown flag: --wrong")
    note(made["name"]).write_text(json.dumps(made))
    print("id-of-" + made["name"])
elif verb == "start":
    made = json.loads(note(rest[-1]).read_text())
    environment = {{"PATH": os.environ["PATH"], **made["env"]}}
    try:
        done = subprocess.run(made["command"], env=environment, cwd=made.get("workdir", "/"))
        made |= {{"state": "exited", "code": done.returncode}}
    except FileNotFoundError as error:
        made |= {{"code": 127, "error": "executable file not found in $PATH"}}
    note(rest[-1]).write_text(json.dumps(made))
    sys.exit(made["code"])
elif verb == "inspect":
    made = json.loads(note(rest[-1]).read_text())
    print(made.get("code", 0), made["state"], made.get("error", ""))
elif verb == "ps":
    mark = rest[-1].partition("label=")[2]
    for path in home.glob("*.json"):
        if json.loads(path.read_text())["label"] == mark:
            print(path.stem)
elif verb == "rm":
    for name in rest[2:]:
        note(name).rename(home / f"{{name}}.gone")
else:
    sys.exit("what is " + verb + "?")
"""
CONTAINERS = {"containerConfiguration": {"type": "dockerCompatible"}}


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The log of the stand-in, which is the only engine on the path."""
    programs, home = tmp_path / "programs", tmp_path / "engine"
    programs.mkdir()
    home.mkdir()
    (programs / "docker").write_text(STAND_IN.format(python=sys.executable))
    (programs / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    # The stand-in is a Python program, which can start slowly.
    monkeypatch.setattr("batchspec.local.agent.containers._PROBE_TIMEOUT", 60.0)
    monkeypatch.setenv("STAND_IN", str(home))
    return home


def container_pool(pool_id: str = "p", **more: Any) -> dict[str, Any]:
    """A pool for containers."""
    body = pool(pool_id, **more)
    body["virtualMachineConfiguration"] |= CONTAINERS
    return body


@pytest.fixture
def batch(engine: Path, tmp_path: Path) -> Iterator[Service]:
    with running_with_engine(tmp_path / "batch") as service:
        service.client.create_pool(container_pool())
        service.client.create_job(job())
        yield service
        assert service.violations == []
    assert processes_of(tmp_path / "batch") == []
    # Nothing is left with the engine.
    assert list(engine.glob("*.json")) == []


def creation_arguments(engine: Path) -> dict[str, Any]:
    """The arguments with which the only container was created."""
    (path,) = engine.glob("*.gone")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def ended(batch: Service, task_id: str = "t", job_id: str = "j") -> Any:
    wait_until(lambda: batch.client.get_task(job_id, task_id).state.value == "completed")
    return batch.client.get_task(job_id, task_id).execution_info


def output(batch: Service, name: str = "stdout.txt") -> str:
    return b"".join(batch.client.download_task_file("j", "t", name)).decode()


def test_a_task_runs_in_its_container(batch: Service, engine: Path) -> None:
    settings = {"imageName": "busybox:1", "containerRunOptions": "--cpus 1 --name-of 'a b'"}
    own = [{"name": "MINE", "value": "x"}, {"name": "DOCKER_HOST", "value": "nowhere"}]
    script = "echo $MINE $AZ_BATCH_TASK_ID; pwd; echo made > file; exit 3"
    batch.client.create_task(
        "j", task("t", script, containerSettings=settings, environmentSettings=own)
    )
    info = ended(batch)
    assert (info.exit_code, info.failure_info.code) == (3, "FailureExitCode")
    assert info.container_info.state == "exited"
    assert info.container_info.container_id.startswith("id-of-batchspec-")
    node = batch.client.get_task("j", "t").node_info.node_id
    root = batch.data / "nodes" / "p" / node
    directory = root / "workitems" / "j" / "job-1" / "t" / "wd"
    assert output(batch) == f"x t\n{directory}\n"
    assert output(batch, "wd/file") == "made\n"
    found = creation_arguments(engine)
    assert (found["image"], found["workdir"]) == ("busybox:1", str(directory))
    assert found["volumes"] == [f"{root}:{root}"]
    assert found["options"][-4:] == ["--cpus", "1", "--name-of", "a b"]
    assert found["env"]["AZ_BATCH_NODE_ROOT_DIR"] == str(root)
    # Variables of the node alone are not passed; a setting of the task is, only to its container.
    assert not {"PATH", "HOME", "USER", "STAND_IN"} & found["env"].keys()
    assert found["env"]["DOCKER_HOST"] == "nowhere"


def test_mounts_and_working_directory_can_be_set(batch: Service, engine: Path) -> None:
    mounts = [{"source": "Task"}, {"source": "Shared", "isReadOnly": True}]
    settings = {
        "imageName": "busybox",
        "workingDirectory": "containerImageDefault",
        "containerHostBatchBindMounts": mounts,
    }
    batch.client.create_task("j", task("t", "pwd", containerSettings=settings))
    assert ended(batch).exit_code == 0
    assert output(batch) == "/\n"
    node = batch.client.get_task("j", "t").node_info.node_id
    root = batch.data / "nodes" / "p" / node
    directory = root / "workitems" / "j" / "job-1" / "t"
    found = creation_arguments(engine)
    assert found["volumes"] == [f"{directory}:{directory}", f"{root}/shared:{root}/shared:ro"]
    assert "workdir" not in found


def test_a_terminated_task_leaves_no_container(batch: Service, engine: Path) -> None:
    settings = {"imageName": "busybox"}
    batch.client.create_task("j", task("t", WAIT, containerSettings=settings))
    wait_until(lambda: processes_of(batch.data, "sleep") != [])
    batch.client.terminate_task("j", "t")
    assert ended(batch).failure_info.code == "TaskEnded"
    assert creation_arguments(engine)["image"] == "busybox"


@pytest.mark.parametrize(
    ("settings", "command", "code", "words"),
    [
        ({"imageName": "none"}, "true", "ContainerInvalidImage", "pull access denied for none"),
        (
            {"imageName": "x", "containerRunOptions": "--wrong 1"},
            "true",
            "ContainerInvalidSettings",
            "unknown flag: --wrong",
        ),
        (
            {"imageName": "x", "containerRunOptions": "'"},
            "true",
            "ContainerInvalidSettings",
            "containerRunOptions: No closing quotation",
        ),
        ({"imageName": "x"}, "no-program", "CommandProgramNotFound", "no-program"),
        ({}, "true", "ContainerTaskSettingsNotFound", ""),
    ],
)
def test_a_container_failure_has_its_code(
    batch: Service, settings: dict[str, Any], command: str, code: str, words: str
) -> None:
    body: dict[str, Any] = {"id": "t", "commandLine": command}
    batch.client.create_task("j", body | ({"containerSettings": settings} if settings else {}))
    info = ended(batch)
    assert (info.exit_code, info.failure_info.code) == (None, code)
    details = [detail.value for detail in info.failure_info.details or ()]
    assert any(words in text for text in details) or not words


def test_a_pool_without_containers_runs_no_container_task(batch: Service) -> None:
    batch.client.create_pool(pool("q"))
    batch.client.create_job(job("k", "q"))
    batch.client.create_task("k", task("t", "true", containerSettings={"imageName": "busybox"}))
    info = ended(batch, "t", "k")
    assert (info.exit_code, info.failure_info.code) == (None, "ContainerPoolNotSupported")


def test_start_and_preparation_tasks_may_run_without_containers(
    batch: Service, engine: Path
) -> None:
    start = {"commandLine": "true", "containerSettings": {"imageName": "starter"}}
    batch.client.create_pool(container_pool("q", startTask=start))
    wait_until(lambda: [n.state.value for n in batch.client.list_nodes("q")] == ["idle"])
    assert creation_arguments(engine)["image"] == "starter"
    (node,) = batch.client.list_nodes("q")
    assert node.start_task_info.container_info.state == "exited"
    batch.client.create_job(job("k", "q", jobPreparationTask={"commandLine": "true"}))
    batch.client.create_task("k", task("t", "true", containerSettings={"imageName": "b"}))
    assert ended(batch, "t", "k").exit_code == 0


def test_passwords_of_registries_are_used_and_never_shown(engine: Path, tmp_path: Path) -> None:
    body = container_pool()
    registry = {"registryServer": "r.example", "username": "u", "password": "secret-1"}
    machine = body["virtualMachineConfiguration"]
    machine["containerConfiguration"] = {"type": "criCompatible", "containerRegistries": [registry]}
    with running_with_engine(tmp_path / "batch") as batch:
        batch.client.create_pool(body)
        batch.client.create_job(job())
        own = {"username": "v", "password": "secret-2"}
        settings = {"imageName": "busybox", "registry": own}
        batch.client.create_task("j", task("t", "true", containerSettings=settings))
        assert ended(batch).exit_code == 0
        settings = {"imageName": "busybox", "registry": {"username": "w", "password": "secret-3"}}
        prepares = {"commandLine": "true", "containerSettings": settings}
        auto = {"poolLifetimeOption": "job", "pool": {**body, "targetDedicatedNodes": 0}}
        del auto["pool"]["id"]
        specification = {
            "jobPreparationTask": prepares,
            "poolInfo": {"autoPoolSpecification": auto},
        }
        batch.client.create_job({"id": "k", **specification})
        doing = {"schedule": {"recurrenceInterval": "P1D"}, "jobSpecification": specification}
        batch.client.create_job_schedule({"id": "s", **doing})
        paths = ("/pools", "/jobs/j/tasks", "/jobs", "/jobschedules", "/pools/p/nodes")
        shown = b"".join(batch.request("GET", path).body for path in paths)
    for user in (b"u", b"v", b"w"):
        assert b'"username":"%s"' % user in shown
    assert b"secret" not in shown
    servers = json.loads(creation_arguments(engine)["config"])["auths"]
    assert sorted(servers) == ["https://index.docker.io/v1/", "r.example"]


def test_without_an_engine_a_pool_for_containers_is_refused_with_the_reason(
    engine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (engine / "down").touch()
    with running_with_engine(tmp_path / "batch") as batch:
        answer = batch.request("POST", "/pools", container_pool())
        assert (answer.status, answer.code) == (501, "NotImplemented")
        assert "Cannot connect to the Docker daemon; podman: not found" in answer.values["Reason"]
        auto = {"poolLifetimeOption": "job", "pool": container_pool()}
        del auto["pool"]["id"]
        body = {"id": "j", "poolInfo": {"autoPoolSpecification": auto}}
        assert batch.request("POST", "/jobs", body).status == 501
        (engine / "down").unlink()
        batch.client.create_pool(container_pool())


def test_orphaned_containers_are_removed(engine: Path, tmp_path: Path) -> None:
    with running_with_engine(tmp_path / "batch") as batch:
        batch.client.create_pool(container_pool())
        batch.client.create_job(job())
        settings = {"imageName": "busybox"}
        batch.client.create_task("j", task("t", WAIT, containerSettings=settings))
        wait_until(lambda: processes_of(batch.data, "sleep") != [])
        (left,) = engine.glob("*.json")
        copy = left.read_text()
        release_tasks(batch)
        ended(batch)
    (engine / "old.json").write_text(copy)
    (engine / "foreign.json").write_text(json.dumps({"label": "batchspec.local.node=other"}))
    with running_with_engine(tmp_path / "batch"):
        wait_until(lambda: not (engine / "old.json").exists())
    assert (engine / "foreign.json").exists()


def _image() -> str | None:
    """An image that a real engine has already."""
    docker = shutil.which("docker", path=os.environ.get("PATH", ""))
    if docker is None:
        return None
    run = [docker, "image", "ls", "--quiet", "busybox"]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    return "busybox" if done.returncode == 0 and done.stdout.strip() else None


@pytest.mark.skipif(_image() is None, reason="no docker that answers and has the image busybox")
def test_with_a_real_engine(tmp_path: Path) -> None:
    with running_with_engine(tmp_path / "batch") as batch:
        batch.client.create_pool(container_pool())
        batch.client.create_job(job())
        settings = {"imageName": "busybox"}
        script = "cat /etc/hostname; echo made > file; exit 3"
        batch.client.create_task("j", task("t", script, containerSettings=settings))
        assert ended(batch).exit_code == 3
        assert output(batch, "wd/file") == "made\n"
