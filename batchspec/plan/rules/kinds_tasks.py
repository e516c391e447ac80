"""Findings about tasks: what no task can be made of, and what the service would not take."""

from __future__ import annotations

from batchspec.plan.rules.rule import ERROR, NOTE, WARNING, Rule, RuleGroup

TASKS = RuleGroup(
    "Tasks",
    "Every task is made and looked at before one is sent; of many with one fault the first five are"
    " told.",
    (
        Rule(
            "no-items",
            ERROR,
            "A stage has no item, so it has no task",
            "What a spec says itself (its files, its ranges) may not come to nothing.",
            "Mend `match`, `exclude` or the range.",
        ),
        Rule(
            "no-items-now",
            WARNING,
            "A stage has no item this time, so it has no task",
            "There is no such blob in the account, or no row in the file, and that may be so.",
            "Look whether the container or the file is the right one.",
        ),
        Rule(
            "task-id",
            ERROR,
            "An `id` comes to something that no task can be called",
            "Ids have up to 64 letters, digits, `-` and `_`, and are seen by everybody.",
            "Make a text fit with `| slug`, or a long one with `| hash`.",
        ),
        Rule(
            "same-id",
            ERROR,
            "Two tasks or two stages have the same id",
            "To the service, ids that differ only in case are the same: one of them would be lost.",
            "Put into `id` what tells them apart, or `{{ index }}`.",
        ),
        Rule(
            "same-work",
            ERROR,
            "Two tasks of a stage do the same",
            "The id says what a task computes, so the two would be one.",
            "Leave one out, or set `id` with `{{ index }}` in it to run both.",
        ),
        Rule(
            "task-too-large",
            ERROR,
            "A task fits into no request",
            "The service takes requests of up to 1 MB, signatures included.",
            "Take smaller groups, or name containers as `resources`.",
        ),
        Rule(
            "request-too-large",
            ERROR,
            "The pool or the job fits into no request",
            "The service takes requests of up to 1 MB, signatures included.",
            "Put what is long into a file, and hand the file over as a resource.",
        ),
        Rule(
            "command-too-long",
            ERROR,
            "A command is longer than a shell takes",
            "Linux takes 131,071 bytes as one argument, `cmd` a line of 8,191 characters.",
            "Put what is long into a file, and name the file in the command.",
        ),
        Rule(
            "leaves-directory",
            ERROR,
            "A file would be put outside of a task's working directory",
            "The service refuses it.",
            "No path may start with `/` or hold `..`.",
        ),
        Rule(
            "same-file",
            ERROR,
            "Two files of a task would be one on the node",
            "They come to the same path, and which of them stays is left to chance. Files of the"
            " same content do not count.",
            "Give one of them another `file_path`, or a folder in its container (`path` of"
            " `upload`).",
        ),
        Rule(
            "item-not-there",
            WARNING,
            "A command names its item's file, and `resources` leaves it out",
            "`resources` stands in the place of the item's own file, so that no such file is on the"
            " node.",
            'Add `{http_url: "{{ file.url }}", file_path: "{{ file.name }}"}` to `resources`.',
        ),
        Rule(
            "too-many-dependencies",
            ERROR,
            "A task waits for more ids than the service takes",
            "It takes 64,000 characters of them. `needs` has no such bound.",
            "Write `needs: [STAGE]` instead of `depends_on`.",
        ),
        Rule(
            "more-faults",
            ERROR,
            "More tasks have faults like those told",
            "Of many alike, a few tell all.",
            "Mend those that are told, and plan again.",
        ),
        Rule(
            "many-tasks",
            NOTE,
            "A job has more than 200,000 tasks",
            "The service does not vouch for its task counts above that, so that progress may be"
            " shown late. What is done is told by the tasks themselves.",
            "Take larger groups (`group`), or split the run into several specs.",
        ),
        Rule(
            "task-limit-after-job",
            NOTE,
            "A task may take longer than its whole job",
            "The job's time limit ends it first, so that its own has no effect.",
            "Raise `max_wall_clock_time` of the job, or lower that of the stage.",
        ),
        Rule(
            "longer-than-tasks-live",
            WARNING,
            "The job may last longer than tasks live",
            "The service ends a task that is not completed 180 days after it was added.",
            "Take a shorter `max_wall_clock_time`.",
        ),
        Rule(
            "long-tasks-on-spot",
            WARNING,
            "Tasks on Spot nodes may take hours",
            "When a Spot node is taken away, the service starts its tasks over on another,"
            " whatever their `retries`; what they had done is lost, and paid for.",
            "Cut the work into shorter tasks, let programs go on from where they were, or take"
            " dedicated nodes.",
        ),
    ),
)
