"""Findings about what goes on costing money, or costs more than it seems to."""

from __future__ import annotations

from batchspec.plan.rules.rule import NOTE, WARNING, Rule, RuleGroup

MONEY = RuleGroup(
    "Money",
    "What is paid for while nobody waits for it. That every job has a time limit is a rule of the"
    " spec itself.",
    (
        Rule(
            "pool-kept",
            WARNING,
            "Nothing ever deletes the pool",
            "Its nodes are paid for by the hour until somebody deletes them.",
            "Write `cleanup: {pool: always}`, `pool: {lifetime: job, ...}`, or"
            " `nodes: {scale: {max: N}}`.",
        ),
        Rule(
            "pool-needs-client",
            NOTE,
            "The pool is deleted by batchspec, and not by the service",
            "If the run is left alone, its nodes are paid for until somebody comes back.",
            "`lifetime: job` or `nodes: {scale: ...}` lets the service end the bill;"
            " `batchspec list --orphans` finds what was left.",
        ),
        Rule(
            "pool-stays",
            WARNING,
            "Nobody deletes the pool when the job has ended",
            "`apply --detach` leaves clean-up to another run.",
            "`batchspec attach` waits, fetches the results and cleans up; `batchspec destroy`"
            " deletes.",
        ),
        Rule(
            "unlimited-retries",
            WARNING,
            "A failing task is run again without end",
            "`-1` has no bound: a task that always fails keeps its node until the job ends.",
            "Write a number of `retries`; what failed for good is run again by `batchspec retry`.",
        ),
        Rule(
            "many-retries",
            WARNING,
            "A failing task is run again more than 10 times",
            "A mistake in the program multiplies the cost of the run by as many.",
            "Take fewer `retries`; what failed for good is run again by `batchspec retry`.",
        ),
    ),
)
