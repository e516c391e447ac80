"""The scheduler: carries out the intent in the store.

The loop is observe, decide, apply: ``observe`` reads the store, ``decide`` is pure, the decisions
are written to the store in one transaction, and the runs that follow from them go to the agent.
HTTP and the wire format of requests do not belong here; API and engine share only the store.
"""

from batchspec.local.engine.engine import Engine
from batchspec.local.engine.environment import NodeConfig
from batchspec.local.engine.runs import NodeFaults, preemption_absence
from batchspec.local.engine.state import Delays

__all__ = ["Delays", "Engine", "NodeConfig", "NodeFaults", "preemption_absence"]
