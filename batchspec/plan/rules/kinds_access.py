"""Findings about how long nodes can read and write what they need."""

from __future__ import annotations

from batchspec.plan.rules.rule import ERROR, WARNING, Rule, RuleGroup

ACCESS = RuleGroup(
    "Access",
    "Addresses are signed for the time limit of the job and one hour more; what is submitted later"
    " is signed anew.",
    (
        Rule(
            "sas-too-long",
            ERROR,
            "The run may last longer than addresses can be signed for",
            "Without the storage account's key they are signed with a key of the user's, which"
            " lives for seven days.",
            "Take a shorter `max_wall_clock_time`, or set AZURE_STORAGE_KEY.",
        ),
        Rule(
            "sas-ends-early",
            WARNING,
            "A signed address that was handed in expires before the run has to end",
            "Tasks that start after that cannot read or write there.",
            "Hand in one that is good for longer, or name a container of the spec instead.",
        ),
        Rule(
            "tasks-signed-earlier",
            WARNING,
            "Tasks on their way were signed for a shorter run",
            "The job gets more time, but what it holds already was signed for less: those tasks"
            " cannot read and write to the end.",
            "`--replace job` submits them anew.",
        ),
    ),
)
