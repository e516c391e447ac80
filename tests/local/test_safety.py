"""The environment of a task, the limits of its access, and secrets that never appear."""

from __future__ import annotations

import asyncio
import base64
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from batchspec.local.agent import StorageAccount
from tests.local.blobs import SAS, blob_store
from tests.local.engines import (
    engine_with,
    job,
    pool,
    processes_of,
    running_with_engine,
    task,
    wait_until,
)
from tests.local.management import attach_identities, identity_id
from tests.local.running import KEY, Service, running

linux = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


@pytest.fixture
def batch(tmp_path: Path) -> Iterator[Service]:
    """A service with a pool ``p`` of one node and a job ``j``."""
    with running_with_engine(tmp_path / "batch") as service:
        service.client.create_pool(pool())
        service.client.create_job(job())
        wait_until(lambda: [node.state for node in service.client.list_nodes("p")] == ["idle"])
        yield service


def run(batch: Service, script: str, task_id: str = "t", **more: Any) -> str:
    """The output of a script that runs as a task."""
    batch.client.create_task("j", task(task_id, script, **more))
    wait_until(lambda: batch.client.get_task("j", task_id).state == "completed")
    return b"".join(batch.client.download_task_file("j", task_id, "stdout.txt")).decode()


def node_root(batch: Service) -> Path:
    (found,) = (batch.data / "nodes" / "p").iterdir()
    return found


# --- the environment of a task


def test_a_task_has_its_own_environment_and_none_of_the_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_SERVICE", "x")
    with running_with_engine(tmp_path / "batch") as batch:
        batch.client.create_pool(pool())
        batch.client.create_job(job(commonEnvironmentSettings=[{"name": "OF_JOB", "value": "1"}]))
        mine = [{"name": "OF_TASK", "value": "2"}, {"name": "AZ_BATCH_POOL_ID", "value": "other"}]
        lines = run(batch, "env; cat /proc/$PPID/environ", environmentSettings=mine)
    assert "SECRET_OF_THE_SERVICE" not in lines
    told = dict(line.split("=", 1) for line in lines.split("\0")[0].splitlines() if "=" in line)
    assert (told["OF_JOB"], told["OF_TASK"], told["AZ_BATCH_POOL_ID"]) == ("1", "2", "p")
    others = {name for name in told if not name.startswith(("AZ_BATCH_", "OF_"))}
    of_the_system = {"HOME", "LANG", "LOGNAME", "PATH", "PWD", "SHELL", "USER", "OLDPWD", "_"}
    assert others - of_the_system == {"BATCHSPEC_LOCAL_NODE"}


@linux
def test_no_command_line_of_the_machine_contains_the_environment_of_a_task(batch: Service) -> None:
    mine = [{"name": "URL", "value": "http://127.0.0.1/c?sig=in-no-command-line"}]
    script = 'cat /proc/[0-9]*/cmdline | tr "\\0" "\\n"; echo $URL | cut -c 8-16'
    lines = run(batch, script, environmentSettings=mine)
    assert "cmdline" in lines, "that of the task itself"
    assert "127.0.0.1" in lines
    assert "in-no-command" + "-line" not in lines


@linux
def test_the_limits_of_a_task(batch: Service) -> None:
    script = (
        "cat /proc/self/limits /proc/self/oom_score_adj; ls -l /proc/self/fd; ps -o pgid= -p $$"
    )
    told = run(batch, script)
    (processes,) = (line.split() for line in told.splitlines() if line.startswith("Max processes"))
    assert int(processes[3]) <= 16384
    (core,) = (line.split() for line in told.splitlines() if line.startswith("Max core"))
    assert core[4:6] == ["0", "0"]
    assert "\n500\n" in told


@linux
def test_no_process_of_an_ended_task_remains(batch: Service) -> None:
    run(batch, "setsid sleep 1000 & (env -i setsid sleep 1000 &) ; sleep 0.05; echo done")
    assert [line for line in processes_of(batch.data) if "sleep" in line] == []


# --- the limits of access

SWAPS = {
    "its directory is a link": "mv ../t ../old; ln -s $OUT ../t",
    "the job's directory is a link": "cd ../..; mv ../job-1 ../old; ln -s $OUT ../job-1",
    "the job's directory is a link to another of its kind": (
        "cd ../..; mv ../../j ../../old; ln -s $OUT/j ../../j"
    ),
    "the node is a link": "cd /; mv $ROOT $ROOT.old; ln -s $OUT $ROOT",
    "its directory is a file": "mv ../t ../old; echo > ../../t || echo > ../t",
    "the node is gone": "cd /; rm -rf $ROOT",
    "nothing can be written": "chmod -R a-w $ROOT",
    "nothing can be entered": "chmod 0 .. ../.. ../../..",
    "its files are links": "cd ..; rm stdout.txt; ln -s $OUT/file stdout.txt; ln -s $OUT wd/out",
    "the trash is full of it": "mkdir -p $TRASH/0 $TRASH/1; ln -s $OUT $TRASH/2; echo > $TRASH/3",
}


@pytest.mark.parametrize("script", SWAPS.values(), ids=SWAPS.keys())
def test_a_task_that_changes_its_directories_affects_nothing_else(
    batch: Service, tmp_path: Path, script: str
) -> None:
    outside = tmp_path / "outside"
    (outside / "j" / "job-1" / "t").mkdir(parents=True)
    (outside / "t").mkdir()
    (outside / "t" / "file").write_text("kept")
    (outside / "file").write_text("kept")
    before = sorted(outside.rglob("*"))
    settings = {"OUT": outside, "ROOT": node_root(batch), "TRASH": batch.data / "trash"}
    batch.client.create_task(
        "j",
        task(
            "t",
            script,
            environmentSettings=[{"name": n, "value": str(v)} for n, v in settings.items()],
        ),
    )
    wait_until(lambda: batch.client.get_task("j", "t").state == "completed")
    for path in ("stdout.txt", "wd/out/file", "file"):
        found = batch.request("GET", f"/jobs/j/tasks/t/files/{path}")
        assert b"kept" not in found.body
    (node,) = batch.client.list_nodes("p")
    batch.client.create_task("j", task("after", "true"))
    wait_until(lambda: batch.client.get_task("j", "after").state == "completed")
    batch.client.delete_task("j", "t")
    batch.request("DELETE", "/jobs/j")
    wait_until(lambda: batch.request("GET", "/jobs/j").status == 404)
    batch.request("POST", f"/pools/p/nodes/{node.id}/reboot")
    wait_until(lambda: batch.client.get_node("p", node.id).state == "idle")
    batch.request("DELETE", "/pools/p")
    wait_until(lambda: batch.request("GET", "/pools/p").status == 404)
    assert sorted(outside.rglob("*")) == before
    assert (outside / "t" / "file").read_text() == "kept"


def test_the_data_folder_can_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "batch").symlink_to("elsewhere")
    with running_with_engine(tmp_path / "batch") as service:
        service.client.create_pool(pool())
        service.client.create_job(job())
        assert run(service, "echo here") == "here\n"
        service.request("DELETE", "/pools/p")
        wait_until(lambda: service.request("GET", "/pools/p").status == 404)


@pytest.mark.parametrize("name", ["..", ".", "a/b", "../../x", "/etc", "a\0b", "", "é", "a b"])
def test_ids_cannot_be_paths(batch: Service, name: str) -> None:
    # The service writes the log of the node when the service is idle.
    wait_until(lambda: any(batch.data.glob("agent-logs/p/*")))
    known = sorted(path for path in batch.data.parent.rglob("*") if path.is_dir())
    refused = [
        batch.request("POST", "/pools", pool(name), checked=False),
        batch.request("POST", "/jobs", job(name), checked=False),
        batch.request("POST", "/jobs/j/tasks", task(name, "true"), checked=False),
    ]
    assert {answer.status for answer in refused} == {400}
    assert sorted(path for path in batch.data.parent.rglob("*") if path.is_dir()) == known


# --- secrets


async def test_keys_and_signatures_never_appear(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    storage_key = base64.b64encode(b"the key of the storage account").decode()
    caplog.set_level(logging.DEBUG)
    async with blob_store() as blobs:
        account = StorageAccount.read(
            f"AccountName=a;AccountKey={storage_key};BlobEndpoint={blobs.url}"
        )
        shown = await asyncio.to_thread(_all_output, tmp_path, account, blobs.url)
    assert "BlobAccessDenied" in shown
    assert "FileUpload" in shown
    # Loggers of the test itself: its clients and the fake blob store.
    ours = [
        one for one in caplog.records if not one.name.startswith(("azure", "urllib3", "aiohttp"))
    ]
    shown += "\n".join(map(logging.Formatter().format, ours))
    for secret in (KEY, storage_key, SAS.partition("sig=")[2], "sig=", "SharedKey testaccount:"):
        assert secret not in shown


def _all_output(tmp_path: Path, storage: StorageAccount, url: str) -> str:
    """All output of the service about tasks with unavailable files and about invalid requests."""
    identity = {"identityReference": {"resourceId": identity_id("x")}}
    container = {"containerUrl": f"{url}/none?{SAS}"}
    condition = {"uploadCondition": "taskcompletion"}
    bodies: list[dict[str, Any]] = [
        task("a", "true", resourceFiles=[{"httpUrl": f"{url}/c/b", "filePath": "b", **identity}]),
        task("b", "true", resourceFiles=[{"httpUrl": f"{url}/c/b?{SAS}x", "filePath": "b"}]),
        task("c", "true", resourceFiles=[{"storageContainerUrl": f"{url}/c?{SAS}x"}]),
        task("d", "true", resourceFiles=[{"autoStorageContainerName": "c"}]),
        task(
            "e",
            "echo > x",
            outputFiles=[
                {
                    "filePattern": "x",
                    "destination": {"container": container},
                    "uploadOptions": condition,
                }
            ],
        ),
    ]
    with running(tmp_path / "batch", engine_with(storage)) as batch:
        batch.client.create_pool(pool())
        attach_identities(batch, "p", identity_id("x"))
        batch.client.create_job(job())
        for body in bodies:
            batch.client.create_task("j", body)
        wait_until(
            lambda: batch.client.get_job_task_counts("j").task_counts.completed == len(bodies)
        )
        ended = batch.client.list_tasks("j", select=["id", "executionInfo"])
        told = [str(one.execution_info.as_dict()) for one in ended]
        told.append(batch.request("GET", "/jobs", key=storage_key_of(b"wrong")).body.decode())
        told.append(str(batch.request("GET", "/jobs", headers={"ocp-date": "now"}).body))
        told += [path.read_text() for path in node_root(batch).rglob("*.txt")]
    return "\n".join(told)


def storage_key_of(secret: bytes) -> str:
    return base64.b64encode(secret).decode()
