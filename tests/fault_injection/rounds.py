"""One round: the reference run with one fault, the same command until it succeeds, and a check.

A round shares only the service with other rounds. The spec, the pool, the job and the containers
have separate names, so that rounds can run at the same time.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from azure.batch import BatchClient
from azure.core.credentials import AzureNamedKeyCredential
from azure.core.exceptions import HttpResponseError
from azure.storage.blob import BlobServiceClient

from batchspec.cloud import Limits, LocalAccount
from batchspec.diagnostics import Secret
from batchspec.local import Endpoints
from tests.fault_injection.client import Command, apply, ended, plan
from tests.fault_injection.proxy import KILLS, PATIENT, Fault, Proxy
from tests.fault_injection.reference import WHOLE, Reference, Size

SHORT_LIMITS = Limits(read=2.0)
"""Limits for faults that end with a time-out; other faults use the limits of users."""

OTHER = "another apply"
"""Part of the message that another apply of the spec may have done the work."""

LATEST = 0.6
"""The maximum delay of the second apply in seconds: the first still runs."""

LONGEST = 90.0
"""Seconds; a run takes two."""

HUNG = -99
"""Used instead of an exit code when a run exceeds its limit."""


class Scenario(StrEnum):
    """The work of the apply with the fault."""

    FRESH = "fresh"
    """Everything; the account is empty."""
    CHANGED = "changed"
    """The run has ended, and an input and the start task have changed since."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of a round. ``hit`` is the request with the fault; empty if not reached.

    ``codes`` are the exit codes of the applies; ``wrong`` contains every difference.
    """

    fault: Fault | None
    hit: str
    requests: int
    codes: tuple[int, ...]
    seconds: float
    wrong: tuple[str, ...]

    @property
    def text(self) -> str:
        """The result as one line."""
        what = f"{self.fault.kind:<9} {self.fault.number:>4}" if self.fault else "no fault"
        codes = " ".join(map(str, self.codes))
        return f"{what}  {self.seconds:5.1f} s  {codes:<5}  {self.hit:<60}"


@dataclass(frozen=True, slots=True)
class Bench:
    """A running service, and a folder for the folders of rounds."""

    folder: Path
    endpoints: Endpoints
    batch: BatchClient
    blobs: BlobServiceClient

    @classmethod
    def of(cls, folder: Path, endpoints: Endpoints) -> Bench:
        credential = AzureNamedKeyCredential(endpoints.batch_account, endpoints.batch_key)
        return cls(
            folder,
            endpoints,
            BatchClient(endpoints.batch_url, credential),
            BlobServiceClient.from_connection_string(endpoints.connection_string),
        )

    def proxy(self) -> Proxy:
        """A proxy in front of the services."""
        return Proxy(self.endpoints.batch_url, self.endpoints.blob_url)

    def account(self, proxy: Proxy | None = None) -> LocalAccount:
        """The account, directly or through a proxy."""
        return LocalAccount(
            batch_url=proxy.url if proxy else self.endpoints.batch_url,
            batch_account=self.endpoints.batch_account,
            batch_key=Secret(self.endpoints.batch_key),
            blob_url=proxy.blob_url if proxy else self.endpoints.blob_url,
            blob_account=self.endpoints.blob_account,
            blob_key=Secret(self.endpoints.blob_key),
        )

    def lay_out(self, name: str, size: Size = WHOLE, *, held: bool = False) -> Reference:
        """A new reference run with that name."""
        reference = Reference.at(self.folder / name, name, size, held=held)
        reference.lay_out()
        return reference

    async def look(self, reference: Reference) -> list[str]:
        """Every unexpected difference in the account and on disk."""
        return await asyncio.to_thread(
            lambda: list(reference.wrong(self.batch, self.blobs)),
        )

    async def forget(self, reference: Reference) -> None:
        """Delete the jobs that a run leaves, and the folder."""
        for job in (reference.name, f"{reference.name}-r2"):
            try:
                await asyncio.to_thread(self.batch.begin_delete_job, job)
            except HttpResponseError as error:
                if error.status_code not in (404, 409):
                    raise
        shutil.rmtree(reference.folder)


async def play(
    bench: Bench, name: str, fault: Fault | None, scenario: Scenario, size: Size = WHOLE
) -> Verdict:
    """Run a round. Its folder is kept if the round fails."""
    began = time.monotonic()
    reference = bench.lay_out(name, size)
    wrong = []
    if scenario is Scenario.CHANGED:
        reference.keep()
        before = Command(reference.spec, bench.account(), reference.folder / "before.log", Limits())
        if code := await asyncio.wait_for(ended(apply(before)), LONGEST):
            wrong.append(f"the apply of the first version ended with {code}")
        reference = reference.change()
    async with bench.proxy().serving() as proxy:
        limits = SHORT_LIMITS if fault is not None and fault.kind in PATIENT else Limits()
        command = Command(
            reference.spec, bench.account(proxy), reference.folder / "apply.log", limits
        )
        proxy.fault = fault
        codes = [await _applied(command, proxy)]
        requests, proxy.fault = proxy.count, None
        killed = fault is not None and fault.kind in KILLS and bool(proxy.hit)
        if codes[0] != (-9 if killed else 0):
            wrong.append(f"the first apply ended with {codes[0]}")
        if codes[0]:
            await proxy.settled()
            codes.append(await _applied(command, proxy))
            if codes[1]:
                wrong.append(f"the second apply ended with {codes[1]}")
        await proxy.settled()
        wrong += await bench.look(reference)
        again = plan(replace(command, log=reference.folder / "plan.log"))
        if code := await asyncio.wait_for(ended(again), LONGEST):
            left = (reference.folder / "plan.log").read_text(encoding="utf-8").strip()
            wrong.append(f"the plan after the run ended with {code}: {left}")
    if not wrong:
        await bench.forget(reference)
    seconds = time.monotonic() - began
    return Verdict(fault, proxy.hit, requests, tuple(codes), seconds, tuple(wrong))


@dataclass(frozen=True, slots=True)
class Meeting:
    """The result of two concurrent applies: exit codes, output, and differences."""

    codes: tuple[int, int]
    seconds: float
    wrong: tuple[str, ...]


async def meet(
    bench: Bench, name: str, delay: float, *, separate: bool, size: Size = WHOLE
) -> Meeting:
    """Run two applies of one spec, the second ``delay`` seconds after the first.

    ``separate`` gives each a copy of the folder, like two people on two machines; otherwise both
    use one folder, like two terminals. At least one must succeed, and a copy whose apply succeeded
    has the results. After that nothing is left to do.

    With two folders, the first apply waits for the second to start. Otherwise the containers with
    its results would be deleted, and the second would run everything again.
    """
    began = time.monotonic()
    first = bench.lay_out(name, size, held=separate)
    second = first.copied(first.folder.with_name(f"{name}.second")) if separate else first
    account, there = bench.account(), set[str]()

    async def apply_at(place: Reference, log: str, wait: float) -> int:
        await asyncio.sleep(wait)
        process = apply(Command(place.spec, account, place.folder / log, Limits()))
        try:
            async with asyncio.timeout(LONGEST):
                # The first event is the start of the plan.
                while process.is_alive() and not _has_output(place.folder / log):
                    await asyncio.sleep(0.02)
                there.add(log)
                if len(there) == 2:
                    first.let_go()
                return await ended(process)
        finally:
            process.kill()

    codes = await asyncio.gather(
        apply_at(first, "apply-1.log", 0.0), apply_at(second, "apply-2.log", delay)
    )
    wrong = []
    if 0 not in codes:
        wrong.append(f"both failed: {codes}")
    for place, code, log in ((first, codes[0], "apply-1.log"), (second, codes[1], "apply-2.log")):
        output = (place.folder / log).read_text(encoding="utf-8")
        if code and OTHER not in output:
            wrong.append(f"exit code {code} without naming the other apply:\n{output}")
        if not code:
            wrong += await bench.look(place)
            again = plan(Command(place.spec, account, place.folder / "plan.log", Limits()))
            if code := await asyncio.wait_for(ended(again), LONGEST):
                left = (place.folder / "plan.log").read_text(encoding="utf-8").strip()
                wrong.append(f"the plan after the run ended with {code}: {left}")
    if not wrong:
        await bench.forget(first)
        if separate:
            shutil.rmtree(second.folder)
    return Meeting((codes[0], codes[1]), time.monotonic() - began, tuple(wrong))


def _has_output(log: Path) -> bool:
    return log.exists() and log.stat().st_size > 0


async def _applied(command: Command, proxy: Proxy) -> int:
    """Apply until it ends or is killed."""
    process = apply(command)
    running = asyncio.ensure_future(ended(process))

    async def kill() -> None:
        process.kill()
        await asyncio.shield(running)

    proxy.kill = kill
    try:
        return await asyncio.wait_for(asyncio.shield(running), LONGEST)
    except TimeoutError:
        return HUNG
    finally:
        process.kill()
        await running
