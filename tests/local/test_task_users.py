"""Tasks as separate users, on services that run as root: ids, access to files, elevation."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import zipfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from batchspec.local.agent import Agent, Installation, Launch, Package
from batchspec.local.agent.resource_files import install_all
from batchspec.local.clock import Clock
from batchspec.local.process import kill_orphans
from batchspec.local.task_users import TaskUser, UserIds, is_root, separate
from tests.local.blobs import Blobs, blob_store
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
from tests.local.test_mounts import Access, blob_mount

NON_ADMIN: dict[str, Any] = {"autoUser": {"scope": "task", "elevationLevel": "nonadmin"}}
ADMIN: dict[str, Any] = {"autoUser": {"scope": "pool", "elevationLevel": "admin"}}
ACCOUNTS = [
    {"name": "ann", "password": "x" * 12, "elevationLevel": "nonadmin"},
    {"name": "bob", "password": "x" * 12, "linuxUserConfiguration": {"uid": 61001, "gid": 61002}},
    {"name": "eve", "password": "x" * 12, "elevationLevel": "admin"},
]
SHOW = "id -u; id -g; echo $USER; echo $HOME"


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    """The umask of the daemon, by which new files are private."""
    before = os.umask(0o077)
    yield
    os.umask(before)


@pytest.fixture
def data() -> Iterator[Path]:
    """A data folder that other users can enter; the folders of pytest are closed."""
    if not is_root():
        pytest.skip("only root can start processes of other users")
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def ids(data: Path) -> UserIds:
    """The ids of the tasks of a service on ``data``."""
    found = separate(data, [data])
    if found.ids is None:
        pytest.skip(f"tasks cannot run as other users here: {found.reason}")
    return found.ids


@pytest.fixture
def service(data: Path, ids: UserIds) -> Iterator[Service]:
    with running_with_engine(data, users=ids) as service:
        yield service


def run(service: Service, *tasks: dict[str, Any], job_id: str = "j") -> dict[str, str]:
    """Run tasks one after another; return the output of each task by its id."""
    printed = {}
    for one in tasks:
        service.client.create_task(job_id, one)
        wait_until(lambda one=one: state(service, job_id, one["id"]) == "completed")
        content = b"".join(service.client.download_task_file(job_id, one["id"], "stdout.txt"))
        printed[one["id"]] = content.decode().strip()
    return printed


def state(service: Service, job_id: str, task_id: str) -> str:
    return str(service.client.get_task(job_id, task_id).state.value)


def start(service: Service, **more: Any) -> None:
    service.client.create_pool(pool(**more))
    service.client.create_job(job())


def as_user(identity: dict[str, Any]) -> dict[str, Any]:
    return {"userIdentity": identity}


def test_each_identity_has_its_user(service: Service, ids: UserIds) -> None:
    start(service, userAccounts=ACCOUNTS)
    printed = run(
        service,
        task("pool1", SHOW),
        task("pool2", SHOW),
        task("own1", SHOW, **as_user(NON_ADMIN)),
        task("own2", SHOW, **as_user(NON_ADMIN)),
        task("admin", SHOW, **as_user(ADMIN)),
        task("ann", SHOW, **as_user({"username": "ann"})),
        task("bob", SHOW, **as_user({"username": "bob"})),
        task("eve", SHOW, **as_user({"username": "eve"})),
    )
    found = {name: text.splitlines() for name, text in printed.items()}
    numbers = {name: int(lines[0]) for name, lines in found.items()}
    assert numbers["pool1"] == numbers["pool2"]
    separate_ids = [numbers[name] for name in ("pool1", "own1", "own2", "ann")]
    assert len(set(separate_ids)) == 4
    assert all(ids.first <= number < ids.group for number in separate_ids)
    assert {name: number for name, number in numbers.items() if number < ids.first} == {
        "admin": 0,
        "bob": 61001,
        "eve": 0,
    }
    assert {name: int(lines[1]) for name, lines in found.items()} == {
        **dict.fromkeys(("pool1", "pool2", "own1", "own2", "ann"), ids.group),
        **{"admin": 0, "bob": 61002, "eve": 0},
    }
    assert {name: lines[2] for name, lines in found.items()} == {
        **dict.fromkeys(("pool1", "pool2", "own1", "own2"), "_azbatch"),
        **{"admin": "root", "ann": "ann", "bob": "bob", "eve": "eve"},
    }
    assert all(lines[3].endswith(f"/{name}/wd") for name, lines in found.items())


ATTEMPTS = """
cd $AZ_BATCH_TASK_DIR
for name in ../first ../first/stdout.txt ../first/wd/secret $DATA; do
  ls $name > /dev/null 2>&1 && echo read $name
done
for name in ../first/wd/x ../x $AZ_BATCH_NODE_ROOT_DIR/x $AZ_BATCH_NODE_STARTUP_DIR/wd/x \\
    $AZ_BATCH_NODE_STARTUP_DIR/wd/made $AZ_BATCH_NODE_SHARED_DIR/x wd/x; do
  (echo x >> $name) 2> /dev/null && echo wrote ${name##*/batch-nodes}
done
cat $AZ_BATCH_NODE_STARTUP_DIR/wd/made
"""


def test_the_access_of_a_user(service: Service) -> None:
    """As in the article "Run tasks under user accounts in Batch"."""
    script = ATTEMPTS.replace("$DATA", str(service.data))
    start(
        service,
        startTask={
            "commandLine": "/bin/sh -c 'echo by the start task > made'",
            "userIdentity": ADMIN,
            "waitForSuccess": True,
        },
    )
    printed = run(
        service,
        task("first", "umask 0; echo x > secret; chmod 777 . secret", **as_user(NON_ADMIN)),
        task("second", script, **as_user(NON_ADMIN)),
        task("admin", script, **as_user(ADMIN)),
    )
    (root,) = (service.data / "nodes" / "p").iterdir()
    assert printed["second"].replace(str(root), "NODE").splitlines() == [
        "wrote NODE/shared/x",
        "wrote wd/x",
        "by the start task",
    ]
    assert printed["admin"].count("read") == 4
    assert printed["admin"].count("wrote") == 7


def test_all_instances_of_a_task_have_one_user(service: Service) -> None:
    start(service, nodes=2, enableInterNodeCommunication=True)
    settings = {
        "numberOfInstances": 2,
        "coordinationCommandLine": "/bin/sh -c 'id -u >> $AZ_BATCH_TASK_SHARED_DIR/wd/ids'",
    }
    printed = run(service, task("t", "sort -u ids | wc -l", multiInstanceSettings=settings))
    assert printed == {"t": "1"}


def test_a_task_of_an_unknown_user_fails(service: Service) -> None:
    start(service)
    service.client.create_task("j", task("t", "id", **as_user({"username": "none"})))
    wait_until(lambda: state(service, "j", "t") == "completed")
    info = service.client.get_task("j", "t").execution_info
    assert info is not None
    assert info.failure_info is not None
    assert info.failure_info.code == "CommandLaunchFailed"
    assert info.failure_info.details is not None
    message = info.failure_info.details[1].value
    assert message == "The pool has no user account 'none'."


def test_preparation_tasks_can_be_read_by_tasks(service: Service, ids: UserIds) -> None:
    service.client.create_pool(pool())
    prepare = {"commandLine": "/bin/sh -c 'id -u > made'", **as_user(NON_ADMIN)}
    service.client.create_job(job(jobPreparationTask=prepare))
    script = "cat $AZ_BATCH_JOB_PREP_WORKING_DIR/made; rm -f $AZ_BATCH_JOB_PREP_WORKING_DIR/made"
    printed = run(service, task("t", f"{script}; echo $?"))
    number, removed = printed["t"].split()
    assert ids.first < int(number) < ids.group
    assert removed == "1"


def test_a_task_is_the_same_user_after_a_restart(data: Path, ids: UserIds) -> None:
    """The directories of the killed run are removed, and those of a deleted pool."""
    with running_with_engine(data, users=ids) as service:
        start(service)
        run(service, task("before", "id -u > $AZ_BATCH_NODE_SHARED_DIR/before"))
        waiting = f"id -u; {WAIT}"
        service.client.create_task("j", task("t", waiting, **as_user(NON_ADMIN)))
        (node,) = (data / "nodes/p").iterdir()
        directory = node / "workitems/j/job-1/t"
        wait_until((directory / "stdout.txt").exists)
        before = directory.stat().st_uid
    assert processes_of(data) == []
    with running_with_engine(data, users=ids) as service:
        release_tasks(service)
        wait_until(lambda: state(service, "j", "t") == "completed")
        printed = b"".join(service.client.download_task_file("j", "t", "stdout.txt"))
        assert int(printed) == before
        service.client.begin_delete_job("j").wait()
        service.client.begin_delete_pool("p").wait()
        wait_until(lambda: not (data / "nodes/p").exists() and not [*(data / "trash").iterdir()])


@pytest.fixture
async def blobs() -> AsyncIterator[Blobs]:
    async with blob_store() as store:
        store.containers["c"] = {"in/a.txt": b"one"}
        store.containers["out"] = {}
        yield store


@pytest.fixture
async def agent(data: Path, ids: UserIds, blobs: Blobs) -> AsyncIterator[Agent]:
    agent = Agent(data, Clock(), Access(blobs), users=ids)
    yield agent
    await agent.close()
    assert kill_orphans(data) == 0


def launch(data: Path, ids: UserIds, script: str, **more: Any) -> Launch:
    directory = data / "nodes/p/n/workitems/j/job-1/t"
    environment = {
        "PATH": "/usr/bin:/bin",
        "AZ_BATCH_NODE_MOUNTS_DIR": f"{data}/nodes/p/n/fsmounts",
    }
    return Launch(
        **{
            "key": "1",
            "node_root": data / "nodes/p/n",
            "directory": directory,
            "command_line": f"/bin/sh -c '{script}'",
            "environment": environment,
            "user": TaskUser("_azbatch", ids.first + 7, ids.group),
            **more,
        }
    )


def outputs(blobs: Blobs, pattern: str) -> tuple[dict[str, Any], ...]:
    container = {"containerUrl": blobs.container("out")}
    options = {"uploadCondition": "taskcompletion"}
    one = {"filePattern": pattern, "destination": {"container": container}}
    return ({**one, "uploadOptions": options},)


async def test_files_of_a_task_belong_to_its_user(
    agent: Agent, data: Path, ids: UserIds, blobs: Blobs
) -> None:
    """Resource files, also in directories; standard output; a retry in the same directory."""
    resource = {"httpUrl": blobs.blob("c", "in/a.txt"), "filePath": "below/a.txt"}
    script = "cat below/a.txt && echo x >> below/a.txt && mv below/a.txt below/b.txt"
    one = launch(data, ids, script, resource_files=(resource,))
    for fresh in (True, False):
        outcome = await agent.perform(Launch(**{**vars_of(one), "fresh": fresh}))
        assert outcome.failure is None
    owners = {path.stat().st_uid for path in (one.directory, *one.directory.rglob("*"))}
    assert owners == {ids.first + 7}
    assert stat.S_IMODE(one.directory.stat().st_mode) == 0o700


def vars_of(one: Launch) -> dict[str, Any]:
    return {name: getattr(one, name) for name in Launch.__slots__}


async def test_outputs_are_read_with_the_rights_of_the_user(
    agent: Agent, data: Path, ids: UserIds, blobs: Blobs
) -> None:
    secret = data / "secret.txt"
    secret.write_text("secret")
    secret.chmod(0o600)
    script = f"echo x > own.txt; ln -s {secret} link.txt"
    one = launch(data, ids, script, output_files=outputs(blobs, "*.txt"))
    outcome = await agent.perform(one)
    assert outcome.uploads == ("own.txt",)
    assert blobs.containers["out"].keys() == {"own.txt"}
    elevated = launch(
        data, ids, script, output_files=outputs(blobs, "*.txt"), user=TaskUser("root", 0, 0)
    )
    assert set((await agent.perform(elevated)).uploads) == {"own.txt", "link.txt"}


async def test_a_directory_of_another_user_is_taken_over(
    agent: Agent, data: Path, ids: UserIds
) -> None:
    """Tasks ran as root before; a link to a file of another directory keeps its owner."""
    one = launch(data, ids, "echo more >> kept; echo again", fresh=False)
    (one.directory / "wd").mkdir(parents=True)
    (one.directory / "wd/kept").write_text("before")
    (one.directory / "stdout.txt").touch()
    outside = data / "outside"
    outside.touch()
    os.link(outside, one.directory / "wd/link")
    assert (await agent.perform(one)).failure is None
    assert (one.directory / "wd/kept").read_text() == "beforemore\n"
    assert outside.stat().st_uid == 0


async def test_all_processes_of_a_user_are_ended(agent: Agent, data: Path, ids: UserIds) -> None:
    outcome = await agent.perform(launch(data, ids, "setsid sleep 1000 & id -u"))
    assert outcome.failure is None
    assert processes_of(data) == []


async def test_a_mounted_container_is_written_by_users(
    agent: Agent, data: Path, ids: UserIds, blobs: Blobs
) -> None:
    mounts = (blob_mount(),)
    done = await agent.install(Installation("i", data / "nodes/p/n", (), mounts))
    assert done.failure is None
    script = "cd $AZ_BATCH_NODE_MOUNTS_DIR/data && cat in/a.txt && echo two > in/b.txt && echo > c"
    outcome = await agent.perform(launch(data, ids, script, mounts=mounts))
    assert outcome.failure is None
    assert blobs.containers["c"] == {"in/a.txt": b"one", "in/b.txt": b"two\n", "c": b"\n"}


async def test_a_package_is_read_by_users(agent: Agent, data: Path, ids: UserIds) -> None:
    """The modes in the zip file do not matter."""
    source = data / "package.zip"
    with zipfile.ZipFile(source, "w") as archive:
        for name, mode in (("bin/tool", 0o700), ("data", 0o600)):
            entry = zipfile.ZipInfo(name)
            entry.external_attr = mode << 16
            archive.writestr(entry, "#!/bin/sh\necho tool\n")
    target = data / "nodes/p/n/applications/a/1"
    package = Package("a", "1", source, target)
    one = launch(data, ids, f"{target}/bin/tool && cat {target}/data", packages=(package,))
    assert (await agent.perform(one)).failure is None
    await install_all([package], ids.folders)


def test_a_folder_that_is_closed_for_others_is_named(data: Path) -> None:
    """Tasks run as the user of the service, and the data folder stays closed."""
    data.chmod(0o711)
    closed = data / "closed"
    closed.mkdir(mode=0o700)
    inside = closed / "data"
    inside.mkdir()
    found = separate(inside, [inside])
    assert (found.ids, found.reason) == (None, f"other users cannot enter {closed}")
    assert stat.S_IMODE(inside.stat().st_mode) == 0o700


def test_a_python_that_others_cannot_run_is_named(data: Path) -> None:
    programs = data / "programs"
    programs.mkdir(mode=0o700)
    (programs / "python3").touch(mode=0o755)
    found = separate(data, [data], path=str(programs))
    why = f"other users cannot run {programs}/python3, the python3 of tasks"
    assert (found.ids, found.reason) == (None, why)


def test_ids_of_a_data_folder_do_not_overlap() -> None:
    ids = UserIds(1_000_000_000)
    tasks = {ids.of_task(seq) for seq in (0, 1, (1 << 18) - 1)}
    nodes = {ids.of_start_task(1022), ids.of_job_task(1022, 62, release=True)}
    assert max(tasks) < min(nodes)
    assert max(nodes) < ids.group
    assert ids.of_task(1 << 18) == ids.of_task(0)
