"""Findings about what a run comes to: done before, under way, in part."""

from __future__ import annotations

from batchspec.plan.rules.rule import ERROR, NOTE, QUESTION, WARNING, Rule, RuleGroup

RUN = RuleGroup(
    "Run",
    "What was done before, and what was asked for on the command line.",
    (
        Rule(
            "other-run",
            QUESTION,
            "Another run of the same name is active",
            "A spec of this name was applied from another folder or host, and its job has tasks"
            " that this spec does not have, or may still get some. Pool, job and containers of"
            " both runs have the same names, so that this run would change those of the other. The"
            " same work from elsewhere joins the job without a question.",
            "Give this spec another `name` to keep the runs apart, or wait until the other run has"
            " ended. The answer yes (`-y`) carries this plan out all the same.",
        ),
        Rule(
            "existing-pool-restart",
            QUESTION,
            "Nodes of an existing pool are to be restarted",
            "The start task or the preparation task failed on these nodes, and runs again after a"
            " restart. The pool was not created by this spec: tasks of other jobs on these nodes"
            " are requeued.",
            "Answer yes (`-y`) if no other job is affected. Otherwise ask the owner of the pool to"
            " restart them: `az batch node reboot --pool-id POOL --node-id NODE`.",
        ),
        Rule(
            "results-gone",
            WARNING,
            "The results of the finished run are nowhere any more",
            "They are neither on this disk nor in the account, so all tasks run again.",
            "Put the results back where they were to keep them.",
        ),
        Rule(
            "results-missing",
            ERROR,
            "Results are in the account that are not on this disk yet",
            "`destroy` would lose them.",
            "`batchspec apply` fetches them; `--force` deletes them all the same.",
        ),
        Rule(
            "work-changed",
            NOTE,
            "All tasks run again although some succeeded in an earlier version",
            "What all tasks share (the program, a parameter, the image) has changed, and so has the"
            " work of every task.",
            "`batchspec retry` runs only the failed tasks and what depends on them, and keeps the"
            " others.",
        ),
        Rule(
            "earlier-version-kept",
            NOTE,
            "Tasks count as done that an earlier version of the program ran",
            "`batchspec retry` kept them, and the spec is still the same as then.",
            "`batchspec apply --rerun` runs everything again.",
        ),
        Rule(
            "run-not-over",
            ERROR,
            "The job of this run has not ended",
            "`--rerun` does finished work again, and nothing is run twice at the same time.",
            "`batchspec attach` waits for it; `--replace job` ends it.",
        ),
        Rule(
            "job-open",
            WARNING,
            "More tasks may come into the job that is waited for",
            "It ends by itself only when it was closed.",
            "If no other terminal is filling it, `batchspec apply` goes on from where it stopped.",
        ),
        Rule(
            "part-of-run",
            NOTE,
            "The job holds a part of the run",
            "That all is well in it does not say that all is well: nothing is cleaned up.",
            "`batchspec apply` looks at all of it, and cleans up.",
        ),
        Rule(
            "not-all-results",
            NOTE,
            "The job is not over: more results may come",
            "`download` fetches what is there now.",
            "`batchspec attach` waits for it and fetches them all.",
        ),
        Rule(
            "part-of-plan",
            NOTE,
            "Only a part of the plan is done",
            "`--target-step` names one step; what it needs comes with it.",
            "Without `--target-step` the rest is done.",
        ),
        Rule(
            "nothing-replaced",
            NOTE,
            "What was to be replaced stays",
            "There is no work to do, so nothing would use it.",
            "`--rerun` does all of it again.",
        ),
    ),
)
