"""Changes in place: the order of the requests, and the metadata, which are written last."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from batchspec.apply import Cancellation, run
from batchspec.apply.events import Event, Waiting
from batchspec.exit_codes import Exit
from batchspec.plan.actions import (
    Action,
    CreateJob,
    CreatePool,
    DeletePool,
    ReplaceJob,
    ReplacePool,
    ResizePool,
    RestartNodes,
    ScalePool,
    UpdatePool,
)
from batchspec.spec import Record
from tests.apply.fake import FakeAccount
from tests.apply.test_executor import HOUR, plan_of, step

PATCH = Record(
    startTask=Record(commandLine="true"),
    metadata=(Record(name="batchspec:digest", value="new"),),
)


POOL = Record(id="p", targetDedicatedNodes=1)


class Remembering(FakeAccount):
    """Keeps the patches of pools."""

    class Pools(FakeAccount.Pools):
        async def update(self, pool_id: str, patch: Record, sas: object) -> None:  # type: ignore[override]
            await self.account.call("pools.update", ",".join(patch))


async def calls_of(account: FakeAccount, folder: Path, *actions: Action) -> Exit | None:
    steps = [step(f"s{number}", action) for number, action in enumerate(actions)]
    return await run(plan_of(steps), account.runtime(), lambda _: None, folder / "receipt.jsonl")


async def test_the_metadata_are_written_after_the_restart(tmp_path: Path) -> None:
    account = Remembering()
    assert (
        await calls_of(account, tmp_path, UpdatePool("p", PATCH, HOUR, restart=True)) is Exit.DONE
    )
    assert account.calls == [
        "pools.update startTask",
        "pools.get_node_counts p",
        "nodes.reboot p",
        "pools.update metadata",
    ]


async def test_a_start_task_that_delays_a_restart_is_reported(tmp_path: Path) -> None:
    account = Remembering(node_state="waitingforstarttask")
    account.pool_bodies["p"] = Record(id="p", targetDedicatedNodes=2)
    account.polls["p"] = 2
    events: list[Event] = []
    plan = plan_of([step("s", RestartNodes("p", ("n",)))])
    assert (
        await run(plan, account.runtime(), events.append, tmp_path / "receipt.jsonl") is Exit.DONE
    )
    first, last = [event for event in events if isinstance(event, Waiting)]
    assert first.summary.startswith("2 nodes run the previous start task")
    assert "--replace pool" in first.action
    assert (first.resolved, last.resolved) == (False, True)


async def test_ctrl_c_ends_the_wait_for_a_start_task_at_once(tmp_path: Path) -> None:
    """The service refuses a restart while a start task runs; its client would wait for minutes."""

    class Waits(Remembering):
        class Nodes(Remembering.Nodes):
            async def reboot(self, pool_id: str, nodes: Sequence[str] | None = None) -> None:
                await self.account.call("nodes.reboot", pool_id)
                cancellation.request()
                await asyncio.Event().wait()

    account, cancellation = Waits(node_state="waitingforstarttask"), Cancellation()
    account.pool_bodies["p"] = Record(id="p", targetDedicatedNodes=2)
    runtime = replace(account.runtime(), cancellation=cancellation)
    plan = plan_of([step("s", UpdatePool("p", PATCH, HOUR, restart=True))])
    code = await asyncio.wait_for(
        run(plan, runtime, lambda _: None, tmp_path / "receipt.jsonl"), timeout=60
    )
    assert code is Exit.INTERRUPTED
    assert "pools.update metadata" not in account.calls


async def test_without_a_restart_there_is_one_update(tmp_path: Path) -> None:
    account = Remembering()
    await calls_of(account, tmp_path, UpdatePool("p", PATCH, HOUR))
    assert account.calls == ["pools.update startTask,metadata"]


async def test_an_interrupted_update_does_not_write_the_metadata(tmp_path: Path) -> None:
    account = Remembering(fail={"nodes.reboot"})
    code = await calls_of(account, tmp_path, UpdatePool("p", PATCH, HOUR, restart=True))
    assert code is Exit.SERVICE
    assert "pools.update metadata" not in account.calls


async def test_a_pool_is_resized_and_scaled(tmp_path: Path) -> None:
    account = FakeAccount()
    await calls_of(account, tmp_path, ResizePool("p", 3, 1), ScalePool("q", "$x = 1;", "PT10M"))
    assert sorted(account.calls) == ["pools.enable_autoscale q $x = 1;", "pools.resize p 3 1"]


async def test_the_formula_of_a_pool_is_removed(tmp_path: Path) -> None:
    account = FakeAccount()
    await calls_of(account, tmp_path, ScalePool("q", None, None))
    assert account.calls == ["pools.disable_autoscale q"]


async def test_the_next_job_is_created_after_the_end_of_the_previous_one(tmp_path: Path) -> None:
    account = FakeAccount()
    await calls_of(account, tmp_path, CreateJob("j", Record(id="j"), HOUR))
    account.calls.clear()
    code = await calls_of(account, tmp_path, ReplaceJob("j", "j-r2", Record(id="j-r2"), HOUR))
    assert code is Exit.DONE
    assert account.calls == ["jobs.terminate j", "jobs.create j-r2"]
    assert account.terminated["j"] == "Replaced"


ARM: dict[str, Any] = {"control_plane": True}


@pytest.mark.parametrize(
    ("action", "calls"),
    [
        (CreatePool("p", POOL, HOUR, **ARM), ["create"]),
        (UpdatePool("p", PATCH, HOUR, **ARM), ["update"]),
        (ResizePool("p", 3, 1, **ARM), ["resize"]),
        (ScalePool("p", "$x = 1;", **ARM), ["enable_autoscale"]),
        (ScalePool("p", None, **ARM), ["disable_autoscale"]),
        (ReplacePool("p", POOL, HOUR, **ARM, deletes_by_control_plane=True), ["delete", "create"]),
        (DeletePool("p", **ARM), ["delete"]),
    ],
)
async def test_pools_with_an_identity_are_changed_through_the_control_plane(
    tmp_path: Path, action: Action, calls: list[str]
) -> None:
    account = FakeAccount()
    await calls_of(account, tmp_path, action)
    assert [call.split()[0] for call in account.calls] == [
        f"control_plane.pools.{call}" for call in calls
    ]


async def test_an_identity_is_added_by_a_replacement(tmp_path: Path) -> None:
    account = FakeAccount()
    await calls_of(account, tmp_path, ReplacePool("p", POOL, HOUR, **ARM))
    assert account.calls == ["pools.delete p", "control_plane.pools.create p"]
