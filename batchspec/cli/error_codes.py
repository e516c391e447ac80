"""The errors of commands that are not rules of specs or causes of waiting.

``batchspec explain`` and ``docs/findings.md`` show :data:`GROUPS`. A test finds every code in the
product. The errors that do not come from a command or a run itself are in
:mod:`batchspec.cli.service_error_codes`.
"""

from __future__ import annotations

from batchspec.cli.service_error_codes import ACCOUNT, DISK, FAILURES, LOCAL, ErrorCode, ErrorGroup

_ELSEWHERE = "Another apply of the spec, or another client, changed the account during the run."
_AGAIN = "Run the command again."

COMMANDS = ErrorGroup(
    "Commands",
    (
        ErrorCode(
            "command-line",
            "The command line is wrong",
            "An option or argument is missing, unknown or invalid.",
            "`batchspec COMMAND --help` lists the options.",
        ),
        ErrorCode(
            "bad-format",
            "The command has no such output format",
            "Only `plan` supports Markdown, and only `local env` supports shell formats.",
            "Use a format that `--help` lists.",
        ),
        ErrorCode(
            "no-packages",
            "The spec has no application packages",
            "`package upload` uploads the entries of `packages`.",
            "Add `packages` to the spec.",
        ),
        ErrorCode(
            "no-package",
            "The account does not have the version of the application",
            "Only a version that exists can be deleted.",
            "`batchspec package list` shows the versions in the account.",
        ),
        ErrorCode(
            "package-used",
            "A pool or an open job uses the version of the application",
            "New nodes and waiting tasks could not install it.",
            "Delete the pool or the job first, or let the job end.",
        ),
        ErrorCode(
            "stopping",
            "Ctrl-C was pressed, and the command stops",
            "Requests that are in progress are completed, so that nothing is lost.",
            "Press it again to end immediately; the output ends with the command that resumes.",
            "note",
        ),
        ErrorCode(
            "output-unwritable",
            "Standard output cannot be written",
            "The disk of the file is full, or the terminal is closed. A run stops, as after "
            "Ctrl-C; tasks in progress continue.",
            "Free disk space or write the output elsewhere, and run the command again.",
        ),
        ErrorCode(
            "unrecorded",
            "The run is not recorded on this machine",
            DISK,
            "The run itself is not affected; `batchspec report` cannot show it.",
            "warning",
        ),
        ErrorCode(
            "notify-command-failed",
            "The command of `notify` did not succeed",
            "It could not be started, ended with an exit code other than 0, or took too long.",
            "The run is not affected. Run the command yourself with the JSON of "
            "`batchspec report --format json`.",
            "warning",
        ),
        ErrorCode(
            "webhook-failed",
            "The webhook of `notify` did not accept the summary",
            "It could not be reached, or returned an error after all retries.",
            "The run is not affected. Check the URL and the headers of `notify.webhook`.",
            "warning",
        ),
        ErrorCode(
            "notify-interrupted",
            "Ctrl-C was pressed while the summary was sent",
            "The run had already ended; the exit code of the command is that of the run.",
            "Check whether the receiver has the summary; `batchspec report SPEC --format json`"
            " prints it.",
            "warning",
        ),
        ErrorCode(
            "bug",
            "An unexpected error ended the command",
            "This is a bug in batchspec.",
            "Report it with the file that the message names.",
        ),
        ErrorCode(
            "needs-answer",
            "The command needs an answer and has no terminal",
            "It would delete something, or change another run.",
            "Use `-y` to answer yes.",
        ),
        ErrorCode(
            "unknown-document",
            "`import` cannot read a file of this kind",
            "It reads pools, jobs, job schedules and tasks as JSON, templates of the Azure"
            " Batch CLI extensions, and the configuration of batch-shipyard.",
            "Export it with `az batch ... show` or `list`.",
        ),
        ErrorCode(
            "no-such-file",
            "A container, task or node has no such file",
            "`cat` prints one blob or file; the message lists those below the name.",
            "`batchspec ls` lists all of them.",
        ),
        ErrorCode(
            "no-such-source",
            "A name is not a container, task or node of the run",
            "A container is named by its key or id, a task or node by its id or a unique part"
            " of it.",
            "`batchspec ls SPEC` lists the containers, `batchspec status` the tasks.",
        ),
        ErrorCode(
            "several-nodes",
            "Several nodes have this part in their ids",
            "A file belongs to one node.",
            "Write a longer part of the id.",
        ),
        ErrorCode(
            "run-failed",
            "A run that a Python program started has not succeeded",
            "The exception contains the report of the run.",
            "Read `report` of the exception, or use `check=False`.",
        ),
        ErrorCode(
            "which-job",
            "A configuration has several jobs, and a spec has one",
            "Each job of batch-shipyard becomes a separate spec.",
            "Name one with `--job ID`.",
        ),
        ErrorCode(
            "bad-json",
            "A file is not valid JSON",
            "The position is that of the first character that JSON does not allow there.",
            "Fix the file, or export it again.",
        ),
        ErrorCode(
            "saved-plan",
            "The file is a saved plan, and the command needs a spec",
            "Only `apply` runs saved plans.",
            "Use the spec of the plan.",
        ),
        ErrorCode(
            "bad-value-source",
            "The value of a secret cannot be read from a file or from standard input",
            "The file of `--var NAME=@FILE` cannot be read, or several parameters"
            " use standard input (`--var NAME=-`), which contains only one value.",
            "Fix the path, or set the environment variable BATCHSPEC_VAR_NAME.",
        ),
        ErrorCode(
            "plan-is-fixed",
            "A saved plan does not accept this option",
            "The option would change its steps.",
            "Save a new plan with the option: `batchspec plan SPEC --out FILE`.",
        ),
        ErrorCode(
            "plan-stale",
            "The saved plan no longer matches the account, the spec or the files",
            "Something changed after the plan was saved, so its steps could change or delete"
            " the wrong things.",
            "Save the plan again: `batchspec plan SPEC --out FILE`.",
        ),
        ErrorCode(
            "bad-plan-file",
            "The plan file cannot be read",
            "Another version of batchspec saved it, or the file is damaged.",
            "Save the plan again: `batchspec plan SPEC --out FILE`.",
        ),
        ErrorCode(
            "plan-not-saved",
            "The plan file cannot be written",
            DISK,
            "Choose another path.",
        ),
        ErrorCode(
            "no-current-folder",
            "The current folder does not exist",
            "It was deleted or replaced after the shell entered it, or its permissions changed.",
            "Change to an existing folder: `cd FOLDER`.",
        ),
        ErrorCode(
            "file-exists",
            "`init` would overwrite files",
            "It never replaces a file.",
            "Choose another folder: `batchspec init FOLDER`.",
        ),
        ErrorCode(
            "unwritable-folder", "A folder cannot be written", DISK, "Choose another folder."
        ),
        ErrorCode("unwritable-file", "A file cannot be written", DISK, "Choose another path."),
        ErrorCode(
            "no-run",
            "The account has no job of the spec",
            "The spec has not been applied yet, its clean-up deleted the job, or the command "
            "uses another account or `name`.",
            "Run `batchspec apply SPEC`.",
        ),
        ErrorCode(
            "no-job-yet",
            "The job schedule has created no job yet",
            "Its first job starts at the next recurrence.",
            "`batchspec status SPEC` shows when.",
        ),
        ErrorCode(
            "no-results",
            "There is nothing to download",
            "The spec has no `results`, or no blob matches them.",
            "Add `results`, or look at the output of the tasks with `batchspec logs SPEC`.",
            "warning or error",
        ),
        ErrorCode(
            "no-task-facts",
            "The report has no data about tasks",
            "The data is read from the service when a run ends, and before it deletes its "
            "job. This "
            "run was interrupted or detached, or its client was killed.",
            "`batchspec apply SPEC` resumes the run and reads the data when it ends.",
            "note",
        ),
        ErrorCode(
            "no-such-task",
            "No task of the run has this id or matches this pattern",
            "It is misspelled, or belongs to another run; `-f` searches only the newest job.",
            "`batchspec logs SPEC` lists the tasks.",
        ),
        ErrorCode(
            "several-tasks",
            "Several tasks match",
            "A partial id must match exactly one task.",
            "Write more of the id.",
        ),
        ErrorCode(
            "no-such-node",
            "The pool has no such node",
            "The id is misspelled, or the pool has released the node.",
            "Use one of the nodes in the message.",
        ),
        ErrorCode(
            "not-started",
            "The task has no output yet",
            "The task waits for a node or for other tasks.",
            "`batchspec logs -f` waits until it starts, and ends if it can no longer start.",
            "note",
        ),
        ErrorCode(
            "no-output",
            "The output of a task no longer exists",
            "The node was released, the retention time has passed, or `logs: false` is set.",
            "Keep `logs` in the spec: the output is then stored in a container.",
        ),
        ErrorCode(
            "not-failed",
            "The task has not failed",
            "`retry` runs failed tasks only.",
            "Use `batchspec apply SPEC --rerun` to run a task that succeeded.",
        ),
        ErrorCode(
            "nothing-to-retry",
            "No task has failed",
            "All tasks succeeded, or the failed tasks belong to an earlier version of the spec or"
            " have another cause. The message names the causes of the run.",
            "`batchspec failures SPEC` shows the causes; `batchspec apply SPEC` runs tasks that"
            " have changed or did not run.",
        ),
        ErrorCode(
            "not-retried",
            "`retry` does not apply to a job schedule",
            "Its next job runs the tasks again.",
            "`batchspec status SPEC` shows when the next job starts.",
        ),
        ErrorCode(
            "no-record",
            "No run of the spec is recorded on this machine",
            "`apply` writes records on the machine that it runs on.",
            "Run `batchspec report` there.",
        ),
        ErrorCode(
            "bad-record",
            "A record of a run cannot be read",
            "The disk or its permissions do not allow it. The run itself is not affected.",
            "Show another run with `batchspec report --run ID`, or delete the record.",
        ),
        ErrorCode(
            "no-such-run",
            "No record has this id",
            "It is misspelled, or older than the 30 records that are kept.",
            "Use one of the ids in the message.",
        ),
    ),
)

RUN = ErrorGroup(
    "A run",
    (
        ErrorCode(
            "file-moved",
            "A file changed between plan and upload",
            "The tasks would run with content that differs from the plan.",
            "Run the command again; it makes a new plan.",
        ),
        ErrorCode(
            "blob-name",
            "A blob cannot have this name",
            "Storage does not accept it.",
            "Rename the file, or set another `path`.",
        ),
        ErrorCode(
            "inputs-missing",
            "Tasks were not submitted because an input was not uploaded",
            "The upload of a file failed.",
            "Fix the cause of the failed upload, and apply again.",
        ),
        ErrorCode(
            "tasks-refused",
            "The service refused tasks",
            "A property has a value that only the service can check.",
            "Fix the property in the message, and apply again.",
        ),
        ErrorCode(
            "tasks-unanswered",
            "The service did not answer for all tasks",
            "Its reply is incomplete.",
            "Run the command again; it adds the tasks that are missing.",
        ),
        ErrorCode(
            "tasks-missing",
            "Tasks that the service accepted are not in the job",
            "Another client deleted them, or the service lost them.",
            "Apply again to add them.",
        ),
        ErrorCode(
            "outputs-gone",
            "Outputs were deleted or lost before their download",
            "Another client deleted them, or the blob store of the embedded service was killed and"
            " lost its last writes.",
            "Apply again: it repeats only the tasks without `results`, and the tasks without an"
            " output with `required: true`.",
        ),
        ErrorCode(
            "tasks-left",
            "Other tasks of the run are not done",
            "They are not part of the command.",
            "`batchspec apply SPEC` runs everything that is left.",
            "warning",
        ),
        ErrorCode(
            "tasks-not-ended",
            "Tasks had not ended half an hour after they were terminated",
            "They are still uploading outputs, or do not stop.",
            "`batchspec status SPEC` shows them.",
        ),
        ErrorCode(
            "job-ended",
            "The job ended before all its tasks were done",
            "`batchspec stop`, another client, or a rule of the job ended it.",
            "Apply again to run the rest.",
            "warning or error",
        ),
        ErrorCode("job-gone", "The job was deleted while it ran", _ELSEWHERE, "Apply again."),
        ErrorCode(
            "job-not-ended",
            "The job had not ended half an hour after it was terminated",
            "A task or a release task does not stop.",
            "`batchspec status SPEC` shows its tasks; `batchspec destroy SPEC` deletes the job.",
        ),
        ErrorCode(
            "time-limit",
            "The time limit of the job has passed",
            "`max_wall_clock_time` limits the cost of a run.",
            "Increase it, and apply again: tasks that succeeded are kept.",
            "warning",
        ),
        ErrorCode(
            "deletion-unfinished",
            "A deletion was not complete after an hour",
            "The service continues it.",
            "`batchspec list` shows whether the object still exists.",
        ),
        ErrorCode(
            "container-gone",
            "A container was deleted before its results were downloaded",
            _ELSEWHERE,
            "The other client may have the results; otherwise apply with `--rerun`.",
        ),
        ErrorCode(
            "unsafe-result",
            "A blob was not downloaded because of its name",
            "A name with `..` or `.git` could replace your files; others are too long for the"
            " disk, or are both a file and a folder. All other results are downloaded.",
            "Rename the output, or exclude the blob with `match`.",
        ),
        ErrorCode(
            "result-kept",
            "A file with other content was not overwritten",
            "It may contain your own changes.",
            "Move the file, or set `overwrite: true` in `results`.",
            "warning",
        ),
        ErrorCode(
            "blob-damaged",
            "A downloaded blob differs from its listing",
            "Another client wrote to it, or the network damaged it.",
            _AGAIN,
        ),
        ErrorCode(
            "node-output-not-stored",
            "The output of failed start tasks was not stored",
            "The nodes or the storage account could not be reached.",
            "Read it before the pool is deleted: `batchspec logs SPEC --start-task NODE`.",
            "warning",
        ),
        ErrorCode(
            "node-output-not-deleted",
            "The output of earlier start tasks was not deleted",
            "The storage account could not be reached.",
            "Delete the folder in the message.",
            "warning",
        ),
    ),
)

GROUPS: tuple[ErrorGroup, ...] = (COMMANDS, RUN, FAILURES, ACCOUNT, LOCAL)
