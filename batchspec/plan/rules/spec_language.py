"""Rules about keys and values of a spec. ``spec`` checks them; this is their metadata."""

from __future__ import annotations

from batchspec.plan.rules.rule import ERROR, WARNING, RuleGroup

LANGUAGE = RuleGroup(
    "Keys and values", "All errors of a spec are reported together, each with its position."
)

for _code, _title, _why, _fix in (
    (
        "unknown-key",
        "The key does not exist",
        "It is usually misspelled; an unknown key would have no effect.",
        "Use the suggested key; docs/spec.md lists all of them.",
    ),
    (
        "missing-key",
        "A required key is missing",
        "It has no default.",
        "Add the key.",
    ),
    (
        "no-value",
        "A key has no value",
        "An empty value has no meaning.",
        "Add a value, or remove the key.",
    ),
    (
        "empty",
        "A value must not be empty",
        "It would have no effect, or the service rejects it.",
        "Add a value, or remove the key.",
    ),
    (
        "wrong-type",
        "A value has the wrong type",
        "YAML reads `1` as a number and `yes` as a string.",
        "Write the value as the message says; quotes make any value a string.",
    ),
    (
        "bad-value",
        "A value is not one of the allowed values",
        "The service would reject it.",
        "Use one of the values in the message.",
    ),
    (
        "wrong-count",
        "A list has too few or too many items",
        "The position of each item has a meaning.",
        "Write the number of items that the message states.",
    ),
    (
        "not-a-duration",
        "A value is not a duration",
        "A number without a unit is ambiguous.",
        "Write `90s`, `30m`, `2h`, `7d` or `PT30M`.",
    ),
    (
        "not-a-time",
        "A value is not a time",
        "A time without a time zone is ambiguous.",
        "Write it as `2027-01-31T02:00:00Z`.",
    ),
    (
        "out-of-range",
        "A number or a duration is out of range",
        "The service rejects it.",
        "Use a value within the bounds in the message.",
    ),
    (
        "either-or",
        "Two keys cannot be combined",
        "Only one of them can have an effect.",
        "Remove one of them.",
    ),
    (
        "too-long",
        "A string has too many characters",
        "The service rejects it.",
        "Shorten it.",
    ),
    (
        "too-many",
        "A list has too many items",
        "The service rejects it.",
        "Remove some of them.",
    ),
    (
        "same-value",
        "Two entries have a value that must be unique",
        "The service rejects the second one, or cannot distinguish them.",
        "Change or remove one of the two entries.",
    ),
    (
        "bad-format",
        "A string does not have the documented form",
        "The service rejects it.",
        "Write it in the form that the message shows.",
    ),
    (
        "wrong-system",
        "A Windows setting is used for Linux nodes",
        "The service rejects it.",
        "Remove it, or use a Windows image.",
    ),
    (
        "unknown-user",
        "A task runs as a user that the nodes do not have",
        "The task would fail on the node.",
        "Use the name of one of the pool's `user_accounts`, or declare it there.",
    ),
    (
        "same-for-all",
        "A value that all tasks share refers to one item",
        "The stage has one such value for all its tasks, so it cannot depend on an item.",
        "Remove the reference to the item.",
    ),
    (
        "no-identity",
        "The nodes do not have a managed identity that the spec uses",
        "Nodes can use only the identities of their pool, and an auto pool has none.",
        "Add the resource id to `pool.identity.ids`, or remove the reference.",
    ),
    (
        "bad-package",
        "A package has an invalid version or archive, no files, or the name of another package",
        "A package is either built from `files` or is an existing `zip`. Nodes can install only"
        " zip archives. Names of applications do not distinguish upper and lower case.",
        "Write `version`, and `files` or `zip`, and give each package a unique name.",
    ),
    (
        "unknown-package",
        "A pool or stage lists a package that the spec does not declare",
        "`packages` of a pool or stage are names of `packages` of the spec.",
        "Fix the name, or use `application_package_references` for a package of the account.",
    ),
    (
        "bad-name",
        "A name is invalid",
        "Names are used in commands, ids and URLs.",
        "Write the name as the message says.",
    ),
    (
        "bad-id",
        "An id contains invalid characters",
        "Ids consist of letters, digits, `-` and `_`.",
        "Remove the other characters.",
    ),
    (
        "long-id",
        "An id is too long",
        "Ids have up to 64 characters, those of auto pools up to 20.",
        "Shorten it.",
    ),
    (
        "bad-container-name",
        "A container name is invalid",
        "Storage accepts 3 to 63 lowercase letters, digits and single hyphens.",
        "Set a valid `id`.",
    ),
    (
        "bad-container-metadata",
        "The metadata of a container is invalid",
        "Storage sends them as headers: names are identifiers, values are one line of ASCII.",
        "Fix or remove the entry.",
    ),
    (
        "same-container",
        "Two keys refer to the same container",
        "Their settings would conflict.",
        "Use one key for both.",
    ),
    (
        "same-name",
        "Two variables have the same name",
        "One would hide the other.",
        "Rename one of them.",
    ),
    (
        "unknown-container",
        "A container is not declared in the spec",
        "The name is misspelled, or the spec does not declare it.",
        "Declare it in `containers`: `NAME: {}`.",
    ),
    (
        "unknown-stage",
        "A stage in `needs` does not exist",
        "The name is misspelled, or the spec does not declare it.",
        "Fix the name in `needs`.",
    ),
    (
        "circular",
        "Stages need each other in a cycle",
        "None of them would start.",
        "Remove one of the `needs`.",
    ),
    (
        "no-upload",
        "A stage has a task for each file of a container without `upload`",
        "It would have no tasks.",
        "For blobs that exist, write `blobs` instead of `files`.",
    ),
    (
        "not-an-axis",
        "`exclude` or `include` is among the axes of a matrix",
        "It would be read as an axis.",
        "Write it next to `matrix`.",
    ),
    (
        "same-blob",
        "Every task of a stage would write the same blob",
        "Only one result would remain.",
        'Write `path: "{{ task.id }}/"` in the output.',
    ),
    (
        "no-job-action",
        "An exit code has an action on the job, which the job does not allow",
        "The service rejects the task.",
        "Write `on_task_failure: terminate` in the job.",
    ),
    (
        "command-lines",
        "A command for `cmd` has several lines",
        "`cmd /c` runs one line.",
        "Join the lines with `&&`, or fold them with `>-`.",
    ),
):
    LANGUAGE.describe(_code, ERROR, _title, _why, _fix)

LANGUAGE.describe(
    "no-effect",
    WARNING,
    "A setting has no effect",
    "Readers may rely on it.",
    "Remove it.",
)

LANGUAGE.describe(
    "node-script",
    ERROR,
    "`pool.python` or `clean` cannot be combined with a command",
    "They add lines to commands that `/bin/sh` runs.",
    "Write `command` as a string, on Linux nodes.",
)

LANGUAGE.describe(
    "requirement-of-a-file",
    ERROR,
    "A requirement of `pool.python` names another file",
    "The requirements are part of the start task; nodes do not have the files next to the spec.",
    "Write the packages themselves, or upload the file and install it in `start_task`.",
)

LANGUAGE.describe(
    "registry-address",
    WARNING,
    "The address of a container registry has a scheme",
    "Names of images begin with the host name of the registry, without a scheme.",
    "Write the host name alone.",
)

LANGUAGE.describe(
    "ambiguous-number",
    WARNING,
    "An editor reads a string without quotes as a number",
    "batchspec reads numbers as JSON does. In YAML 1.2, `0755`, `0o17`, `0x1F`, `.5` and `1.` "
    "are also numbers, so an editor reports different errors.",
    "Put the string in quotes.",
)

FORMULA = RuleGroup(
    "Autoscale formulas",
    "The formula of a pool is read with the parser of the embedded service. Positions are "
    "those in the spec, even in block scalars and quoted strings.",
)

for _code, _severity, _title, _why, _fix in (
    (
        "formula-syntax",
        ERROR,
        "The syntax of an autoscale formula is invalid",
        "The service rejects the pool.",
        "Fix the reported position; statements end with `;`.",
    ),
    (
        "formula-unknown",
        ERROR,
        "A formula uses a variable, function, method or member that does not exist",
        "Its evaluation fails, so the pool never gets a node.",
        "Use the suggested name, or set the variable in an earlier statement.",
    ),
    (
        "formula-type",
        ERROR,
        "A formula combines values of incompatible types",
        "Its evaluation fails, so the pool never gets a node.",
        "Use values of the types in the message, for example `max(...)` of samples as a number.",
    ),
    (
        "formula-no-target",
        ERROR,
        "A formula requests no nodes",
        "The pool never gets a node, and the run would last until its time limit.",
        "Set `$TargetDedicatedNodes` or `$TargetLowPriorityNodes`.",
    ),
    (
        "formula-old-name",
        WARNING,
        "A formula uses a name that has been replaced",
        "Later versions of the service may not accept it.",
        "Use the name in the message.",
    ),
):
    FORMULA.describe(_code, _severity, _title, _why, _fix)

VALUES = RuleGroup("Parameters, templates, rows", "Values that are inserted into a spec.")

for _code, _title, _why, _fix in (
    (
        "bad-parameter",
        "The declaration of a parameter is invalid",
        "Values cannot be checked against it.",
        "Fix the declaration; it consists of JSON Schema keywords.",
    ),
    (
        "reserved-name",
        "The name of a parameter is reserved",
        "It would hide a built-in variable.",
        "Rename the parameter.",
    ),
    (
        "missing-variable",
        "A parameter has no value",
        "It has no default, and no value is set.",
        "Set it with `--var NAME=VALUE`.",
    ),
    (
        "unknown-variable",
        "A value is set for an undeclared parameter",
        "The name may be misspelled; the value would have no effect.",
        "Use a name that the spec declares.",
    ),
    (
        "bad-variable",
        "A value does not match the declaration of its parameter",
        "The declaration restricts the values.",
        "Set a valid value.",
    ),
    (
        "secret-in-clear",
        "The spec contains a signature or a key",
        "Specs are committed and shared, so the secret would leak.",
        "Use a container of the spec, or declare a parameter with `secret: true`.",
    ),
    (
        "unquoted-template",
        "A value with `{{` is not quoted",
        "YAML reads it as a mapping.",
        "Quote the value.",
    ),
    (
        "quoted-expression",
        "An expression is where the shell would interpret its value",
        "Values are quoted for the shell, even between single or double quotes. This is not "
        "possible in a comment, a here-document or a command for another shell, and after quotes "
        "that shells read differently.",
        "Move the expression, or use `| quote` for another shell (`sh -c`).",
    ),
    (
        "template-syntax",
        "The syntax of a template is invalid",
        "`{{ }}` can contain only an expression.",
        "Fix the reported position.",
    ),
    (
        "template-statement",
        "A template contains a statement",
        "Templates are expressions; use `for_each` for loops.",
        "Write an expression in `{{ }}`.",
    ),
    (
        "template-call",
        "A template calls a function that is not allowed",
        "Templates compute values without access to anything else.",
        "Use a filter that docs/spec.md lists.",
    ),
    (
        "template-value",
        "A template cannot be evaluated",
        "It has no value for this item, or a value that is not allowed here.",
        "Fix the template, or add `| default(...)`.",
    ),
    (
        "unknown-name",
        "A template uses an unknown name",
        "It is misspelled, or belongs to another stage.",
        "Use one of the names in the message.",
    ),
    (
        "bad-rows",
        "The file for `rows` has an unsupported type",
        "The extension determines the format.",
        "Use a `.csv`, `.tsv` or `.jsonl` file.",
    ),
    (
        "rows-format",
        "The format of a file of rows is not supported",
        "The extension determines the format.",
        "Use a `.csv`, `.tsv` or `.jsonl` file.",
    ),
    (
        "rows-encoding",
        "The encoding of a file of rows is not supported",
        "The file is read as UTF-8, or as UTF-16 if it starts with a byte order mark.",
        "Save the file as UTF-8.",
    ),
    (
        "rows-header",
        "The first line of a file of rows does not name its columns",
        "Columns are variables.",
        "Give each column a unique name.",
    ),
    (
        "rows-width",
        "A row has more or fewer columns than the first line",
        "Values would be in the wrong column.",
        "Fix the row; quote a value that contains a comma.",
    ),
    (
        "rows-syntax",
        "The syntax of a row is invalid",
        "The row does not have the form that the extension of the file requires.",
        "Fix the reported line.",
    ),
    (
        "bad-notify",
        "The notification is not valid",
        "It needs a command or a webhook, and a run waits at most 10 minutes for it.",
        "Write `notify: {command: ./notify.sh}`, and a `timeout` of at most `10m`.",
    ),
    (
        "bad-webhook",
        "The URL or a header of the webhook is not valid",
        "The summary is sent with encryption, except to this machine; a header is one line.",
        "Write an https URL without a user name; put credentials in `headers`.",
    ),
    (
        "changed-file",
        "A file of rows changed while it was read",
        "Some tasks would use the old content and some the new.",
        "Run `batchspec plan` again when the file is complete.",
    ),
):
    VALUES.describe(_code, ERROR, _title, _why, _fix)

VALUES.describe(
    "unknown-vault",
    WARNING,
    "A secret resembles the URL of a secret in a key vault, with another host",
    "The token of the sign-in is sent only to hosts of Azure Key Vault, and values are read only"
    " there. With another host, the URL itself is the value of the parameter.",
    "For the value in the vault, use the output of `az keyvault secret show --query id --output"
    " tsv`.",
)
