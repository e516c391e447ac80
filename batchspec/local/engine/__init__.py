"""The engine: carries out the intent in the store.

The loop is observe, decide, apply: ``observe`` reads the store, and ``decide`` is pure. The engine
writes the decisions to the store in one transaction, and then passes the new runs to the agent.
HTTP and the wire format of requests do not belong here; API and engine share only the store.
"""

from batchspec.local.engine.engine import Engine
from batchspec.local.engine.environment import NodeConfig
from batchspec.local.engine.runs import NodeFaults, preemption_absence
from batchspec.local.engine.state import Delays
