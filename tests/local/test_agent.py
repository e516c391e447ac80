"""The agent: launches performed with real processes, files and a blob store of the test."""

from __future__ import annotations

import asyncio
import re
import stat
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from batchspec.local.agent import Agent, Failure, Launch
from batchspec.local.agent.processes import CommandResult, run_command
from batchspec.local.clock import Clock
from batchspec.local.process import kill_orphans
from tests.local.blobs import SAS, Blobs, blob_store


@dataclass(frozen=True, slots=True)
class ContainerAccess:
    """Access to the containers of a test's store."""

    blobs: Blobs

    def container(self, name: str) -> str | None:
        return self.blobs.container(name) if name in self.blobs.containers else None

    def allows(self, identity: str, url: str, *, write: bool) -> bool:
        return True

    def identity(self, url: str) -> str:
        return f"{url}?{SAS}"


@pytest.fixture
async def blobs() -> AsyncIterator[Blobs]:
    async with blob_store() as store:
        store.containers["in"] = {"a.txt": b"alpha", "dir/b c#?.txt": b"beta", "dir/d/e": b"eps"}
        store.containers["out"] = {}
        yield store


@pytest.fixture
async def agent(tmp_path: Path, blobs: Blobs) -> AsyncIterator[Agent]:
    executor = Agent(tmp_path, Clock(), ContainerAccess(blobs))
    yield executor
    await executor.close()
    assert kill_orphans(tmp_path) == 0


def launch(tmp_path: Path, script: str, **more: Any) -> Launch:
    directory = tmp_path / "node" / "task"
    return Launch(
        **{
            "key": "1",
            "node_root": tmp_path / "node",
            "directory": directory,
            "command_line": f"/bin/sh -c '{script}'",
            "environment": {"PATH": "/usr/bin:/bin", "AZ_BATCH_TASK_DIR": str(directory)},
            **more,
        }
    )


def text(tmp_path: Path, name: str) -> str:
    return (tmp_path / "node" / "task" / name).read_text()


async def wait_for_file(path: Path) -> None:
    async with asyncio.timeout(60):
        while not path.exists():
            await asyncio.sleep(0.005)


async def test_a_process_runs_in_its_directory_and_succeeds(agent: Agent, tmp_path: Path) -> None:
    outcome = await agent.perform(launch(tmp_path, "pwd; echo bad >&2; echo x > made"))
    assert (outcome.exit_code, outcome.failure) == (0, None)
    assert outcome.started <= outcome.ended
    assert text(tmp_path, "stdout.txt") == f"{tmp_path}/node/task/wd\n"
    assert text(tmp_path, "stderr.txt") == "bad\n"
    assert text(tmp_path, "wd/made") == "x\n"


async def test_no_shell_expands_a_command_line(agent: Agent, tmp_path: Path) -> None:
    line = 'echo $HOME "a  b" \'c d\' * ~ "e\\"f" ; echo && > x'
    await agent.perform(launch(tmp_path, "", command_line=line))
    assert text(tmp_path, "stdout.txt") == '$HOME a  b c d * ~ e"f ; echo && > x\n'


async def test_a_failing_program_keeps_its_output(agent: Agent, tmp_path: Path) -> None:
    outcome = await agent.perform(launch(tmp_path, "exit 7"))
    assert outcome.exit_code == 7
    assert outcome.failure == Failure(
        "UserError",
        "FailureExitCode",
        "The task exited with an exit code representing a failure",
        (
            ("Message", "The task process exited with an unexpected exit code"),
            ("AdditionalErrorCode", "FailureExitCode"),
        ),
    )


async def test_a_run_that_is_ended_before_its_files_are_uploaded_has_not_succeeded(
    agent: Agent, tmp_path: Path, blobs: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process exits just before: a run that is repeated elsewhere must not count."""

    async def run(*given: Any) -> CommandResult:
        ran = await run_command(*given)
        agent.end("1")
        return ran

    monkeypatch.setattr("batchspec.local.agent.agent.run_command", run)
    target = {"container": {"containerUrl": blobs.container("out")}}
    output = {
        "filePattern": "made",
        "destination": target,
        "uploadOptions": {"uploadCondition": "taskcompletion"},
    }
    outcome = await agent.perform(launch(tmp_path, "echo x > made", output_files=(output,)))
    assert (outcome.exit_code, outcome.uploads, blobs.containers["out"]) == (0, (), {})
    assert outcome.failure is not None and outcome.failure.code == "TaskEnded"
    outcome = await agent.perform(launch(tmp_path, "true"))
    assert (outcome.exit_code, outcome.failure) == (0, None), "nothing of it is missing"


async def test_a_signal_has_the_exit_code_of_shells(agent: Agent, tmp_path: Path) -> None:
    outcome = await agent.perform(launch(tmp_path, "kill -ABRT $$"))
    assert outcome.exit_code == 134
    assert outcome.failure is not None
    assert outcome.failure.code == "FailureExitCode"


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("no-such-program x", "CommandProgramNotFound"),
        ("", "CommandProgramNotFound"),
        ('sh -c "open', "CommandLaunchFailed"),
        ("/etc/passwd", "CommandLaunchFailed"),
    ],
)
async def test_a_program_that_cannot_start_has_no_exit_code(
    agent: Agent, tmp_path: Path, line: str, code: str
) -> None:
    outcome = await agent.perform(launch(tmp_path, "", command_line=line))
    assert outcome.exit_code is None
    assert outcome.failure is not None
    assert outcome.failure.code == code
    assert dict(outcome.failure.details)["CommandLine"] == line


async def test_a_fresh_run_has_an_empty_directory_and_a_retry_the_previous_one(
    agent: Agent, tmp_path: Path
) -> None:
    await agent.perform(launch(tmp_path, "echo one > left; chmod 500 ."))
    await agent.perform(launch(tmp_path, "ls", fresh=False))
    assert text(tmp_path, "stdout.txt") == "left\n"
    await agent.perform(launch(tmp_path, "ls"))
    assert text(tmp_path, "stdout.txt") == ""


async def test_the_wall_clock_limit_ends_a_run(agent: Agent, tmp_path: Path) -> None:
    limited = launch(
        tmp_path, "sleep 1000 & sleep 1000", max_wall_clock_time=timedelta(seconds=0.1)
    )
    outcome = await agent.perform(limited)
    assert outcome.exit_code == 137
    assert outcome.failure is not None
    assert outcome.failure.code == "TaskEnded"


async def test_a_run_can_be_ended_by_request(agent: Agent, tmp_path: Path) -> None:
    run = asyncio.create_task(agent.perform(launch(tmp_path, "echo > begun; sleep 1000")))
    await wait_for_file(tmp_path / "node/task/wd/begun")
    agent.end("1")
    outcome = await run
    assert outcome.failure == Failure("UserError", "TaskEnded", "Task Was Ended by User Request")
    agent.end("1")  # of one that has ended: nothing


async def test_a_run_can_be_ended_before_its_process_starts(agent: Agent, tmp_path: Path) -> None:
    run = asyncio.create_task(agent.perform(launch(tmp_path, "sleep 1000")))
    await asyncio.sleep(0)
    agent.end("1")
    outcome = await run
    assert outcome.failure is not None
    assert outcome.failure.code == "TaskEnded"


# --- resource files


async def test_files_and_containers_are_downloaded(
    agent: Agent, tmp_path: Path, blobs: Blobs
) -> None:
    resources = (
        {"httpUrl": blobs.blob("in", "a.txt"), "filePath": "x/y.txt", "fileMode": "0640"},
        {"storageContainerUrl": blobs.container("in"), "filePath": "all"},
        {"autoStorageContainerName": "in", "blobPrefix": "dir/d"},
        {
            "httpUrl": f"{blobs.url}/in/a.txt",
            "filePath": "identified",
            "identityReference": {"resourceId": "/x"},
        },
    )
    outcome = await agent.perform(
        launch(tmp_path, "true", resource_files=resources, identities=("/X",))
    )
    assert outcome.failure is None
    wd = tmp_path / "node/task/wd"
    found = {
        str(path.relative_to(wd)): path.read_bytes() for path in wd.rglob("*") if path.is_file()
    }
    assert found == {
        "x/y.txt": b"alpha",
        "all/a.txt": b"alpha",
        "all/dir/b c#?.txt": b"beta",
        "all/dir/d/e": b"eps",
        "dir/d/e": b"eps",
        "identified": b"alpha",
    }
    assert stat.S_IMODE((wd / "x/y.txt").stat().st_mode) == 0o640
    assert stat.S_IMODE((wd / "all/a.txt").stat().st_mode) == 0o770


async def test_a_large_file_is_downloaded_completely(
    agent: Agent, tmp_path: Path, blobs: Blobs
) -> None:
    blobs.containers["in"]["big"] = bytes(range(256)) * 40_000
    resource = {"httpUrl": blobs.blob("in", "big"), "filePath": "big"}
    await agent.perform(launch(tmp_path, "wc -c < big", resource_files=(resource,)))
    assert text(tmp_path, "stdout.txt").strip() == "10240000"


async def test_transient_errors_are_retried(agent: Agent, tmp_path: Path, blobs: Blobs) -> None:
    blobs.fail = [503, 500]
    resource = {"httpUrl": blobs.blob("in", "a.txt"), "filePath": "a"}
    outcome = await agent.perform(launch(tmp_path, "cat a", resource_files=(resource,)))
    assert outcome.failure is None
    assert text(tmp_path, "stdout.txt") == "alpha"


async def test_a_failed_download_has_its_code_and_shows_no_signature(
    agent: Agent, tmp_path: Path, blobs: Blobs
) -> None:
    bad = blobs.blob("in", "a.txt").replace("secret", "wrong")
    cases: list[tuple[Mapping[str, Any], str]] = [
        ({"httpUrl": blobs.blob("in", "none"), "filePath": "f"}, "BlobNotFound"),
        ({"httpUrl": bad, "filePath": "f"}, "BlobAccessDenied"),
        ({"httpUrl": "http://127.0.0.1:1/x?sig=secret", "filePath": "f"}, "BlobDownloadMiscError"),
        ({"httpUrl": "nonsense?sig=secret", "filePath": "f"}, "BlobDownloadMiscError"),
        ({"httpUrl": "http://h:x/y?sig=secret", "filePath": "f"}, "BlobDownloadMiscError"),
        ({"storageContainerUrl": f"{blobs.url}/in?sig=wrong"}, "ResourceContainerAccessDenied"),
        ({"storageContainerUrl": blobs.container("no")}, "ResourceContainerListMiscError"),
        ({"autoStorageContainerName": "no"}, "ResourceContainerListMiscError"),
    ]
    for resource, code in cases:
        outcome = await agent.perform(launch(tmp_path, "echo ran", resource_files=(resource,)))
        assert outcome.failure is not None
        assert (outcome.exit_code, outcome.failure.code) == (None, code)
        assert not re.search("secret|wrong", repr(outcome))
        assert not (tmp_path / "node/task/stdout.txt").exists()


@pytest.mark.parametrize("path", ["../x", "/etc/x", "a/../../x", "..", "a\0b", "link/x", "file/x"])
async def test_no_resource_file_leaves_the_working_directory(
    agent: Agent, tmp_path: Path, blobs: Blobs, path: str
) -> None:
    await agent.perform(launch(tmp_path, "ln -s .. link; echo > file"))
    resource = {"httpUrl": blobs.blob("in", "a.txt"), "filePath": path}
    outcome = await agent.perform(launch(tmp_path, "true", resource_files=(resource,), fresh=False))
    assert outcome.failure is not None
    assert outcome.failure.code in {"ResourceFileCreateFailed", "ResourceDirectoryCreateFailed"}
    left = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {"stdout.txt", "stderr.txt", "file"}


async def test_a_blob_name_with_dot_dot_is_refused(
    agent: Agent, tmp_path: Path, blobs: Blobs
) -> None:
    blobs.containers["in"] = {"../../evil": b""}
    resource = {"storageContainerUrl": blobs.container("in"), "filePath": "d"}
    outcome = await agent.perform(launch(tmp_path, "true", resource_files=(resource,)))
    assert outcome.failure is not None
    assert outcome.failure.code == "ResourceFileCreateFailed"


async def test_a_download_can_be_ended(agent: Agent, tmp_path: Path, blobs: Blobs) -> None:
    blobs.fail = [503] * 100
    resource = {"httpUrl": blobs.blob("in", "a.txt"), "filePath": "a"}
    run = asyncio.create_task(agent.perform(launch(tmp_path, "true", resource_files=(resource,))))
    async with asyncio.timeout(60):
        while not blobs.requests:
            await asyncio.sleep(0.005)
    agent.end("1")
    outcome = await run
    assert outcome.failure is not None
    assert (outcome.exit_code, outcome.failure.code) == (None, "TaskEnded")


# --- output files


def output(blobs: Blobs, pattern: str, path: str = "", **more: Any) -> dict[str, Any]:
    target = {"containerUrl": blobs.container("out"), "path": path}
    return {"filePattern": pattern, "destination": {"container": target}, **more}


@pytest.mark.parametrize(
    ("pattern", "path", "names"),
    [
        ("a.txt", "logs/x", {"logs/x"}),
        ("a.txt", "", {"a.txt"}),
        ("sub/b.txt", "", {"b.txt"}),
        ("*.txt", "logs", {"logs/a.txt"}),
        ("**/*.txt", "p/", {"p/a.txt", "p/sub/b.txt", "p/sub/deep/c.txt"}),
        ("sub/**/*.txt", "", {"b.txt", "deep/c.txt"}),
        ("**/*", "", {"a.txt", "sub/b.txt", "sub/deep/c.txt"}),
        ("../std*.txt", "l", {"l/stdout.txt", "l/stderr.txt"}),
        ("$AZ_BATCH_TASK_DIR/std???.txt", "", {"stdout.txt", "stderr.txt"}),
        ("${AZ_BATCH_TASK_DIR}/stdout.txt", "o", {"o"}),
        (".*", "", {".hidden"}),
        ("none*", "", set()),
        ("none", "", set()),
    ],
)
async def test_files_that_match_are_uploaded(
    agent: Agent, tmp_path: Path, blobs: Blobs, pattern: str, path: str, names: set[str]
) -> None:
    script = (
        "mkdir -p sub/deep; for f in a.txt .hidden sub/b.txt sub/deep/c.txt; do echo $f > $f; done"
    )
    outcome = await agent.perform(
        launch(tmp_path, script, output_files=(output(blobs, pattern, path),))
    )
    assert (outcome.exit_code, outcome.failure) == (0, None)
    assert set(blobs.containers["out"]) == names == set(outcome.uploads)
    assert (tmp_path / "node/task/fileuploadout.txt").exists()


@pytest.mark.parametrize(("code", "names"), [(0, {"s", "c", "d"}), (1, {"f", "c", "d"})])
async def test_upload_conditions(
    agent: Agent, tmp_path: Path, blobs: Blobs, code: int, names: set[str]
) -> None:
    conditions = {"s": "tasksuccess", "f": "TaskFailure", "c": "TaskCompletion"}
    outputs = [
        output(blobs, "../stdout.txt", name, uploadOptions={"uploadCondition": condition})
        for name, condition in conditions.items()
    ]
    outputs.append(output(blobs, "../stdout.txt", "d"))
    await agent.perform(launch(tmp_path, f"exit {code}", output_files=tuple(outputs)))
    assert set(blobs.containers["out"]) == names


async def test_a_large_file_is_uploaded_in_blocks_with_its_headers(
    agent: Agent, tmp_path: Path, blobs: Blobs
) -> None:
    one = output(blobs, "big", "b")
    one["destination"]["container"]["uploadHeaders"] = [
        {"name": "x-ms-blob-content-type", "value": "text/x"}
    ]
    script = "head -c 20000000 /dev/urandom > big"
    outcome = await agent.perform(launch(tmp_path, script, output_files=(one,)))
    assert outcome.failure is None
    assert blobs.containers["out"]["b"] == (tmp_path / "node/task/wd/big").read_bytes()
    assert blobs.headers["b"]["x-ms-blob-content-type"] == "text/x"
    assert len(blobs.blocks) == 3


async def test_a_failed_upload_fails_a_task_that_exited_with_0(
    agent: Agent, tmp_path: Path, blobs: Blobs
) -> None:
    denied = output(blobs, "../stdout.txt", "x")
    denied["destination"]["container"]["containerUrl"] = f"{blobs.url}/out?sig=wrong"
    missing = output(blobs, "../stderr.txt", "y")
    missing["destination"]["container"]["containerUrl"] = blobs.container("no")
    fine = output(blobs, "../stderr.txt", "z")
    for outputs, code in (
        ((denied, fine), "FileUploadAccessDenied"),
        ((missing, denied), "FileUploadContainerNotFound"),
    ):
        outcome = await agent.perform(launch(tmp_path, "true", output_files=outputs))
        assert outcome.failure is not None
        assert (outcome.exit_code, outcome.failure.code) == (0, code)
        assert [name for name, _ in outcome.failure.details] == [
            "FilePath",
            "FilePattern",
            "FileDestination",
        ]
        assert code in text(tmp_path, "fileuploaderr.txt")
        assert "sig" not in repr(outcome) + text(tmp_path, "fileuploaderr.txt")
    assert "z" in blobs.containers["out"]


async def test_a_file_name_that_is_not_utf_8_fails_its_upload_only(
    agent: Agent, tmp_path: Path, blobs: Blobs
) -> None:
    command = "touch $(echo YmFk/y5iaW4= | base64 -d) good.bin"  # bad\xff.bin
    outcome = await agent.perform(
        launch(tmp_path, command, output_files=(output(blobs, "*.bin", "x"),))
    )
    assert outcome.failure is not None
    assert (outcome.exit_code, outcome.failure.code) == (0, "FileUploadMiscError")
    assert dict(outcome.failure.details)["FilePath"].endswith("bad?.bin")
    assert "x/good.bin" in blobs.containers["out"]


async def test_an_exit_code_precedes_a_failed_upload(
    agent: Agent, tmp_path: Path, blobs: Blobs
) -> None:
    gone = output(blobs, "../stdout.txt")
    gone["destination"]["container"]["containerUrl"] = blobs.container("no")
    outcome = await agent.perform(launch(tmp_path, "exit 3", output_files=(gone,)))
    assert outcome.failure is not None
    assert (outcome.exit_code, outcome.failure.code) == (3, "FailureExitCode")


async def test_nothing_is_uploaded_when_nothing_ran_or_a_user_ended_it(
    agent: Agent, tmp_path: Path, blobs: Blobs
) -> None:
    outputs = (output(blobs, "../stdout.txt", "x"),)
    await agent.perform(launch(tmp_path, "", command_line="no-such", output_files=outputs))
    run = asyncio.create_task(
        agent.perform(launch(tmp_path, "echo > begun; sleep 1000", output_files=outputs))
    )
    await wait_for_file(tmp_path / "node/task/wd/begun")
    agent.end("1")
    await run
    assert blobs.containers["out"] == {}


async def test_runs_are_concurrent(agent: Agent, tmp_path: Path) -> None:
    # Each run waits for the other: in sequence they would never end.
    here, there = tmp_path / "here", tmp_path / "there"
    script = "echo > {}; while [ ! -e {} ]; do sleep 0.01; done"
    one = launch(tmp_path, script.format(here, there))
    two = replace(
        launch(tmp_path, script.format(there, here)), key="2", directory=tmp_path / "node/other"
    )
    outcomes = await asyncio.gather(agent.perform(one), agent.perform(two))
    assert [outcome.exit_code for outcome in outcomes] == [0, 0]
