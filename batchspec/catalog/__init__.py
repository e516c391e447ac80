"""Facts about Azure that no request of the Batch service returns: VM sizes, images, times.

In: names. Out: facts. Each table names its sources and the date of the last comparison. Not here:
rules about a spec, and code that reads an account or a clock.
"""

from datetime import timedelta

from batchspec.catalog import images, vm_sizes

__all__ = ["NODE_ALLOCATION", "NODE_RELEASE", "images", "vm_sizes"]

# Sources of both: recorded exchanges with Azure Batch and Azure Resource Manager.
NODE_ALLOCATION = timedelta(seconds=226)
"""From the allocation of a node until it has started: the median of 66 recorded allocations."""

NODE_RELEASE = timedelta(seconds=80)
"""From the deletion of a pool until its nodes are released: recorded deletions end at the fifth or
sixth poll, with 15 s between polls.
"""
