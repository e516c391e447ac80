"""Rules about a spec as a file and as YAML. ``spec`` checks them; this is their metadata."""

from __future__ import annotations

from batchspec.plan.rules.rule import ERROR, RuleGroup

SPEC_FILE = RuleGroup(
    "The spec file",
    "A spec is one YAML 1.2 document in UTF-8. batchspec stops reading at the first of these "
    "errors.",
)

for _code, _title, _why, _fix in (
    (
        "no-file",
        "The spec does not exist",
        "The path is misspelled, or the file was moved or deleted.",
        "Fix the path. `batchspec init FOLDER` creates a spec to start with.",
    ),
    (
        "no-permission",
        "Permission to read the spec is denied",
        "The file exists, but your user is not allowed to read it.",
        "Change the permissions of the file: `chmod u+r FILE`.",
    ),
    (
        "not-readable",
        "The spec cannot be read",
        "The disk or the network reports an error.",
        "Check the system's error message, and try again.",
    ),
    (
        "not-utf8",
        "The spec is not UTF-8",
        "The encoding cannot be detected reliably.",
        "Save the file as UTF-8.",
    ),
    (
        "control-character",
        "The spec contains an invisible control character",
        "YAML does not allow it, and an editor may not show it.",
        "Delete the character.",
    ),
    (
        "too-large",
        "The file or a formula is too large",
        "A spec describes a run and does not contain its data. The service accepts formulas of up"
        " to 8 KiB.",
        "Move data to a `.csv` or `.jsonl` file, and use `for_each: {rows: FILE}`.",
    ),
    (
        "not-yaml",
        "The file is not valid YAML",
        "YAML cannot be parsed beyond the reported line.",
        "Fix the reported line. Often a quote or a bracket in an earlier line is the cause.",
    ),
    (
        "not-a-mapping",
        "The file contains no keys",
        "A spec is a mapping of keys to values.",
        "Start the file with `version: 1`.",
    ),
    (
        "two-documents",
        "The file contains two documents",
        "A spec is one document.",
        "Write each spec to its own file, and delete the line `---`.",
    ),
    (
        "tab",
        "A line is indented with a tab",
        "YAML allows only spaces.",
        "Use spaces.",
    ),
    (
        "bad-indent",
        "The indentation of a line does not match the lines above",
        "It could belong to either of two keys.",
        "Indent it like the lines next to it, and quote values with special characters.",
    ),
    (
        "bad-colon",
        "A `:` is not allowed here",
        "YAML reads `: ` as the end of a key.",
        "Quote a string that contains `: `, and indent the line like the lines next to it.",
    ),
    (
        "no-colon",
        "A key has no `:`",
        "A key needs a value.",
        "Write `key: value`.",
    ),
    (
        "no-key",
        "A `:` has no key before it",
        "A value needs a key.",
        "Write `key: value`.",
    ),
    (
        "unclosed",
        "A bracket or a quote is not closed",
        "Everything that follows would be part of it.",
        "Add the missing bracket or quote.",
    ),
    (
        "bad-escape",
        "A backslash in double quotes does not start a valid escape sequence",
        "YAML has a fixed set of escape sequences.",
        "Write two backslashes, or use single quotes.",
    ),
    (
        "bad-list",
        "A list item is not allowed here",
        "In a block list each item has its own line.",
        "Start the item on a new line, or write `[a, b]`.",
    ),
    (
        "bad-block",
        "A string follows `|` or `>` on the same line",
        "The string of a block starts on the next line.",
        "Start the string on the next line, indented; quote a string that starts with `|` or `>`.",
    ),
    (
        "after-value",
        "Text follows the end of a value",
        "A quote ended the value earlier than intended.",
        "Quote the whole value; within single quotes, write `'` twice.",
    ),
    (
        "unquoted-star",
        "A string that starts with `*` is not quoted",
        "YAML reads it as an alias.",
        'Quote it, as in `"*.csv"`.',
    ),
    (
        "bad-start",
        "A value starts with a reserved character",
        "The character has a special meaning in YAML.",
        "Quote the value.",
    ),
    (
        "bad-key",
        "A key is not a string",
        "Keys are names, and a name is a string.",
        "Quote the key.",
    ),
    (
        "duplicate-key",
        "A key appears twice",
        "YAML would silently ignore one of them.",
        "Remove one.",
    ),
    (
        "bad-merge",
        "`<<` merges a value that is not a mapping",
        "Only a mapping has keys to merge.",
        "Use the alias of a mapping, such as `<<: *NAME`.",
    ),
    (
        "unknown-anchor",
        "An alias refers to an anchor that does not exist",
        "The alias has no value.",
        "Write `&NAME` before the value.",
    ),
    (
        "unknown-tag",
        "A tag has no meaning in a spec",
        "Tags can execute code in other programs, so a spec does not support them.",
        "Remove the tag.",
    ),
    (
        "recursive",
        "An anchor contains itself",
        "Its expansion would never end.",
        "Remove the alias.",
    ),
    (
        "alias-bomb",
        "Aliases of aliases expand to too many values",
        "A few lines could use all memory.",
        "Write the values without aliases.",
    ),
    (
        "too-deep",
        "The spec is nested too deeply",
        "No spec needs that many levels.",
        "Remove brackets.",
    ),
):
    SPEC_FILE.describe(_code, ERROR, _title, _why, _fix)
