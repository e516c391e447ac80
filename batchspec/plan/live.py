"""A pool, a job and a schedule as they are: every property that the spec could set, by its path.

What the service counts and stamps (states of nodes, times of change, statistics) is left out: it
moves by itself. No value that may be secret is kept, not even in a digest: of environment settings
the names alone are, and signed addresses are without their query.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping

from batchspec.diagnostics import redact
from batchspec.plan.changes import JOB, POOL, SCHEDULE
from batchspec.plan.digest import digest
from batchspec.plan.observed import JobFacts, PoolFacts, ScheduleFacts
from batchspec.plan.plan import Ground
from batchspec.spec import Record, Value, thaw

ABSENT = "not there"
_SIZES = frozenset({"targetDedicatedNodes", "targetLowPriorityNodes"})
"""What a pool that scales itself changes by itself."""
_HIDDEN = frozenset({"password", "accountKey", "sasKey", "protectedSettings"})
"""Members that the service takes and never shows."""
_SETTING = frozenset({"name", "value"})
_SIGNED = re.compile(r"\?[^\s\"']*\bsig=[^\s\"']*")
"""The query of a signed address: who may read until when, which is renewed now and then."""
_LONGEST = 60
"""Characters of a value that are shown; of a longer one there is a digest."""


def pool_ground(pool: PoolFacts | None) -> Ground:
    """What a pool is."""
    if pool is None:
        return Ground(ABSENT)
    scales = pool.properties.get("enableAutoScale") is True
    keys = [key for key in POOL if not (scales and key in _SIZES)]
    return Ground(pool.state, tuple(_parts(pool.properties, keys, pool.metadata)))


def job_ground(job: JobFacts) -> Ground:
    """What a job is."""
    return Ground(job.state, tuple(_parts(job.properties, JOB, job.metadata)))


def schedule_ground(schedule: ScheduleFacts) -> Ground:
    """What a job schedule is."""
    return Ground(schedule.state, tuple(_parts(schedule.properties, SCHEDULE, schedule.metadata)))


def told(value: Value) -> str:
    """A value as a message shows it: itself if it is short, else ``#`` and a digest."""
    match _plain(value):
        case None:
            return "unset"
        case bool(truth):
            return str(truth).lower()
        case str() | int() | float() as plain:
            text = redact(str(plain))
            return f"#{digest(text)}" if len(text) > _LONGEST or "#" in text else text
        case plain:
            return f"#{digest(redact(json.dumps(plain, sort_keys=True)))}"


def _plain(value: Value) -> object:
    """A value without what may be secret in it."""
    match value:
        case Record():
            return {key: _plain(item) for key, item in value.items() if key not in _HIDDEN}
        case tuple() if all(isinstance(item, Record) and set(item) <= _SETTING for item in value):
            # What a setting of the environment was set to may be a secret.
            return [item.get("name") for item in value if isinstance(item, Record)]
        case tuple():
            return [_plain(item) for item in value]
        case str():
            return _SIGNED.sub("?...", value)
    return thaw(value, lambda text: text.shown)


def _parts(
    properties: Record, keys: Iterable[str], metadata: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    for key in keys:
        if key not in {"id", "metadata"}:
            yield from _flat(key, properties.get(key))
    # Another one of the same name is another one.
    yield from _flat("creationTime", properties.get("creationTime"))
    for name, text in sorted(metadata.items()):
        yield f"metadata.{name}", told(text)


def _flat(path: str, value: Value) -> Iterator[tuple[str, str]]:
    """A property with all that is in it, by dotted paths."""
    if isinstance(value, Record):
        for key, item in sorted(value.items()):
            if key not in _HIDDEN:
                yield from _flat(f"{path}.{key}", item)
    elif value is not None and value != ():
        yield path, told(value)
