"""Findings about what is in the account: other people's things, quotas, what somebody changed."""

from __future__ import annotations

from batchspec.plan.rules.rule import ERROR, WARNING, Rule, RuleGroup

ACCOUNT = RuleGroup(
    "Account",
    "What is there already. The quotas of an account are not told by the Batch service; numbers are"
    " held against those that Azure gives by default.",
    (
        Rule(
            "missing-pool",
            ERROR,
            "A pool marked `existing` is not in the account",
            "What is marked so is never created.",
            "Name a pool that is there, or describe one so that it is made.",
        ),
        Rule(
            "pool-differs",
            ERROR,
            "A pool of that id is there that this spec did not make",
            "What others have made is never changed.",
            "Use it as it is (`pool: {existing: ID}`), or give yours another `id`.",
        ),
        Rule(
            "pool-drift",
            WARNING,
            "Somebody has changed the pool since this spec made it",
            "The spec has not changed, so the pool stays as it is; another number of nodes is a"
            " step of the plan.",
            "`--replace pool` makes it anew, as the spec says.",
        ),
        Rule(
            "job-not-ours",
            ERROR,
            "A job of that id is there that this spec did not make",
            "Its tasks are somebody else's.",
            "Give yours another `id`, or delete that job.",
        ),
        Rule(
            "pools-near-quota",
            WARNING,
            "The account is about to have as many pools as it may",
            "By default it is up to 100 (500 at most, on request); at its quota the service makes"
            " no pool (`PoolQuotaReached`).",
            "Delete what nobody uses: `batchspec list --orphans` finds it.",
        ),
        Rule(
            "jobs-near-quota",
            WARNING,
            "The account is about to have as many active jobs as it may",
            "Active jobs and schedules count together: 100 to 300 by default, 1,000 at most; at its"
            " quota the service makes no job (`ActiveJobAndScheduleQuotaReached`).",
            "End jobs that have nothing left to do.",
        ),
    ),
)
