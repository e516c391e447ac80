"""A copy of the tutorial, and the command line: in this process, or in a separate one."""

from __future__ import annotations

import gc
import io
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from azure.batch import BatchClient
from azure.core.credentials import AzureNamedKeyCredential
from azure.storage.blob import BlobServiceClient

from batchspec import local
from batchspec.cli.main import main
from tests.command_process import ForkedCommand, RunningCommand

ROOT = Path(__file__).parents[2]
_AZURE = ("AZURE_BATCH_", "AZURE_STORAGE_", "BATCHSPEC_")


@dataclass(frozen=True)
class Done:
    """A command that ended: its exit code and its output."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return self.out + self.err


@dataclass
class Workplace:
    """A folder with a spec, a separate embedded service, and a command line."""

    folder: Path
    home: Path
    environ: dict[str, str] = field(default_factory=dict)

    @property
    def spec(self) -> Path:
        return self.folder / "specs" / "topn.yaml"

    @property
    def results(self) -> Path:
        return self.folder / "results"

    def edit(self, old: str, new: str) -> None:
        """Change the spec."""
        text = self.spec.read_text(encoding="utf-8")
        assert old in text
        self.spec.write_text(text.replace(old, new), encoding="utf-8")

    def hold(self) -> None:
        """Make the tasks of the tutorial wait until they are released."""
        wait = f'until test -e "{self.folder}/go"; do sleep 0.1; done'
        self.edit("command: python3", f"command: {wait}; python3")

    def let_go(self) -> None:
        """Release the tasks that wait, and later ones."""
        (self.folder / "go").touch()

    def command(self, *arguments: str | Path) -> list[str]:
        return [sys.executable, "-m", "batchspec", *map(str, arguments)]

    def run(self, *arguments: str | Path, timeout: float = 100) -> Done:
        """Run a command without a terminal until it ends."""
        done = subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def start(self, *arguments: str | Path) -> RunningCommand:
        """Start a command in a separate process group, with its output in one pipe."""
        return subprocess.Popen(
            self.command(*arguments),
            cwd=self.folder,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def endpoints(self) -> local.Endpoints:
        return local.start(self.home)


@dataclass
class Inside(Workplace):
    """A workplace whose commands run in this process: the SDKs are imported once.

    Commands that are started are processes of a fork server, which has imported them too.
    """

    def start(self, *arguments: str | Path) -> RunningCommand:
        return ForkedCommand(arguments, folder=self.folder, environ=self.environ)

    def run(self, *arguments: str | Path, timeout: float = 100) -> Done:
        line = ["batchspec", *map(str, arguments)]
        with (
            mock.patch.object(sys, "argv", line),
            mock.patch.dict(os.environ, self.environ, clear=True),
            self._inside(),
            _written() as (out, err),
        ):
            try:
                with pytest.raises(SystemExit) as ended:
                    main()
            finally:
                gc.unfreeze()
            sys.stdout.flush()
            sys.stderr.flush()
            # Before the streams go, and the bytes with them.
            output, errors = (stream.getvalue().decode("utf-8") for stream in (out, err))
        code = ended.value.code
        assert isinstance(code, int)
        return Done(code, output, errors)

    @contextmanager
    def _inside(self) -> Iterator[None]:
        before = Path.cwd()
        os.chdir(self.folder)
        try:
            yield
        finally:
            os.chdir(before)


@contextmanager
def _written() -> Iterator[tuple[io.BytesIO, io.BytesIO]]:
    """What is written to standard output and error, with an empty standard input."""
    out, err = io.BytesIO(), io.BytesIO()
    with (
        mock.patch.object(sys, "stdin", io.StringIO()),
        mock.patch.object(sys, "stdout", io.TextIOWrapper(out, encoding="utf-8")),
        mock.patch.object(sys, "stderr", io.TextIOWrapper(err, encoding="utf-8")),
    ):
        yield out, err


def until(process: RunningCommand, *texts: str, seconds: float = 60) -> str:
    """Read the output of a command until it contains these texts, in any order; return all of it.

    Texts of steps that run side by side belong into one call: a second call does not see the lines
    that the first has read.
    """
    assert process.stdout is not None
    seen = ""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        line = process.stdout.readline()
        if not line:
            break
        seen += line
        if all(text in seen for text in texts):
            return seen
    missing = [text for text in texts if text not in seen]
    raise AssertionError(f"the output does not contain {missing}:\n{seen}")


def interrupt(process: RunningCommand) -> None:
    """Ctrl-C."""
    os.killpg(process.pid, signal.SIGINT)


def clean_environ(more: Mapping[str, str]) -> dict[str, str]:
    """The environment of this process without variables of an account."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(_AZURE)}
    return {**kept, "NO_COLOR": "1", "COLUMNS": "100", **more}


def _copied(project: Path, home: Path) -> Inside:
    """A copy of the tutorial, on the service of ``home``. Commands run in this process."""
    # Without files that a run of the tutorial left in this work tree.
    shutil.copytree(ROOT / "specs", project / "specs", ignore=shutil.ignore_patterns(".batchspec"))
    shutil.copytree(ROOT / "task_app", project / "task_app")
    return Inside(project, home, clean_environ({"BATCHSPEC_LOCAL_HOME": str(home)}))


@contextmanager
def tutorial(folder: Path) -> Iterator[Inside]:
    """The tutorial in ``folder``, with a separate service. Commands run in this process."""
    home = folder / "home"
    try:
        yield _copied(folder / "project", home)
    finally:
        local.stop(home)


def empty_account(home: Path) -> None:
    """Delete all schedules, jobs, pools, containers and applications of a running service."""
    ends = local.start(home)
    key = AzureNamedKeyCredential(ends.batch_account, ends.batch_key)
    with BatchClient(ends.batch_url, key, polling_interval=0.02) as client:
        deletions: list[Any] = [
            client.begin_delete_job_schedule(one.id) for one in client.list_job_schedules()
        ]
        deletions += [client.begin_delete_job(one.id) for one in client.list_jobs()]
        deletions += [client.begin_delete_pool(one.id) for one in client.list_pools()]
        for deletion in deletions:
            deletion.wait()
        assert not list(client.list_jobs()), "a job of a schedule was created in the meantime"
    with BlobServiceClient.from_connection_string(ends.connection_string) as storage:
        for container in storage.list_containers():
            storage.delete_container(container.name)
    shutil.rmtree(ends.data / "applications")
    (ends.data / "applications").mkdir()


@pytest.fixture
def place(
    shared_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Workplace]:
    """The tutorial for one test, on a running service with an empty account.

    The tests of a process share the service: a start takes longer than most runs. A test that
    stops the service, starts it with options or checks its start takes ``separate_place``.
    """
    local.start(shared_home)
    monkeypatch.setenv("BATCHSPEC_LOCAL_HOME", str(shared_home))
    try:
        yield _copied(tmp_path / "project", shared_home)
    finally:
        empty_account(shared_home)


@pytest.fixture
def separate_place(
    azurite_installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Workplace]:
    """:func:`tutorial` for one test, with a service that has not been started yet."""
    with tutorial(tmp_path) as found:
        monkeypatch.setenv("BATCHSPEC_LOCAL_HOME", str(found.home))
        yield found
