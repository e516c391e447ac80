"""The input of the rules: the spec, the account, and the pool that tasks run on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from batchspec.diagnostics import Place
from batchspec.plan.observed import Observed
from batchspec.spec import PoolKind, Record, Spec, Stage, Value, scale_bounds


@dataclass(frozen=True, slots=True)
class RuleContext:
    """``body`` is the pool as Create Pool takes it; that of a pool marked ``existing`` is empty."""

    spec: Spec
    observed: Observed
    body: Record

    @property
    def existing(self) -> bool:
        """Whether the pool is one that is used as it is."""
        return self.spec.pool.kind is PoolKind.EXISTING

    @property
    def pool(self) -> Record:
        """The properties of the pool that tasks run on: as wanted, or as found."""
        if not self.existing:
            return self.body
        return self.observed.pool.properties if self.observed.pool is not None else Record()

    @property
    def known(self) -> bool:
        """Whether there is anything to be known of the pool."""
        return not self.existing or self.observed.pool is not None

    @property
    def machine(self) -> Record:
        """What its nodes are made of."""
        return record(self.pool.get("virtualMachineConfiguration"))

    @property
    def slots(self) -> int:
        """How many slots a node has."""
        return number(self.pool.get("taskSlotsPerNode"), 1)

    @property
    def scales(self) -> bool:
        """Whether the pool follows a formula."""
        return self.pool.get("enableAutoScale") is True

    @property
    def targets(self) -> tuple[int, int]:
        """How many dedicated and Spot nodes a pool has that does not scale itself."""
        if self.existing and (facts := self.observed.pool) is not None:
            return facts.target_dedicated, facts.target_spot
        dedicated, spot = self.body.get("targetDedicatedNodes"), self.body.get(_SPOT)
        return number(dedicated, 0), number(spot, 0)

    @property
    def spot(self) -> bool:
        """Whether nodes of the pool may be taken away; of others' formulas, whether one asks so."""
        if self.scales:
            return "$TargetLowPriorityNodes" in _text(self.pool.get("autoScaleFormula"))
        return self.targets[1] > 0

    @property
    def least(self) -> int:
        """How many nodes there are however little there is to do; of others' formulas, 0."""
        bounds = scale_bounds(_text(self.pool.get("autoScaleFormula"))) if self.scales else None
        return sum(self.targets) if not self.scales else bounds[0] if bounds is not None else 0

    @property
    def most(self) -> int | None:
        """How many nodes there can be; ``None`` if it depends on a custom formula."""
        if not self.scales:
            return sum(self.targets)
        bounds = scale_bounds(_text(self.pool.get("autoScaleFormula")))
        return bounds[1] if bounds is not None else None

    def at_pool(self, *keys: str) -> Place:
        """Where the first of these keys of the pool is written, or the pool itself."""
        found = self.spec.place(*(f"pool.{key}" for key in keys))
        return found or self.spec.pool.where

    def at_job(self, *keys: str) -> Place:
        """The same for the job."""
        return self.spec.place(*(f"job.{key}" for key in keys)) or self.spec.job.where

    def at_stage(self, stage: Stage, *keys: str) -> Place:
        """The same for a stage."""
        found = self.spec.place(*(f"tasks.{stage.name}.{key}" for key in keys))
        return found or stage.where


_SPOT = "targetLowPriorityNodes"


def record(value: Value) -> Record:
    """An object, or an empty one where there is none."""
    return value if isinstance(value, Record) else Record()


def records(value: Value) -> Iterator[Record]:
    """The objects of a list; nothing where there is none."""
    yield from (item for item in _list(value) if isinstance(item, Record))


def _list(value: Value) -> tuple[Value, ...]:
    return value if isinstance(value, tuple) else ()


def number(value: Value, default: int) -> int:
    """A whole number, or the default where there is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) else default


def _text(value: Value) -> str:
    return value if isinstance(value, str) else ""
