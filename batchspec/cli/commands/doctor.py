"""``batchspec doctor``: what works here, and how to mend the rest. Starts and changes nothing."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime

from batchspec import local
from batchspec.cli.account import chosen_target, local_account, translated
from batchspec.cli.clock import SystemClock
from batchspec.cli.options import Format, Target
from batchspec.cli.screen import out
from batchspec.cloud import API_VERSION, AnyAccount, Limits, account_from, open_account
from batchspec.diagnostics import BatchspecError, Exit, ServiceError, UsageError
from batchspec.plan.task_sets import OPEN
from batchspec.render.doctor import (
    Check,
    Level,
    account_check,
    answer_check,
    as_warnings,
    checks_json,
    checks_text,
    clock_check,
    engine_check,
    failed_check,
    images_check,
    python_check,
    quota_check,
    service_check,
    worst,
)
from batchspec.render.step_text import account_line
from batchspec.render.style import wants_color

_BRIEF = Limits(busy=10.0, server_errors=5.0, read=20.0)
"""Who asks what is wrong does not want to wait for it to pass."""


async def doctor(target: Target | None, environ: Mapping[str, str], form: Format) -> int:
    """Look at everything that a run needs; the exit code is 0 if nothing failed."""
    chosen = chosen_target(target, environ)
    account, checks = _local()
    if chosen is Target.AZURE:
        checks = list(as_warnings(checks))
        account, more = _azure(environ)
        checks += more
    if account is not None:
        checks += [check async for check in _ask(account)]
    if form is Format.JSON:
        out(checks_json(chosen.value, checks))
    else:
        out(checks_text(checks, color=wants_color(sys.stdout, os.environ)))
    return Exit.SERVICE if worst(checks) is Level.FAIL else Exit.DONE


def _local() -> tuple[AnyAccount | None, list[Check]]:
    """The embedded service: its parts, and its account if it runs."""
    python = python_check(f"Python {platform.python_version()}", shutil.which("python3"))
    checks = [python]
    try:
        with translated():
            engine = local.azurite_status()
            checks.append(
                engine_check(str(engine.node), engine.azurite, installed=engine.installed)
            )
            seen = local.status()
    except ServiceError as error:
        return None, [*checks, *(failed_check("engine", problem) for problem in error.problems)]
    running = seen.endpoints is not None
    checks.append(service_check(seen.state.value, str(seen.data), running=running))
    return (local_account(seen.endpoints) if seen.endpoints else None), checks


def _azure(environ: Mapping[str, str]) -> tuple[AnyAccount | None, list[Check]]:
    """The account that the environment names."""
    try:
        account = account_from(environ)
    except UsageError as error:
        return None, [failed_check("account", problem) for problem in error.problems]
    keys = account.batch_key is not None and account.blob_key is not None
    return account, [account_check(account_line(account.names), keys=keys)]


async def _ask(account: AnyAccount) -> AsyncIterator[Check]:
    """What the services of an account say."""
    # Here, since it loads Azure: without an account to ask there is no need.
    from batchspec.cloud.probe import probe_batch, probe_storage  # noqa: PLC0415

    clock = SystemClock()
    async with open_account(account, limits=_BRIEF) as cloud:
        batch = await probe_batch(cloud.batch, clock.now)
        yield answer_check("batch", account.batch_url, batch.seconds, batch.problem, API_VERSION)
        storage = await probe_storage(cloud.storage, clock.monotonic, clock.now)
        yield answer_check("storage", account.blob_url, storage.seconds, storage.problem)
        yield clock_check([batch.ahead, storage.ahead])
        if batch.problem is None:
            try:
                yield images_check(await cloud.reader.images(), datetime.now(UTC))
                pools = [pool async for pool in cloud.reader.pools()]
                jobs = [job async for job in cloud.reader.jobs("") if job.state in OPEN]
            except BatchspecError as error:
                for problem in error.problems:
                    yield failed_check("batch", problem)
            else:
                yield quota_check(account.names.target, len(pools), len(jobs))
