"""How long Azure takes to add nodes to a pool and to release them.

Sources: recorded exchanges with Azure Batch and Azure Resource Manager.
"""

from datetime import timedelta

ALLOCATION = timedelta(seconds=226)
"""From the allocation of a node until it has started: the median of 66 recorded allocations."""

RELEASE = timedelta(seconds=80)
"""Until the nodes of a pool that is deleted are released: recorded deletions end with the fifth or
sixth poll, 15 s apart.
"""
