"""Two runs of six simulated hours each: limits, signatures that expire, and clocks that are set.

Every request is signed with real signatures, and every node and task that starts reads its files
with the URLs that it was given, at the time of the service.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from batchspec.account import TaskAdded, TaskCounts
from batchspec.apply import run
from batchspec.apply.events import Event, Outcome, RunEnded
from batchspec.cloud.account import LocalAccount
from batchspec.cloud.sas import SasSigner
from batchspec.cloud.timing import ServiceTime
from batchspec.diagnostics import Diagnostics, Secret
from batchspec.observe import Spool, scan
from batchspec.plan import Plan, build_plan
from batchspec.plan.actions import UpdatePool
from batchspec.plan.metadata import metadata_of
from batchspec.plan.observed import AccountNames, ContainerFacts, JobFacts, Observed, PoolFacts
from batchspec.spec import Record, read_spec, thaw
from tests.apply.fake import START, FakeAccount, FakeClock
from tests.spec.empty_account import IMAGES

HOUR = timedelta(hours=1)
SPEC = """\
version: 1
name: long
containers: {application: {upload: [program.sh]}, input: {upload: [input.txt]}}
pool:
  vm_size: standard_d2s_v5
  nodes: 2
  image: ubuntu-24.04
  start_task: {command: cp program.sh shared/, resources: [application]}
job: {max_wall_clock_time: 6h}
tasks:
  count:
    for_each: {range: [0, 350]}
    command: sh program.sh {{ value }}
    resources: [input]
    logs: false
cleanup: {pool: never}
"""


class SettableClock(FakeClock):
    """The clock of a client, which a test sets ``ahead`` of the service's clock."""

    ahead = timedelta()

    def now(self) -> datetime:
        return super().now() + self.ahead


@dataclass
class LongAccount(FakeAccount):
    """An account that needs 40 minutes to take a hundred tasks and whose nodes restart each hour.

    Of each hundred, ten tasks start every half hour, the last ones a minute before the limit of the
    job; every task runs for half an hour. ``reads`` are the times at which a URL
    was used and whether it was valid; ``steps`` sets the clock of the client, by simulated hours.
    """

    clock: SettableClock = field(default_factory=SettableClock)
    steps: Mapping[int, timedelta] = field(default_factory=dict)
    created: dict[str, datetime] = field(default_factory=dict)
    starts: dict[str, tuple[datetime, tuple[str, ...]]] = field(default_factory=dict)
    started: set[str] = field(default_factory=set)
    reads: list[tuple[timedelta, str, bool]] = field(default_factory=list)
    restarts: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.time = ServiceTime(self.clock.monotonic, self.clock.now)
        account = LocalAccount(
            "http://b", "batch", Secret("a2V5"), "http://s", "storage", Secret("a2V5")
        )
        self.signer = SasSigner(account, None, self.time.now)  # type: ignore[arg-type]

    def now(self) -> datetime:
        return self.time.now()

    @property
    def true_time(self) -> datetime:
        """The time of the service."""
        return START + timedelta(seconds=self.clock.elapsed)

    async def call(self, name: str, what: str = "") -> None:
        sent = self.clock.monotonic()
        await super().call(name, what)
        self.clock.ahead = self.steps.get(int(self.clock.elapsed // 3600), self.clock.ahead)
        self.time.answered(format_datetime(self.true_time, usegmt=True), sent)

    async def signed(self, body: Record, sas: timedelta) -> object:
        signer = await self.signer.for_lifetime(sas)
        return thaw(body, lambda text: text.resolve(signer))

    def read(self, url: str) -> None:
        """Use a URL now."""
        query = parse_qs(urlsplit(url).query)
        begins, ends = (datetime.fromisoformat(query[key][0]) for key in ("st", "se"))
        now = self.true_time
        self.reads.append((now - START, url.partition("?")[0], begins <= now <= ends))

    def proceed(self) -> None:
        """Restart the nodes and start the tasks that are due."""
        hours = int(self.clock.elapsed // 3600)
        if hours > self.restarts:
            self.restarts = hours
            for url in urls(self.start_task):
                self.read(url)
        for name, (start, files) in self.starts.items():
            if name not in self.started and start <= self.true_time:
                self.started.add(name)
                for url in files:
                    self.read(url)

    class Pools(FakeAccount.Pools):
        account: LongAccount

        async def create(self, body: Record, sas: timedelta) -> bool:
            self.account.start_task = await self.account.signed(body, sas)
            return await super().create(body, sas)

        async def update(self, pool_id: str, patch: Record, sas: timedelta) -> None:
            self.account.start_task = await self.account.signed(patch, sas)
            await super().update(pool_id, patch, sas)

    class Jobs(FakeAccount.Jobs):
        account: LongAccount

        async def create(self, body: Record, sas: timedelta) -> bool:
            self.account.created[str(body["id"])] = self.account.true_time
            return await super().create(body, sas)

        async def get(self, job_id: str) -> JobFacts | None:
            await self.account.call("jobs.get", job_id)
            found = await super().get(job_id)
            return found and replace(found, created=self.account.created[job_id])

        async def get_task_counts(self, job_id: str) -> TaskCounts:
            await self.account.call("jobs.get_task_counts", job_id)
            self.account.proceed()
            now = self.account.true_time
            starts = [start for start, _ in self.account.starts.values()]
            done = sum(start + HOUR / 2 <= now for start in starts)
            running = sum(start <= now for start in starts) - done
            return TaskCounts(len(starts) - running - done, running, done, 0)

    class Tasks(FakeAccount.Tasks):
        account: LongAccount

        async def create_collection(
            self, job_id: str, tasks: Sequence[Record], sas: timedelta
        ) -> Sequence[TaskAdded]:
            await self.account.clock.sleep(40 * 60)
            now, limit = self.account.true_time, self.account.created[job_id] + 6 * HOUR
            for number, task in enumerate(tasks):
                files = tuple(urls(await self.account.signed(task, sas)))
                start = min(now + HOUR / 2 * (number // 10), limit - timedelta(minutes=1))
                self.account.starts[str(task["id"])] = start, files
            return await super().create_collection(job_id, tasks, sas)


def urls(body: object) -> Iterator[str]:
    """Every signed URL in a request."""
    match body:
        case dict():
            for value in body.values():
                yield from urls(value)
        case list():
            for value in body:
                yield from urls(value)
        case str() if "sig=" in body:
            yield body


def plan_now(account: LongAccount, path: Path, spool: Spool) -> Plan:
    """The plan of the spec for the account; an earlier job was deleted."""
    spec, problems = read_spec(path), Diagnostics()
    scan(spec.containers.values(), spool, problems)
    problems.raise_if_any()
    pool = account.pool_bodies.get("long")
    facts = None
    if pool is not None:
        metadata = {name: str(value) for name, value in metadata_of(pool).items()}
        facts = PoolFacts("long", "active", "steady", pool, metadata, 2, 0, 2, 0)
    containers = {
        key: ContainerFacts(account.container_metadata.get(key), spool.files(key))
        for key in spec.containers
    }
    names = AccountNames("local", "batch", "storage")
    return build_plan(spec, Observed(names, account.now(), containers, facts, images=IMAGES))


async def apply(account: LongAccount, path: Path) -> tuple[Plan, RunEnded]:
    events: list[Event] = []
    with Spool() as spool:
        plan = plan_now(account, path, spool)
        await run(plan, account.runtime(), events.append, path.parent / "receipt.jsonl")
    last = events[-1]
    assert isinstance(last, RunEnded)
    return plan, last


@pytest.mark.parametrize(
    "steps",
    [{}, {3: 4 * HOUR, 5: -7 * HOUR, 8: timedelta(days=1), 10: timedelta()}],
    ids=["right clock", "clock set four times"],
)
async def test_runs_of_six_hours_end_at_their_limit_with_valid_signatures(
    tmp_path: Path, steps: Mapping[int, timedelta]
) -> None:
    """The second run begins before the signatures of the first have expired, and ends after it."""
    path, account = tmp_path / "long.yaml", LongAccount(steps=steps)
    path.write_text(SPEC, encoding="utf-8")
    (tmp_path / "program.sh").write_text("echo counted\n")
    (tmp_path / "input.txt").write_text("words\n")
    for number in range(2):
        began = account.true_time
        plan, end = await apply(account, path)
        signed = [step for step in plan.steps if isinstance(step.action, UpdatePool)]
        assert len(signed) == number, "the second run renews the signatures of the pool"
        assert end.outcome is Outcome.TIME_LIMIT, "the last task is not complete"
        assert abs(account.true_time - began - 6 * HOUR) < timedelta(minutes=1)
        assert len(account.started) == len(account.starts) == 350
        account.job_bodies.clear()
        account.terminated.clear()
        account.task_ids.clear()
        account.starts.clear()
        account.started.clear()
    invalid = [(str(at), url) for at, url, valid in account.reads if not valid]
    assert invalid == []
    assert sum(url.endswith("/input.txt") for _, url, _ in account.reads) == 2 * 350
    restarts = {at // HOUR for at, url, _ in account.reads if url.endswith("/program.sh")}
    assert {3, 4, 5, 9, 10, 11} <= restarts, "before and after the first signatures have expired"
