"""The agent of a node: performs a launch, from its resource files to its output files.

The engine decides when a task runs, and how its outcome affects the task and its job.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from batchspec.local.agent.containers import (
    CONTAINERS_FILE,
    ContainerEngine,
    ContainerError,
    ContainerRun,
)
from batchspec.local.agent.launch import (
    Container,
    Failure,
    Installation,
    Launch,
    MultiInstance,
    Outcome,
    TaskInstance,
    ended_by_limit,
    ended_by_user,
    failure,
)
from batchspec.local.agent.mounts import MountError, Mounts
from batchspec.local.agent.node_logs import NodeLogs
from batchspec.local.agent.output_files import select_outputs, upload_all
from batchspec.local.agent.processes import Command, CommandResult, Processes, run_command
from batchspec.local.agent.resource_files import (
    PackageError,
    ResourceError,
    add_files,
    install_all,
    make_directory,
    preparation_failure,
)
from batchspec.local.agent.storage import BlobClient, NodeStorage, StorageAccess, blob_url
from batchspec.local.clock import Clock
from batchspec.local.model import NO_USAGE, LogUpload
from batchspec.local.process import TAG_VARIABLE, process_tag
from batchspec.local.task_users import UserIds, file_access_of


class CoordinationError(Exception):
    """An instance failed, which fails the task; ``ran`` is the result of the primary task."""

    def __init__(self, ran: CommandResult) -> None:
        super().__init__(ran.code)
        self.ran = ran


@dataclass(frozen=True, slots=True)
class NodeTools:
    """The parts of the agent that a node uses; ``tag`` is in the environment of every process."""

    processes: Processes
    storage: BlobClient
    node_storage: NodeStorage
    clock: Clock
    tag: Mapping[str, str]
    users: UserIds | None = None


class Coordination:
    """The coordination command of one run of a multi-instance task, on all its nodes.

    Close it in every case. Processes that the command leaves on a node (such as an MPI daemon) run
    until the task ends. The agent runs the command of the task itself on the primary node. Source:
    the article "Use multi-instance tasks to run MPI applications".
    """

    def __init__(self, launch: Launch, settings: MultiInstance, tools: NodeTools) -> None:
        self._launch = launch
        self._settings = settings
        self._tools = tools
        self._started: dict[int, datetime] = {}
        self._ran: dict[int, CommandResult] = {}
        self._first_error: CoordinationError | None = None

    async def make_directories(self, data: Path) -> None:
        """Create the directories of the subtasks in the folder ``data``.

        Raises:
            OSError: a directory cannot be created.
        """
        for instance in self._settings.instances[1:]:
            owners = self._launch.owners(self._tools.users)
            await make_directory(data, instance.directory, fresh=self._launch.fresh, owners=owners)

    async def perform(self) -> None:
        """Download the common files on all nodes, then run the coordination command on all nodes.

        Raises:
            CoordinationError: an instance failed; the others were ended.
            ProcessLostError: the result of an instance is unknown; the others were ended.
        """
        await self._together(self._prepare, lambda _, task: task.cancel())
        await self._together(self._run, lambda key, _: self._tools.processes.kill(key))

    async def close(self) -> None:
        """Kill the remaining processes of the coordination, and wait until all have ended."""
        leaving = [self._tools.processes.leave(self._key(one)) for one in self._settings.instances]
        await asyncio.gather(*leaving)

    def outcomes(self, why: Failure | None) -> tuple[Outcome, ...]:
        """The outcomes of the subtasks; ``why`` is the failure of subtasks that ended early."""
        now = self._tools.clock.now()
        ended = CommandResult(None, why)
        found = []
        for instance in self._settings.instances[1:]:
            ran = self._ran.get(instance.number, ended)
            started = self._started.get(instance.number, now)
            found.append(Outcome(started, now, ran.code, ran.failure))
        return tuple(found)

    def _key(self, instance: TaskInstance) -> str:
        return f"{self._launch.key}/{instance.number}"

    async def _together(
        self,
        work: Callable[[TaskInstance], Coroutine[object, object, None]],
        end: Callable[[str, asyncio.Task[None]], object],
    ) -> None:
        """Await ``work`` for all instances; a failure or a cancellation ends all of them."""
        tasks = {asyncio.create_task(work(one)): self._key(one) for one in self._settings.instances}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            for task, key in tasks.items():
                if not task.done():
                    end(key, task)
            results = await asyncio.gather(*tasks, return_exceptions=True)
        for error in (self._first_error, *results):
            if isinstance(error, BaseException):
                raise error

    async def _prepare(self, instance: TaskInstance) -> None:
        self._started[instance.number] = self._tools.clock.now()
        files, into, tools = self._settings.common_files, instance.directory, self._tools
        owners = self._launch.owners(tools.users)
        try:
            await add_files(
                instance.packages, files, into, tools.storage, tools.node_storage, owners
            )
        except (PackageError, ResourceError, OSError) as error:
            self._fail(instance, CommandResult(None, preparation_failure(error)))

    async def _run(self, instance: TaskInstance) -> None:
        environment = {**instance.environment, **self._tools.tag}
        command = Command(
            self._settings.command_line,
            instance.directory,
            environment,
            append=True,
            stays=True,
            limits=self._launch.limits,
            user=self._launch.user,
        )
        ran = await run_command(self._tools.processes, self._key(instance), command)
        if ran.failure is not None:
            self._fail(instance, ran)
        self._ran[instance.number] = ran

    def _fail(self, instance: TaskInstance, ran: CommandResult) -> None:
        if self._first_error is None:
            self._ran[instance.number] = ran
            self._first_error = CoordinationError(ran)
        raise self._first_error


T = TypeVar("T")


@dataclass(slots=True)
class _Run:
    """The state of a launch: the step that can be cancelled, and the reason why it must end."""

    step: asyncio.Task[object] | None = None
    ended: Failure | None = None
    by_user: bool = False


class _StepCancelledError(Exception):
    """The run was ended in a step without a process."""


class Agent:
    """Performs any number of launches concurrently."""

    def __init__(  # noqa: PLR0917  one collaborator each
        self,
        data: Path,
        clock: Clock,
        storage_access: StorageAccess,
        containers: ContainerEngine | None = None,
        authority: Path | None = None,
        users: UserIds | None = None,
        fuse: bool = False,
    ) -> None:
        """``data`` is the data folder; all processes get its tag (:func:`process_tag`).

        ``authority`` is a certificate that downloads and uploads trust in addition to the
        certificates of the system. ``users`` are the user ids of tasks, if tasks run as separate
        users. With ``fuse``, containers are mounted as FUSE file systems if the machine supports
        FUSE.
        """
        self._data = data
        self._tag = process_tag(data)
        self._containers = containers or ContainerEngine({})
        self._clock = clock
        self._storage_access = storage_access
        self._blobs = BlobClient(authority=authority)
        self._processes = Processes({TAG_VARIABLE: self._tag})
        self._runs: dict[str, _Run] = {}
        self._users = users
        self.mounts = Mounts(data, self._blobs, storage_access, users, fuse=fuse)
        self.logs = NodeLogs(data)
        """The logs of the nodes."""

    def now(self) -> datetime:
        """The time of the agent's clock."""
        return self._clock.now()

    async def start(self) -> None:
        """Start the host before the first process needs it, and remove orphaned containers."""
        await self._processes.start()
        if _exists(self._data / CONTAINERS_FILE):
            await self._containers.remove_orphans()

    async def close(self) -> None:
        """Kill every process and close every connection, and wait until all have ended."""
        await self._processes.close()
        await self.mounts.close()
        await self._blobs.close()
        self.logs.flush()

    def end(self, key: str) -> None:
        """End the run ``key`` early, with the outcome ``TaskEnded`` and without uploads."""
        self._stop(key, ended_by_user(), by_user=True)

    async def upload_log(self, upload: LogUpload) -> None:
        """Upload the log of a node to the container of a request.

        Raises:
            StorageError: the container cannot be written.
            OSError: the log cannot be read.
        """
        container = upload.container
        if upload.identity:
            container = self._storage_access.identity(container)
        source = os.open(self.logs.file(upload.pool_id, upload.node_id), os.O_RDONLY | os.O_CLOEXEC)
        try:
            await self._blobs.upload(source, blob_url(container, upload.blob), {})
        finally:
            os.close(source)

    async def install(self, installation: Installation) -> Outcome:
        """Install packages and mount file systems on a node; the outcome has no exit code."""
        run = self._runs[installation.key] = _Run()
        started = self._clock.now()
        why: Failure | None = None
        try:
            owner = None if self._users is None else self._users.folders
            await self._step(run, install_all(installation.packages, owner))
            root = installation.node_root
            if how := await self._step(run, self.mounts.mount(root, installation.mounts)):
                self.logs.write(root.parent.name, root.name, self._clock.now(), how)
        except (PackageError, MountError) as error:
            why = error.failure
        except _StepCancelledError:
            why = run.ended
        finally:
            del self._runs[installation.key]
        return Outcome(started, self._clock.now(), None, why)

    async def perform(self, launch: Launch, *, isolated: bool = False) -> Outcome:
        """Run ``launch`` to its end; on return, all its processes have ended.

        An ``isolated`` launch shares no process of the service with other launches.

        Raises:
            ProcessLostError: the result is unknown, because the supervisor of the run was killed.
        """
        run = self._runs[launch.key] = _Run()
        started = self._clock.now()
        if isolated:
            self._processes.isolate(launch.key)
        timer = None
        if launch.max_wall_clock_time is not None:
            timer = self._clock.call_later(
                launch.max_wall_clock_time, lambda: self._stop(launch.key, ended_by_limit())
            )
        code: int | None = None
        uploads: tuple[str, ...] = ()
        subtasks: tuple[Outcome, ...] = ()
        container: Mapping[str, Any] | None = None
        try:
            why = await self._prepare(launch, run)
            if why is None and run.ended is None and launch.start_delay:
                await self._step(run, self._clock.sleep(launch.start_delay.total_seconds()))
            if why is None and (why := run.ended) is None:
                if launch.multi_instance is not None:
                    ran, subtasks = await self._process_multi_instance(
                        launch, launch.multi_instance, run
                    )
                elif launch.container is not None:
                    ran, container = await self._process_container(launch, launch.container, run)
                else:
                    ran = await self._process(launch, run)
                code, why = ran.code, ran.failure
            if timer is not None:
                timer.cancel()
            if code is not None and (launch.mounts or launch.output_files):
                uploads, why = await self._save(launch, run, why)
        except _StepCancelledError:
            why = run.ended
        finally:
            del self._runs[launch.key]
            usage = self._processes.used(launch.key)
            if timer is not None:
                timer.cancel()
            await self._processes.rejoin(launch.key)
        ended = self._clock.now()
        usage = replace(usage if launch.container is None else NO_USAGE, running=ended - started)
        return Outcome(started, ended, code, why, uploads, subtasks, container, usage)

    def _stop(self, key: str, why: Failure, *, by_user: bool = False) -> None:
        run = self._runs.get(key)
        if run is None:
            return
        run.by_user = run.by_user or by_user
        run.ended = run.ended or why
        if run.step is not None:
            run.step.cancel()
        else:
            self._processes.kill(key)

    async def _step(self, run: _Run, work: Coroutine[object, object, T]) -> T:
        """Await ``work`` so that :meth:`_stop` can cancel it."""
        step = asyncio.ensure_future(work)
        run.step = step
        try:
            return await step
        except asyncio.CancelledError:
            if run.ended is None:  # this asyncio task itself is cancelled
                raise
            raise _StepCancelledError from None
        finally:
            run.step = None

    async def _prepare(self, launch: Launch, run: _Run) -> Failure | None:
        if launch.refused is not None:
            return launch.refused
        into = launch.directory / "wd"
        try:
            owners = launch.owners(self._users)
            await make_directory(self._data, launch.directory, fresh=launch.fresh, owners=owners)
            # The run can be ended during the removal of an old directory.
            if run.ended is None and (launch.packages or launch.resource_files):
                filling = add_files(
                    launch.packages,
                    launch.resource_files,
                    into,
                    self._blobs,
                    NodeStorage(self._storage_access, launch.identities),
                    owners,
                )
                await self._step(run, filling)
            if run.ended is None and launch.mounts:
                await self._step(run, self.mounts.pull(launch.node_root, launch.mounts))
        except MountError as error:
            return error.failure
        except (PackageError, ResourceError, OSError) as error:
            return preparation_failure(error)
        return None

    async def _save(
        self, launch: Launch, run: _Run, why: Failure | None
    ) -> tuple[tuple[str, ...], Failure | None]:
        """Upload changed files in mounted folders and the output files.

        Returns the uploads, and the failure of the run; ``why`` is the failure of its process.
        """
        uploads: tuple[str, ...] = ()
        missed: Failure | None = None
        if launch.mounts:
            try:
                await self._step(run, self.mounts.push(launch.mounts))
            except MountError as error:
                missed = error.failure
        if launch.output_files:
            uploads, late = await self._upload(launch, run, succeeded=why is None)
            missed = missed or late
        return uploads, why or missed

    async def _process(self, launch: Launch, run: _Run) -> CommandResult:
        environment = {**launch.environment, TAG_VARIABLE: self._tag}
        appends = launch.multi_instance is not None
        command = Command(
            launch.command_line,
            launch.directory,
            environment,
            append=appends,
            limits=launch.limits,
            user=launch.user,
        )
        ran = await run_command(self._processes, launch.key, command)
        return _final_result(ran, run)

    async def _process_container(
        self, launch: Launch, container: Container, run: _Run
    ) -> tuple[CommandResult, Mapping[str, Any] | None]:
        name = f"batchspec-{self._tag[:12]}-{launch.key.replace('.', '-')}"
        container_run = ContainerRun(
            self._containers, launch, container, self._data / CONTAINERS_FILE, name
        )
        ran, info = CommandResult(None, None), None
        try:
            await self._step(run, container_run.create())
            if run.ended is None:
                ran, info = await container_run.run(self._processes, {TAG_VARIABLE: self._tag})
        except ContainerError as error:
            ran = CommandResult(None, error.failure)
        except _StepCancelledError:
            pass
        finally:
            await container_run.remove()
        return _final_result(ran, run), info

    async def _process_multi_instance(
        self, launch: Launch, multi_instance: MultiInstance, run: _Run
    ) -> tuple[CommandResult, tuple[Outcome, ...]]:
        """Run the coordination on all nodes, then the primary task, then end all instances."""
        tag = {TAG_VARIABLE: self._tag}
        node_storage = NodeStorage(self._storage_access, launch.identities)
        tools = NodeTools(self._processes, self._blobs, node_storage, self._clock, tag, self._users)
        coordination = Coordination(launch, multi_instance, tools)
        ran = CommandResult(None, None)
        try:
            await coordination.make_directories(self._data)
            if run.ended is None:
                await self._step(run, coordination.perform())
            if run.ended is None:
                ran = await self._process(launch, run)
        except CoordinationError as error:
            ran = error.ran
        except OSError as error:
            ran = CommandResult(None, preparation_failure(error))
        except _StepCancelledError:
            pass
        finally:
            await coordination.close()
        ran = _final_result(ran, run)
        return ran, coordination.outcomes(ran.failure)

    async def _upload(
        self, launch: Launch, run: _Run, *, succeeded: bool
    ) -> tuple[tuple[str, ...], Failure | None]:
        if run.by_user:
            # Without its output files the work is incomplete, even if the process exited first.
            return (), run.ended
        outputs = select_outputs(launch.output_files, succeeded=succeeded)
        if not outputs:
            return (), None
        try:
            node_storage = NodeStorage(self._storage_access, launch.identities)
            sending = upload_all(
                outputs,
                launch.directory,
                launch.environment,
                self._blobs,
                node_storage,
                partial(file_access_of, launch.user, self._users.group if self._users else 0),
            )
            return await self._step(run, sending)
        except OSError as error:  # the upload logs cannot be written
            why = failure("FileUploadMiscError", FilePath=str(error.filename))
            return (), why


def _final_result(ran: CommandResult, run: _Run) -> CommandResult:
    """The result of a run, considering a request to end it. A process that exited before the
    request keeps its result.
    """
    if ran.killed:
        return replace(ran, failure=run.ended or ran.failure)
    return ran if ran.code is not None else replace(ran, failure=ran.failure or run.ended)


def _exists(path: Path) -> bool:
    return path.exists()
