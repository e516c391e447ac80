"""Every finding there is, by code: the one place that says what it weighs.

``docs/findings.md`` is made of it. What is found is told by :func:`finding`, which takes the weight
from here, and the mend where there is nothing better to say. What is wrong with the writing of a
spec is told in a room below, which does not know this table; a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Mapping

from batchspec.diagnostics import Diagnostic, Place
from batchspec.plan.rules.kinds_access import ACCESS
from batchspec.plan.rules.kinds_account import ACCOUNT
from batchspec.plan.rules.kinds_files import FILES
from batchspec.plan.rules.kinds_language import LANGUAGE
from batchspec.plan.rules.kinds_machine import MACHINE
from batchspec.plan.rules.kinds_money import MONEY
from batchspec.plan.rules.kinds_nodes import NODES
from batchspec.plan.rules.kinds_reading import READING
from batchspec.plan.rules.kinds_run import RUN
from batchspec.plan.rules.kinds_schedule import SCHEDULE
from batchspec.plan.rules.kinds_tasks import TASKS
from batchspec.plan.rules.kinds_values import VALUES
from batchspec.plan.rules.rule import Rule, RuleGroup

FAMILIES: tuple[RuleGroup, ...] = (
    READING,
    LANGUAGE,
    VALUES,
    FILES,
    MACHINE,
    NODES,
    TASKS,
    ACCESS,
    MONEY,
    ACCOUNT,
    RUN,
    SCHEDULE,
)
CATALOGUE: Mapping[str, Rule] = {kind.code: kind for family in FAMILIES for kind in family.kinds}


def finding(
    code: str, summary: str, *, detail: str = "", where: Place | None = None, fix: str = ""
) -> Diagnostic:
    """A finding of that code; ``fix`` is its mend if nothing else is said.

    Raises:
        KeyError: the catalogue has no such code.
    """
    kind = CATALOGUE[code]
    return Diagnostic(code, summary, detail, where, fix or kind.mend, kind.severity)
