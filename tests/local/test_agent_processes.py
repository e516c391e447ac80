"""Processes of tasks, with real programs: every end of a run ends all its processes."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from batchspec.local.agent import ProcessLostError
from batchspec.local.agent.processes import Exited, Killed, NotStarted, Processes, Program
from batchspec.local.model import NO_USAGE
from batchspec.local.process import TAG_VARIABLE, Process, kill_orphans, process_tag

ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin"}
linux = pytest.mark.skipif(sys.platform != "linux", reason="subreapers and /proc are Linux's")


@pytest.fixture
async def processes(tmp_path: Path) -> AsyncIterator[Processes]:
    service = Processes({TAG_VARIABLE: process_tag(tmp_path)})
    yield service
    await service.close()
    assert alive(tmp_path) == []


def program(tmp_path: Path, *argv: str, **environment: str) -> Program:
    return Program(
        argv,
        {**ENVIRONMENT, TAG_VARIABLE: process_tag(tmp_path), **environment},
        tmp_path,
        tmp_path / "stdout.txt",
        tmp_path / "stderr.txt",
    )


def shell(tmp_path: Path, script: str) -> Program:
    return program(tmp_path, "/bin/sh", "-c", script)


def alive(tmp_path: Path) -> list[str]:
    """The processes with the working directory or the tag of the test."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                here = (entry / "cwd").readlink() == tmp_path
                marked = process_tag(tmp_path).encode() in (entry / "environ").read_bytes()
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if (here or marked) and state != "Z":
                found.append((entry / "cmdline").read_text())
    return found


async def wait_until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.005)


def pid_in(path: Path) -> int:
    return int(path.read_text())


def is_written(path: Path) -> Callable[[], bool]:
    return lambda: path.exists() and path.read_text().endswith("\n")


async def test_a_program_gets_exactly_its_arguments_environment_and_files(
    processes: Processes, tmp_path: Path
) -> None:
    script = 'import os,sys; print(sys.argv[1:], sorted(os.environ), os.getcwd()); sys.exit("bad")'
    run = program(tmp_path, sys.executable, "-c", script, "a b", "", "é", LC_ALL="C.UTF-8")
    assert await processes.run("1", run) == Exited(1)
    expected = ["BATCHSPEC_LOCAL_NODE", "LC_ALL", "PATH"]
    assert (tmp_path / "stdout.txt").read_text() == f"['a b', '', 'é'] {expected} {tmp_path}\n"
    assert (tmp_path / "stderr.txt").read_text() == "bad\n"


async def test_standard_input_is_empty_and_no_descriptor_is_inherited(
    processes: Processes, tmp_path: Path
) -> None:
    script = "import os,sys; print(sys.stdin.read() == '', sorted(map(int, os.listdir('/dev/fd'))))"
    assert await processes.run("1", program(tmp_path, sys.executable, "-c", script)) == Exited(0)
    assert (tmp_path / "stdout.txt").read_text() == "True [0, 1, 2, 3]\n"  # 3 is the listing's own


async def test_signals_have_their_default_action(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    before = signal.signal(signal.SIGQUIT, signal.SIG_IGN)  # as in the background of a shell
    request.addfinalizer(lambda: signal.signal(signal.SIGQUIT, before))
    processes = Processes({TAG_VARIABLE: process_tag(tmp_path)})
    run = program(tmp_path, "/bin/grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status")
    await processes.run("1", run)
    await processes.close()
    masks = [
        int(line.split()[1], 16) for line in (tmp_path / "stdout.txt").read_text().splitlines()
    ]
    internal = 0b11 << 31  # the two signals that glibc keeps to itself
    assert [mask & ~internal for mask in masks] == [0, 0]


async def test_a_signal_is_distinguished_from_an_exit_code(
    processes: Processes, tmp_path: Path
) -> None:
    assert await processes.run("1", shell(tmp_path, "kill -SEGV $$")) == Killed(signal.SIGSEGV)
    assert await processes.run("2", shell(tmp_path, "exit 139")) == Exited(139)


@pytest.mark.parametrize("name", ["no-such-program", "./none", "/nowhere/at/all"])
async def test_a_missing_program_is_named_by_its_errno(
    processes: Processes, tmp_path: Path, name: str
) -> None:
    assert await processes.run("1", program(tmp_path, name)) == NotStarted(2)
    assert (tmp_path / "stdout.txt").read_text() == ""


async def test_a_missing_directory_is_not_a_missing_program(
    processes: Processes, tmp_path: Path
) -> None:
    gone = tmp_path / "gone"
    run = Program(["true"], ENVIRONMENT, gone, tmp_path / "o", tmp_path / "e")
    assert await processes.run("1", run) == NotStarted(2, str(gone))
    into = Program(["true"], ENVIRONMENT, tmp_path, gone / "o", tmp_path / "e")
    assert await processes.run("2", into) == NotStarted(2, str(gone / "o"))


async def test_output_is_not_written_through_a_link(processes: Processes, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("kept")
    (tmp_path / "stdout.txt").symlink_to("precious")
    ending = await processes.run("1", shell(tmp_path, "echo lost"))
    assert isinstance(ending, NotStarted)
    assert (tmp_path / "precious").read_text() == "kept"


async def test_an_argument_with_a_nul_is_an_error(processes: Processes, tmp_path: Path) -> None:
    assert await processes.run("1", program(tmp_path, "true", "a\0b")) == NotStarted(22)
    assert await processes.run("2", program(tmp_path, "true", "x" * 3_000_000)) == NotStarted(7)
    assert await processes.run("3", program(tmp_path, "true")) == Exited(0)


LEAVERS = {
    "in the background": "sleep 1000 & echo $! > left; echo >> left",
    "in a session of its own": "setsid sleep 1000 & sleep 1000 & echo ready > left",
    "deaf to signals": "(trap '' TERM HUP INT; sleep 1000; sleep 1000) & echo ready > left",
    "a daemon without our environment": (
        "(env -i setsid sh -c 'sleep 1000 & sleep 1000' </dev/null >/dev/null 2>&1 &) ;"
        " echo ready > left"
    ),
    "a stopped one": "sleep 1000 & kill -STOP $!; echo ready > left",
}


@linux
@pytest.mark.parametrize("script", LEAVERS.values(), ids=LEAVERS.keys())
async def test_a_program_that_exits_leaves_no_process(
    processes: Processes, tmp_path: Path, script: str
) -> None:
    assert await processes.run("1", shell(tmp_path, script + "; exit 3")) == Exited(3)
    assert [line for line in alive(tmp_path) if "sleep" in line] == []


@linux
@pytest.mark.parametrize("script", LEAVERS.values(), ids=LEAVERS.keys())
async def test_a_program_that_is_killed_leaves_no_process(
    processes: Processes, tmp_path: Path, script: str
) -> None:
    run = asyncio.create_task(processes.run("1", shell(tmp_path, script + "; sleep 1000")))
    await wait_until(is_written(tmp_path / "left"))
    assert [line for line in alive(tmp_path) if "sleep" in line]
    processes.kill("1")
    assert await run == Killed(signal.SIGKILL)
    assert [line for line in alive(tmp_path) if "sleep" in line] == []


@linux
async def test_a_program_that_forks_repeatedly_is_killed_completely(
    processes: Processes, tmp_path: Path
) -> None:
    script = (
        "spawn() { setsid sh -c 'echo > left; while :; do sleep 0.01 & sleep 0.01; done' & };"
        "for i in 1 2 3 4 5 6 7 8; do spawn; done; sleep 1000"
    )
    run = asyncio.create_task(processes.run("1", shell(tmp_path, script)))
    await wait_until(is_written(tmp_path / "left"))
    processes.kill("1")
    assert await run == Killed(signal.SIGKILL)
    assert [line for line in alive(tmp_path) if "sleep" in line] == []


async def test_a_kill_ends_its_own_run_only(processes: Processes, tmp_path: Path) -> None:
    files = [tmp_path / f"{n}" for n in range(3)]
    runs = []
    for n, file in enumerate(files):
        go = f"echo >{file}; while [ ! -e {tmp_path}/go ]; do sleep 0.01; done"
        runs.append(asyncio.create_task(processes.run(str(n), shell(tmp_path, go))))
    for file in files:
        await wait_until(is_written(file))
    processes.kill("1")
    assert await runs[1] == Killed(signal.SIGKILL)
    processes.kill("1")  # of one that has ended: nothing
    (tmp_path / "go").touch()
    assert [await runs[0], await runs[2]] == [Exited(0), Exited(0)]
    assert await processes.run("1", shell(tmp_path, "exit 4")) == Exited(4)


async def test_cancelling_a_run_kills_it(processes: Processes, tmp_path: Path) -> None:
    run = asyncio.create_task(processes.run("1", shell(tmp_path, "echo > left; sleep 1000")))
    await wait_until(is_written(tmp_path / "left"))
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    await wait_until(lambda: not [line for line in alive(tmp_path) if "sleep" in line])


async def test_closing_ends_every_run(tmp_path: Path) -> None:
    processes = Processes({TAG_VARIABLE: process_tag(tmp_path)})
    run = asyncio.create_task(processes.run("1", shell(tmp_path, "echo > left; sleep 1000")))
    await wait_until(is_written(tmp_path / "left"))
    await processes.close()
    assert alive(tmp_path) == []
    assert await run == Killed(signal.SIGKILL)


@linux
async def test_a_killed_host_ends_its_runs_and_is_replaced(
    processes: Processes, tmp_path: Path
) -> None:
    script = "setsid sleep 1000 & echo $PPID > left; sleep 1000"
    run = asyncio.create_task(processes.run("1", shell(tmp_path, script)))
    await wait_until(is_written(tmp_path / "left"))
    supervisor = pid_in(tmp_path / "left")
    host = int(Path(f"/proc/{supervisor}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(host, signal.SIGKILL)
    with pytest.raises(ProcessLostError):
        await run
    await wait_until(lambda: alive(tmp_path) == [])
    assert await processes.run("2", shell(tmp_path, "exit 5")) == Exited(5)


@linux
async def test_a_killed_supervisor_ends_its_own_run_only(
    processes: Processes, tmp_path: Path
) -> None:
    script = "setsid sleep 1000 & echo $PPID > left; sleep 1000"
    other = "echo > other; sleep 1001"
    run = asyncio.create_task(processes.run("1", shell(tmp_path, script)))
    beside = asyncio.create_task(processes.run("2", shell(tmp_path, other)))
    await wait_until(is_written(tmp_path / "left"))
    await wait_until(is_written(tmp_path / "other"))
    os.kill(pid_in(tmp_path / "left"), signal.SIGKILL)
    with pytest.raises(ProcessLostError):
        await run
    assert [line for line in alive(tmp_path) if "1000" in line] == []
    assert [line for line in alive(tmp_path) if "1001" in line]
    processes.kill("2")
    assert await beside == Killed(signal.SIGKILL)


@linux
async def test_orphans_of_one_folder_are_killed_and_of_no_other(tmp_path: Path) -> None:
    mine, other = tmp_path / "mine", tmp_path / "other"
    children = [
        await asyncio.create_subprocess_exec(
            "/bin/sleep", "1000", env={TAG_VARIABLE: process_tag(folder)}
        )
        for folder in (mine, mine, other)
    ]
    try:
        assert kill_orphans(mine) == 2
        assert [await child.wait() for child in children[:2]] == [-signal.SIGKILL] * 2
        assert children[2].returncode is None
        assert kill_orphans(mine) == 0
    finally:
        children[2].kill()
        await children[2].wait()


@linux
async def test_untagged_descendants_of_orphans_are_killed_too(tmp_path: Path) -> None:
    processes = Processes({TAG_VARIABLE: process_tag(tmp_path)})
    # Neither the environment nor the session identifies the task; the parent has ended.
    script = "env -i setsid /bin/sh -c 'echo $$ > left; exec sleep 1000' & sleep 1000"
    run = asyncio.create_task(processes.run("1", shell(tmp_path, script)))
    await wait_until(is_written(tmp_path / "left"))
    assert kill_orphans(tmp_path) >= 4
    # It is dead when this returns, although who would have killed it died with it.
    assert Process.of(pid_in(tmp_path / "left")) is None
    assert alive(tmp_path) == []
    with pytest.raises(ProcessLostError):
        await run
    await processes.close()


async def test_there_can_be_more_runs_than_the_default_limit_of_open_files(
    processes: Processes, tmp_path: Path
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # The descriptors that are open now count too.
    few = max(int(entry.name) for entry in Path("/dev/fd").iterdir()) + 32
    resource.setrlimit(resource.RLIMIT_NOFILE, (few, hard))
    try:
        await processes.start()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    os.mkfifo(tmp_path / "go")
    go = os.open(tmp_path / "go", os.O_RDWR)
    wait = f"exec 3<{tmp_path}/go; ulimit -n; read nothing <&3; true"

    def one(n: int) -> Program:
        argv = ["/bin/sh", "-c", wait]
        return Program(argv, ENVIRONMENT, tmp_path, tmp_path / f"out{n}", tmp_path / "err")

    many = few + 16
    runs = [asyncio.create_task(processes.run(str(n), one(n))) for n in range(many)]
    for n in range(many):
        await wait_until(is_written(tmp_path / f"out{n}"))
    os.close(go)
    assert await asyncio.gather(*runs) == [Exited(0)] * many
    assert (tmp_path / f"out{many - 1}").read_text() == f"{few}\n"


async def test_many_short_runs_share_few_processes(processes: Processes, tmp_path: Path) -> None:
    script = "echo $PPID"

    async def one(n: int) -> str:
        out = tmp_path / f"out{n}"
        run = Program(["/bin/sh", "-c", script], ENVIRONMENT, tmp_path, out, tmp_path / "err")
        assert await processes.run(str(n), run) == Exited(0)
        return out.read_text()

    supervisors = set()
    for start in range(0, 60, 4):
        supervisors |= set(await asyncio.gather(*(one(n) for n in range(start, start + 4))))
    assert len(supervisors) <= 4


async def test_usage_is_summed_below_a_key_and_returned_once(
    processes: Processes, tmp_path: Path
) -> None:
    burn = "import time\nwhile time.process_time() < 0.1: pass"
    work = program(tmp_path, sys.executable, "-S", "-c", burn)
    await asyncio.gather(*(processes.run(key, work) for key in ("7.1", "7.1/0", "7.2")))
    used = processes.used("7.1")
    assert (used.user + used.kernel).total_seconds() >= 0.2
    assert processes.used("7.1") == NO_USAGE
    assert processes.used("7.2") != NO_USAGE
