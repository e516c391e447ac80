"""What to do about a resize error, by its code: one table for findings, causes and refusals.

The codes are those of ``PoolResizeErrorCodes`` in azure-batch.
"""

from __future__ import annotations

from collections.abc import Mapping

RESIZE_FIX: Mapping[str, str] = {
    "AccountCoreQuotaReached": "Request fewer nodes or a smaller `vm_size`, delete unused pools "
    "(`batchspec list`), or have the account's quota of dedicated cores raised; then apply again.",
    "AccountLowPriorityCoreQuotaReached": "Request fewer or smaller Spot nodes, or dedicated "
    "ones, delete unused pools (`batchspec list`), or have the account's quota of Spot cores "
    "raised; then apply again.",
    "AllocationFailed": "Fix what the message names, or use another `vm_size` or image, and apply "
    "again. For a Windows image: `--target azure`.",
    "AllocationTimedout": "No VMs of this size were available within the pool's `resize_timeout`. "
    "Apply again later, or request another `vm_size`, fewer nodes, or dedicated ones instead of "
    "Spot.",
    "ResizeStopped": "Another client stopped the resize. Apply again.",
}
"""The code of a resize error → what to do next."""

OTHER_FIX = "Request fewer or other nodes, and apply again."
"""What to do about a resize error with another code."""


def resize_fix(code: str) -> str:
    """What to do about a resize error with this code."""
    return RESIZE_FIX.get(code, OTHER_FIX)
