"""Facts about Azure that no request of the Batch service returns: VM sizes, images, times.

Names enter, facts leave. Each table names its sources and the date of the last comparison. Rules
about a spec, and everything that reads an account or a clock, may not live here.
"""

from datetime import timedelta

from batchspec.catalog import images, vm_sizes

__all__ = ["NODE_ALLOCATION", "NODE_RELEASE", "images", "vm_sizes"]

# Sources of both: recorded exchanges with Azure Batch and Azure Resource Manager.
NODE_ALLOCATION = timedelta(seconds=226)
"""From the allocation of a node until it has started: the median of 66 recorded allocations."""

NODE_RELEASE = timedelta(seconds=80)
"""Until the nodes of a pool that is deleted are released: recorded deletions end with the fifth or
sixth poll, 15 s apart.
"""
