"""Why a pool got no node, and what mends that, by the code of its resize error."""

from __future__ import annotations

from collections.abc import Mapping

from batchspec.plan.observed import PoolFacts
from batchspec.problems import Problem

_MENDS: Mapping[str, str] = {
    "AccountCoreQuotaReached": "Ask for fewer or smaller nodes, delete pools that nobody needs "
    "(batchspec list), or have the account's quota of dedicated cores raised; then apply again.",
    "AccountLowPriorityCoreQuotaReached": "Ask for fewer or smaller Spot nodes or for dedicated "
    "ones, delete pools that nobody needs (batchspec list), or have the account's quota of Spot "
    "cores raised; then apply again.",
    "AllocationFailed": "Mend what the message names, or take another `vm_size` or image, and "
    "apply again. For an image of Windows: --target azure.",
    "AllocationTimedout": "There were no such machines within the pool's `resize_timeout`. Apply "
    "again later, or ask for another `vm_size`, fewer nodes, or dedicated ones in place of Spot.",
    "ResizeStopped": "Somebody stopped the resize. Apply again.",
}
"""Codes of ``PoolResizeErrorCodes``; others are rare, and their message has to do."""


def no_allocation(pool: PoolFacts) -> Problem:
    """The problem of a pool without nodes, from the first of its resize errors."""
    code, message = pool.resize_errors[0]
    return Problem(
        "no-nodes",
        f"the pool {pool.id!r} got no node: {code}",
        detail=message,
        hint=_MENDS.get(code, "Ask for fewer or other nodes, and apply again."),
    )
