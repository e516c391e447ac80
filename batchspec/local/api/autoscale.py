"""Autoscale settings of a pool, and the operations enable, disable and evaluate."""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from batchspec.autoscale import MAX_CHARACTERS, FormulaSyntaxError, parse, run_formula
from batchspec.local.api.resources import Context, find_pool, next_state
from batchspec.local.model import ALLOCATION, POOL, AllocationState, Pool
from batchspec.local.store import autoscale_run
from batchspec.local.wire import (
    Fault,
    Reply,
    Request,
    empty_reply,
    resource_reply,
)

DEFAULT_INTERVAL = "PT15M"
_PAUSE = timedelta(seconds=30)
_SETTINGS = ("autoScaleFormula", "autoScaleEvaluationInterval")
_TARGETS = ("targetDedicatedNodes", "targetLowPriorityNodes")


def read_autoscale(given: Mapping[str, Any]) -> dict[str, str] | None:
    """The autoscale settings of a new pool; ``None`` for a pool of fixed size.

    Raises:
        Fault: the settings contradict each other, or the formula is invalid.
    """
    if not given.get("enableAutoScale", False):
        for name in _SETTINGS:
            if name in given:
                raise _contradiction(f"{name} requires that enableAutoScale is true.")
        return None
    for name in _TARGETS:
        if name in given:
            raise _contradiction(f"{name} cannot be set when enableAutoScale is true.")
    if "autoScaleFormula" not in given:
        raise _contradiction("autoScaleFormula must be set when enableAutoScale is true.")
    return _settings(given, {})


def enable_pool_auto_scale(context: Context, request: Request) -> Reply:
    """``POST /pools/{poolId}/enableautoscale``: set or change the formula or the interval."""
    given = request.parse_body("BatchPoolEnableAutoScaleOptions")
    pool = find_pool(context, request)
    next_state(POOL, "update", pool.state)
    pool = start_autoscale(context, pool, given, request.now)
    return empty_reply(200, request.url, pool.modified)


def start_autoscale(context: Context, pool: Pool, given: Mapping[str, Any], now: datetime) -> Pool:
    """Set the formula or the interval in ``given``, or both, and evaluate the formula.

    Raises:
        Fault: the formula is invalid, the pool is being resized, or the last change was less than
            30 seconds ago.
    """
    before = context.store.autoscale.of(pool.id)
    if before is not None and now - before.since < _PAUSE:
        raise Fault("TooManyEnableAutoScaleRequests")
    if pool.autoscale is None:
        next_state(ALLOCATION, "resize", pool.allocation)
    kept = {k: v for k, v in (pool.autoscale or {}).items() if k in _SETTINGS}
    if "autoScaleFormula" not in {**kept, **given}:
        raise Fault("MissingRequiredProperty", ("PropertyName", "autoScaleFormula"))
    settings = _settings(given, kept)
    with context.store.transaction():
        pool = context.store.pools.set_autoscale(pool, settings, now)
        context.store.autoscale.start(pool, now)
    return pool


def disable_pool_auto_scale(context: Context, request: Request) -> Reply:
    """``POST /pools/{poolId}/disableautoscale``: keep the targets, stop a resize in progress."""
    pool = find_pool(context, request)
    next_state(POOL, "update", pool.state)
    pool = stop_autoscale(context, pool, request.now)
    return empty_reply(200, request.url, pool.modified)


def stop_autoscale(context: Context, pool: Pool, now: datetime) -> Pool:
    """Remove the formula; a resize in progress stops."""
    with context.store.transaction():
        pool = context.store.pools.set_autoscale(pool, None, now)
        context.store.autoscale.stop(pool)
        if pool.allocation is AllocationState.RESIZING:
            # Recorded: azure-sdk-for-python, test_batch_scale_pools (2018-12-20).
            pool = context.store.pools.stop_resize(pool, now)
    return pool


def evaluate_pool_auto_scale(context: Context, request: Request) -> Reply:
    """``POST /pools/{poolId}/evaluateautoscale``: evaluate a formula without a resize."""
    given = request.parse_body("BatchPoolEvaluateAutoScaleOptions")
    pool = find_pool(context, request)
    if pool.autoscale is None:
        raise Fault(
            "OperationInvalidForCurrentState",
            ("Reason", "Automatic scaling is not enabled on the pool."),
        )
    _check_formula(given["autoScaleFormula"])
    evaluated = run_formula(
        given["autoScaleFormula"],
        request.now,
        (pool.target_dedicated, pool.target_spot),
        context.store.autoscale.samples(pool.id),
        random.random,
    )
    run = autoscale_run(evaluated, request.now)
    metadata = "Microsoft.Azure.Batch.Protocol.Entities.AutoScaleRun"
    return resource_reply(
        request, "AutoScaleRun", run, metadata, headers={"DataServiceId": request.url}
    )


def _settings(given: Mapping[str, Any], kept: Mapping[str, str]) -> dict[str, str]:
    settings = {name: given[name] for name in _SETTINGS if name in given}
    settings = {"autoScaleEvaluationInterval": DEFAULT_INTERVAL, **kept, **settings}
    _check_formula(settings["autoScaleFormula"])
    return {name: settings[name] for name in _SETTINGS}


def _check_formula(text: str) -> None:
    if len(text) > MAX_CHARACTERS:
        raise Fault("AutoScalingFormulaTooLong")
    try:
        parse(text)
    except FormulaSyntaxError as error:
        raise Fault("AutoScalingFormulaSyntaxError", ("Message", str(error))) from None


def _contradiction(reason: str) -> Fault:
    return Fault("InvalidAutoScalingSettings", ("Reason", reason))
