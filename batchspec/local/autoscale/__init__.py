"""The language of autoscale formulas: text to tree, tree to targets. Pure.

What lives here: the language alone, as the page "Create a formula to automatically scale compute
nodes in a Batch pool" has it. What may not: a store, a clock, a pool's record.
"""
