"""``batchspec doctor``: checks whether this machine and the account can run specs.

Starts and changes nothing.
"""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from batchspec.api import Target
from batchspec.cli.console import out, out_document, use_color
from batchspec.cli.options import Format, TargetOption, TextOrJson
from batchspec.diagnostics import BatchspecError, ServiceError, SignInError, UsageError
from batchspec.exit_codes import Exit

if TYPE_CHECKING:
    from batchspec.cloud import AccountClient, AnyAccount
    from batchspec.render.doctor import Check


async def doctor(
    target: TargetOption = None,
    output_format: TextOrJson = Format.TEXT,
) -> int:
    """Check the account, credentials, clock, images and embedded service, and suggest fixes."""
    from batchspec.api import select_target
    from batchspec.render.doctor import Level, as_warnings, checks_json, checks_text, worst

    selected = select_target(target, os.environ)
    account, checks = _check_embedded_service()
    if selected is Target.AZURE:
        # A run on Azure does not need the embedded service.
        checks = list(as_warnings(checks))
        account, azure_checks = _check_azure_account(os.environ)
        checks += azure_checks
    if account is not None:
        checks += [check async for check in _check_services(account)]
    if output_format is Format.JSON:
        out_document(checks_json(selected.value, checks))
    else:
        out(checks_text(checks, color=use_color()))
    return Exit.SERVICE if worst(checks) is Level.FAIL else Exit.DONE


def _check_embedded_service() -> tuple[AnyAccount | None, list[Check]]:
    """The parts of the embedded service, and its account if it is running."""
    from batchspec import local
    from batchspec.api import local_account, service_errors
    from batchspec.render.doctor import engine_check, failed_check, python_check, service_check

    checks = [python_check(f"Python {platform.python_version()}", shutil.which("python3"))]
    try:
        with service_errors():
            azurite = local.azurite_status()
            checks.append(
                engine_check(str(azurite.node), azurite.azurite, installed=azurite.installed)
            )
    except ServiceError as error:
        return None, [*checks, *(failed_check("engine", problem) for problem in error.problems)]
    try:
        with service_errors():
            local.check_folder()
            status = local.status()
    except ServiceError as error:
        return None, [*checks, *(failed_check("service", problem) for problem in error.problems)]
    endpoints = status.endpoints
    running = endpoints is not None
    checks.append(service_check(status.state.value, str(status.data), running=running))
    return (local_account(endpoints) if endpoints else None), checks


def _check_azure_account(environ: Mapping[str, str]) -> tuple[AnyAccount | None, list[Check]]:
    """The account that the environment names."""
    from batchspec.api import azure_account
    from batchspec.render import account_line
    from batchspec.render.doctor import account_check, failed_check

    try:
        account = azure_account(environ)
    except (UsageError, SignInError) as error:
        return None, [failed_check("account", problem) for problem in error.problems]
    keys = account.batch_key is not None and account.blob_key is not None
    return account, [account_check(account_line(account.names), keys=keys)]


async def _check_services(account: AnyAccount) -> AsyncIterator[Check]:
    """The replies of the account's services."""
    from batchspec.api import SystemClock
    from batchspec.cloud import API_VERSION, Limits, open_account
    from batchspec.cloud.connect import probe_batch, probe_signing, probe_storage
    from batchspec.render.doctor import answer_check, clock_check, signing_check

    clock = SystemClock()
    # Short limits: a diagnosis should report a problem instead of waiting for its end.
    limits = Limits(busy=10.0, server_errors=5.0, read=20.0)
    async with open_account(account, limits=limits) as cloud:
        batch = await probe_batch(cloud, clock.now)
        yield answer_check("batch", account.batch_url, batch.seconds, batch.problem, API_VERSION)
        storage = await probe_storage(cloud, clock.now)
        yield answer_check("storage", account.blob_url, storage.seconds, storage.problem)
        if cloud.longest_sas is not None and storage.problem is None:
            yield signing_check((await probe_signing(cloud, clock.now)).problem)
        yield clock_check([batch.ahead, storage.ahead])
        if batch.problem is None:
            async for check in _check_batch(account, cloud):
                yield check


async def _check_batch(account: AnyAccount, cloud: AccountClient) -> AsyncIterator[Check]:
    """Images, the use of the account's quotas, and the VM sizes of its pools."""
    import asyncio

    from batchspec.account import read_capacity
    from batchspec.plan import OPEN
    from batchspec.render.doctor import (
        failed_check,
        images_check,
        quota_check,
        resource_check,
        sizes_check,
    )

    try:
        yield images_check(await cloud.images.list(), datetime.now(UTC))
        if account.names.target == Target.LOCAL:
            pools = [pool async for pool in cloud.pools.list()]
            jobs = [job async for job in cloud.jobs.list("") if job.state in OPEN]
            yield quota_check(Target.LOCAL, len(pools), len(jobs))
            return
        usage, capacity = await asyncio.gather(
            cloud.quotas.get_usage(), read_capacity(cloud, always=True)
        )
        yield resource_check(capacity, keys=account.batch_key is not None)
        yield quota_check(Target.AZURE, usage.pools, usage.jobs, capacity)
        if capacity.resource is not None:
            yield sizes_check(capacity, datetime.now(UTC))
    except BatchspecError as error:
        for problem in error.problems:
            yield failed_check("batch", problem)
