"""One round: the reference run with one fault in it, the same command until it ends well, a look.

A round shares nothing with another but the service: the spec, the pool, the job and the containers
have names of their own, and so any number of rounds can go on side by side.
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

IMPATIENT = Limits(read=2.0)
"""For the faults that end by a time-out; for all others the limits are those of users."""

OTHER = "another apply"
"""How a failure says that another apply of the spec may have done the work."""

LATEST = 0.6
"""Seconds after which a second apply begins at most: while the first still goes on."""

LONGEST = 90.0
"""Seconds; a run takes two."""

HUNG = -99
"""Instead of an exit code, when a run took longer."""


class Scenario(StrEnum):
    """What the apply that is disturbed has to do."""

    FRESH = "fresh"
    """Everything: there is nothing yet."""
    CHANGED = "changed"
    """The run has ended, and an input and the pool's start task have changed since."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a round went. ``hit`` is the request that was harmed, empty if the run never got there.

    ``codes`` are the exit codes of the applies; ``wrong`` is all that is not as it must be.
    """

    fault: Fault | None
    hit: str
    requests: int
    codes: tuple[int, ...]
    seconds: float
    wrong: tuple[str, ...]

    @property
    def words(self) -> str:
        """A line that tells of it."""
        what = f"{self.fault.kind:<9} {self.fault.number:>4}" if self.fault else "undisturbed"
        codes = " ".join(map(str, self.codes))
        return f"{what}  {self.seconds:5.1f} s  {codes:<5}  {self.hit:<60}"


@dataclass(frozen=True, slots=True)
class Bench:
    """Where rounds are carried out: a service that runs, and a folder for the rounds' folders."""

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
        """A proxy before the services."""
        return Proxy(self.endpoints.batch_url, self.endpoints.blob_url)

    def account(self, proxy: Proxy | None = None) -> LocalAccount:
        """The account, as it is or as it is seen through a proxy."""
        return LocalAccount(
            batch_url=proxy.url if proxy else self.endpoints.batch_url,
            batch_account=self.endpoints.batch_account,
            batch_key=Secret(self.endpoints.batch_key),
            blob_url=proxy.blob_url if proxy else self.endpoints.blob_url,
            blob_account=self.endpoints.blob_account,
            blob_key=Secret(self.endpoints.blob_key),
        )

    def lay_out(self, name: str, size: Size = WHOLE, *, held: bool = False) -> Reference:
        """A fresh reference run of that name."""
        reference = Reference.at(self.folder / name, name, size, held=held)
        reference.lay_out()
        return reference

    async def look(self, reference: Reference) -> list[str]:
        """Everything that is not as it must be in the account and on the disk."""
        return await asyncio.to_thread(
            lambda: list(reference.wrong(self.batch, self.blobs)),
        )

    async def forget(self, reference: Reference) -> None:
        """Delete the jobs, which a run leaves, and the folder."""
        for job in (reference.name, f"{reference.name}-r2"):
            try:
                await asyncio.to_thread(self.batch.begin_delete_job, job)
            except HttpResponseError as error:
                if error.status_code not in (404, 409):
                    raise
        shutil.rmtree(reference.folder)


async def play(bench: Bench, name: str, fault: Fault | None, scenario: Scenario) -> Verdict:
    """Carry out a round. Its folder is left if something went wrong."""
    began = time.monotonic()
    reference = bench.lay_out(name)
    wrong = []
    if scenario is Scenario.CHANGED:
        reference.keep()
        before = Command(reference.spec, bench.account(), reference.folder / "before.log", Limits())
        if code := await asyncio.wait_for(ended(apply(before)), LONGEST):
            wrong.append(f"the apply before all ended with {code}")
        reference = reference.change()
    async with bench.proxy().serving() as proxy:
        limits = IMPATIENT if fault is not None and fault.kind in PATIENT else Limits()
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
            wrong.append(f"a further plan ends with {code}: {left}")
    if not wrong:
        await bench.forget(reference)
    seconds = time.monotonic() - began
    return Verdict(fault, proxy.hit, requests, tuple(codes), seconds, tuple(wrong))


@dataclass(frozen=True, slots=True)
class Meeting:
    """How two applies at the same time went: their exit codes, what they said, what is wrong."""

    codes: tuple[int, int]
    seconds: float
    wrong: tuple[str, ...]


async def meet(
    bench: Bench, name: str, delay: float, *, apart: bool, size: Size = WHOLE
) -> Meeting:
    """Two applies of one spec, the second ``delay`` seconds after the first.

    ``apart`` gives each a copy of the folder, as two people on two machines have; otherwise they
    are two terminals in one folder. One of them at least must end well, and a copy whose apply
    ended well has the results. After that nothing is left to do.

    However late the second comes to it, the first of two people has not ended by then: else it is
    no meeting, since its results are gone with the containers, and the second runs it all again.
    """
    began = time.monotonic()
    first = bench.lay_out(name, size, held=apart)
    second = first.copied(first.folder.with_name(f"{name}.second")) if apart else first
    account, there = bench.account(), set[str]()

    async def apply_at(place: Reference, log: str, wait: float) -> int:
        await asyncio.sleep(wait)
        process = apply(Command(place.spec, account, place.folder / log, Limits()))
        try:
            async with asyncio.timeout(LONGEST):
                # What it says first is that it begins to carry out the plan that it has made.
                while process.is_alive() and not _says(place.folder / log):
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
        wrong.append(f"neither ended well: {codes}")
    for place, code, log in ((first, codes[0], "apply-1.log"), (second, codes[1], "apply-2.log")):
        said = (place.folder / log).read_text(encoding="utf-8")
        if code and OTHER not in said:
            wrong.append(f"ended with {code}, and does not say that the other did it:\n{said}")
        if not code:
            wrong += await bench.look(place)
            again = plan(Command(place.spec, account, place.folder / "plan.log", Limits()))
            if code := await asyncio.wait_for(ended(again), LONGEST):
                left = (place.folder / "plan.log").read_text(encoding="utf-8").strip()
                wrong.append(f"a further plan ends with {code}: {left}")
    if not wrong:
        await bench.forget(first)
        if apart:
            shutil.rmtree(second.folder)
    return Meeting((codes[0], codes[1]), time.monotonic() - began, tuple(wrong))


def _says(log: Path) -> bool:
    return log.exists() and log.stat().st_size > 0


async def _applied(command: Command, proxy: Proxy) -> int:
    """Apply, to its end, or until it is killed."""
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
