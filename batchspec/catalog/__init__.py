"""Facts about Azure that no request of the Batch service returns: VM sizes, images, times.

Names enter, facts leave. Each table names its sources and the date of the last comparison. Rules
about a spec, and everything that reads an account or a clock, may not live here.
"""

from batchspec.catalog import images, node_times, vm_sizes

__all__ = ["images", "node_times", "vm_sizes"]
