"""Findings about the files that a spec uploads and those that a run brings back."""

from __future__ import annotations

from batchspec.plan.rules.rule import ERROR, WARNING, Rule, RuleGroup

FILES = RuleGroup(
    "Files",
    "What is uploaded, and what comes back.",
    (
        Rule(
            "no-match",
            ERROR,
            "A pattern of `upload` matches no file",
            "A run without its input does nothing, and most often the pattern is misspelt.",
            "Mend the pattern; it is relative to the spec, `**` is recursive, and hidden files must"
            " be named.",
        ),
        Rule(
            "missing-file",
            ERROR,
            "A file named in `upload` is not there",
            "Names without a wildcard are promises.",
            "Mend the path; it is relative to the spec.",
        ),
        Rule(
            "not-a-file",
            ERROR,
            "Something that is not a regular file would be uploaded",
            "Sockets, devices and pipes have no content that could be compared.",
            "Leave it out with `exclude`, or narrow the pattern.",
        ),
        Rule(
            "unreadable-file",
            ERROR,
            "A file or folder cannot be read",
            "It would be missing on the nodes.",
            "Give yourself the right to read it, or leave it out with `exclude`.",
        ),
        Rule(
            "bad-blob-name",
            ERROR,
            "A file's name cannot be that of a blob",
            "Storage takes up to 1,024 characters of Unicode, and a control character in a name"
            " makes the whole container unlistable.",
            "Rename the file, set another `path`, or leave it out with `exclude`.",
        ),
        Rule(
            "same-blob-name",
            ERROR,
            "Two files would become one blob",
            "One of them would be lost.",
            "Give one of the entries a `path` (a prefix in the container), or exclude one file.",
        ),
        Rule(
            "missing-container",
            ERROR,
            "A container marked `existing` is not in the account",
            "What is marked so is never created.",
            "Create it, mend its name, or take `existing` out.",
        ),
        Rule(
            "shared-container",
            WARNING,
            "Other specs use a container of this spec",
            "What one of them writes may replace blobs of another, and `results` fetches the blobs"
            " of all. Neither clean-up nor `destroy` deletes a container while another spec uses"
            " it; the specs that do are in its metadata, `batchspec_users`.",
            "Give the container another `id`, or put `match` into `results` and a `path` of its own"
            " into each output.",
        ),
        Rule(
            "same-output",
            ERROR,
            "Tasks write the same blob",
            "Each writes over what the others have written, and one result is left.",
            "Put `{{ task.id }}/` into the `path` of the output.",
        ),
        Rule(
            "results-unwritable",
            ERROR,
            "Results cannot be written where they shall go",
            "It would be told when all tasks have run. Beside the results, a receipt is kept in"
            " `.batchspec/`, in the folder of the spec.",
            "Name another folder in `results.to`, or mend that one.",
        ),
        Rule(
            "results-folder-used",
            WARNING,
            "Results go to a folder that holds other files",
            "With `overwrite` (the default) a result takes the place of a file of its name;"
            " without, the file stays and the result is not fetched.",
            "Name a folder of its own in `results.to`.",
        ),
    ),
)
