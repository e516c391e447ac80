"""Findings about job schedules."""

from __future__ import annotations

from batchspec.plan.rules.rule import ERROR, WARNING, Rule, RuleGroup

SCHEDULE = RuleGroup(
    "Schedules",
    "What `job.schedule` makes the service do, time and again and without anybody there.",
    (
        Rule(
            "no-cleanup",
            WARNING,
            "`cleanup` stands in the spec of a schedule",
            "Nothing is cleaned up after one job, since others come.",
            "Leave `cleanup` out; `batchspec destroy` deletes the schedule and all else.",
        ),
        Rule(
            "not-of-manager",
            ERROR,
            "The task of a schedule has what the first task of a job cannot have",
            "It is the job manager task, of which the service takes less.",
            "Leave it out; or have a `job_manager_task` add a task that has it.",
        ),
        Rule(
            "one-task",
            ERROR,
            "The jobs of a schedule begin with one task, and the spec has others",
            "The service makes the jobs, and nobody is there to submit more.",
            "Do all of it in one command; have a `job_manager_task` add tasks; or leave `schedule`"
            " out, and let cron or CI apply the spec.",
        ),
        Rule(
            "endless-schedule",
            ERROR,
            "The schedule has no end, and the addresses that its jobs are handed have one",
            "A signature is good until a moment; after it, no job could read or write its data.",
            "Say `until`; or have the nodes sign in: `identity_reference` in outputs, `logs` and"
            " resource files, and an identity of the pool.",
        ),
        Rule(
            "schedule-over",
            ERROR,
            "The time is over in which the schedule would make jobs",
            "The service would take it, and end it at once.",
            "Say a later `until`; `batchspec destroy` deletes what is there.",
        ),
        Rule(
            "schedule-not-ours",
            ERROR,
            "A job schedule of that id is there that this spec did not make",
            "What others made is never changed.",
            "Give yours another `id`, or delete that schedule.",
        ),
        Rule(
            "schedule-there",
            ERROR,
            "A job schedule has the id of the job",
            "Jobs and schedules share their ids; this spec may have had a `schedule` before.",
            "Give the job another `id`, or delete that schedule.",
        ),
        Rule(
            "job-in-the-way",
            ERROR,
            "A job has the id of the schedule",
            "Jobs and schedules share their ids, and a job keeps its own until it is deleted.",
            "Give the schedule another `id`, or delete that job.",
        ),
        Rule(
            "schedule-goes-on",
            ERROR,
            "A schedule that goes on has nothing to be run again",
            "`--rerun` does finished work again; this does so by itself.",
            "`--replace job` deletes it with its jobs, and makes it anew.",
        ),
        Rule(
            "schedule-drift",
            WARNING,
            "Somebody has changed the schedule since this spec made it",
            "It stays so: who changed it had a reason.",
            "`--replace job` makes it anew, as the spec says.",
        ),
        Rule(
            "schedule-disabled",
            WARNING,
            "Somebody has disabled the schedule",
            "It makes no jobs until it is enabled.",
            "Enable it (`az batch job-schedule enable`), or make it anew: `--replace job`.",
        ),
    ),
)
