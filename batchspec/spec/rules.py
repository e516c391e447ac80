"""What must hold between parts of a spec, and what the service would refuse only later.

Each rule looks at the tree (shape already checked, wrong parts gone) and yields problems; none may
fail on a tree that lacks something.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

from batchspec.problems import Problem
from batchspec.spec.node import Node
from batchspec.spec.rules_job import job_rules
from batchspec.spec.rules_names import name_rules, secret_rules
from batchspec.spec.rules_pool import pool_rules
from batchspec.spec.rules_references import reference_rules
from batchspec.spec.rules_schedule import schedule_rules
from batchspec.spec.rules_stage import stage_rules

Rule: TypeAlias = Callable[[Node], Iterator[Problem]]

RULES: tuple[Rule, ...] = (
    name_rules,
    secret_rules,
    pool_rules,
    job_rules,
    schedule_rules,
    reference_rules,
    stage_rules,
)


def broken(root: Node) -> Iterator[Problem]:
    """Every rule that the spec breaks."""
    for rule in RULES:
        yield from rule(root)
