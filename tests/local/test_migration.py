"""Data folders of every earlier version are migrated, and one of a newer version is refused."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from batchspec import local
from batchspec.local.startup import LocalError
from batchspec.local.store import NewerStateError, Page, Store
from batchspec.local.store.schema import STEPS
from tests.local.engines import running_with_engine, wait_until

NOW = datetime(2026, 3, 1, tzinfo=UTC)

# The data of a service of the first version: a pool with an idle node, a completed task, and a task
# that was running when the service was killed.
_CONSTRAINTS = '{"maxWallClockTime":"PT1H","retentionTime":"P7D","maxTaskRetryCount":0}'
_TASK = f'{{"commandLine":"true","constraints":{_CONSTRAINTS},"requiredSlots":1}}'
FIRST_VERSION = f"""
INSERT INTO pool (key, id, body, created, modified, state, state_since, allocation,
    allocation_since, target_dedicated, target_spot, resize_timeout)
VALUES ('p', 'P', '{{"vmSize":"standard_d2s_v3","virtualMachineConfiguration":{{"imageReference":
    {{"publisher":"canonical","offer":"0001-com-ubuntu-server-jammy","sku":"22_04-lts"}},
    "nodeAgentSKUId":"batch.node.ubuntu 22.04"}},"enableInterNodeCommunication":false,
    "taskSlotsPerNode":1}}', 1000000, 1000000, 'active', 1000000, 'steady', 1000000, 1, 0, 'PT15M');
INSERT INTO node (pool, pool_id, key, id, dedicated, state, state_since, allocated, booted, slots,
    running_tasks, running_slots)
VALUES ('p', 'P', 'tvmps_0_d', 'tvmps_0_d', 1, 'running', 1000000, 1000000, 1000000, 1, 1, 1);
INSERT INTO job (key, id, body, created, modified, state, state_since, pool, pool_id, priority,
    max_parallel, started)
VALUES ('j', 'J', '{{"priority":0,"maxParallelTasks":-1,"usesTaskDependencies":false,
    "constraints":{{"maxWallClockTime":"PT1H","maxTaskRetryCount":0}},"poolInfo":{{"poolId":"P"}},
    "onAllTasksComplete":"noaction","onTaskFailure":"noaction"}}', 1000000, 1000000, 'active',
    1000000, 'p', 'P', 0, -1, 1000000);
INSERT INTO task (job, job_id, key, id, body, created, modified, state, state_since, slots, run,
    pool, pool_id, node, node_id, directory, started, ended, exit_code, result)
VALUES ('j', 'J', 'done', 'done', '{_TASK}', 1000000, 1000000, 'completed', 1000000, 1, 1, 'p', 'P',
    'tvmps_0_d', 'tvmps_0_d', 'workitems/J/job-1/done', 1000000, 3000000, 0, 'success');
INSERT INTO task (job, job_id, key, id, body, created, modified, state, state_since, slots, run,
    pool, pool_id, node, node_id, directory, started)
VALUES ('j', 'J', 'next', 'next', '{_TASK}', 1000000, 1000000, 'running', 1000000, 1, 1, 'p', 'P',
    'tvmps_0_d', 'tvmps_0_d', 'workitems/J/job-1/next', 1000000);
"""


STEP_DIGESTS = (
    *("4c897e5b1bf1", "011c18b93621", "f4992a4af20b", "ab3bed9eb3e6", "0965844de2d9"),
    *("e20857f66fb7", "9c54bb2c6f99", "836fb36a8bf4", "04b4bdd86fd0", "651765611e5e"),
    *("26de21b92707", "5821d51c767b", "0f18f0293f6f", "5972e91010a2"),
)
"""The beginnings of the SHA-256 of each step of the schema. A step that is in use never changes: a
new version of the tables adds one."""


def test_steps_that_are_in_use_have_not_changed() -> None:
    found = tuple(hashlib.sha256(step.encode()).hexdigest()[:12] for step in STEPS)
    assert found == STEP_DIGESTS


def write_version(path: Path, version: int) -> None:
    """Write a database of a service of ``version``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for step in STEPS[:version]:
            connection.executescript(step)
        connection.executescript(FIRST_VERSION)
        connection.execute(f"PRAGMA user_version = {version}")


@pytest.mark.parametrize("version", range(1, len(STEPS) + 1))
def test_every_earlier_version_is_migrated(tmp_path: Path, version: int) -> None:
    path = tmp_path / "batch.db"
    write_version(path, version)
    with closing(Store(path)) as store:
        assert store.set_aside_damaged(NOW) == []
        assert [pool.id for pool in store.pools.page(Page(-1))] == ["P"]
        assert [task.id for task in store.tasks.page("j", Page(-1))] == ["done", "next"]
        counts = store.jobs.counts("j").tasks
        assert (counts.succeeded, counts.running) == (1, 1)


def test_a_service_continues_with_the_first_version(tmp_path: Path) -> None:
    write_version(tmp_path / "batch" / "batch.db", 1)
    with running_with_engine(tmp_path / "batch") as service:
        wait_until(lambda: service.client.get_task("j", "next").state == "completed")
        info = service.client.get_task("j", "next").execution_info
        assert (info.exit_code, info.requeue_count) == (0, 1)
        # The body is not in the newest form, which has more properties.
        service.violations.clear()


def test_a_newer_version_is_refused_by_name(tmp_path: Path) -> None:
    home = tmp_path / "home"
    local.start(home)
    local.stop(home)
    path = home / "batch" / "batch.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA user_version = 99")
    before = path.read_bytes()
    with pytest.raises(LocalError, match="version 99") as caught:
        local.start(home)
    assert caught.value.code == "state-newer"
    assert "batchspec local reset" in caught.value.fix
    assert path.read_bytes() == before
    with pytest.raises(NewerStateError):
        Store(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs the right to become another user")
def test_another_user_cannot_use_the_folder(tmp_path: Path) -> None:
    _make_reachable(tmp_path)
    for mode in (0o700, 0o777):
        home = tmp_path / f"home-{mode}"
        home.mkdir()
        home.chmod(mode)
        for use in ("create()", "check()"):
            said = _as_nobody(f"Home(Path({str(home)!r})).{use}")
            assert said == f"data-foreign: The data folder {home} belongs to another user (root)."


@pytest.mark.skipif(os.geteuid() != 0, reason="needs the right to become another user")
@pytest.mark.parametrize("use", ["start", "status", "stop", "reset"])
def test_another_user_cannot_use_a_running_service(
    local_home: local.Endpoints, tmp_path: Path, use: str
) -> None:
    _make_reachable(tmp_path)
    assert _as_nobody(f"local.{use}(Path({str(local_home.data)!r}))") == (
        f"data-foreign: The data folder {local_home.data} belongs to another user (root)."
    )


def _make_reachable(folder: Path) -> None:
    """Let all users enter a temporary folder."""
    for each in (folder, *folder.parents[:3]):
        each.chmod(each.stat().st_mode | 0o055)


def _as_nobody(expression: str) -> str:
    """The error of an expression that the user ``nobody`` evaluates."""
    program = (
        "import os\n"
        "from pathlib import Path\n"
        "from batchspec import local\n"
        "from batchspec.local.daemon import Home\n"
        "from batchspec.local.startup import LocalError\n"
        "os.setuid(65534)\n"
        f"try: {expression}\n"
        "except LocalError as error: print(f'{error.code}: {error}')\n"
    )
    line = [sys.executable, "-c", program]
    return subprocess.run(line, capture_output=True, text=True, check=True).stdout.strip()
