"""Errors of tasks and nodes, of the accounts, and of the embedded service.

The causes of failed tasks and nodes are those that `failures` prints and `retry --cause` accepts.
"""

from __future__ import annotations

import re
from functools import partial
from typing import NamedTuple

DISK = "The disk is full, the folder is read-only, or its permissions do not allow it."
"""Why a file cannot be written."""


class ErrorCode(NamedTuple):
    """A code with its meaning, its reason and its fix.

    ``severity`` is that of the message: ``error``, ``warning``, ``note``, or ``warning or error``
    where it depends on the situation; ``cause`` is a cause of failed tasks or nodes.
    """

    code: str
    title: str
    why: str
    fix: str
    severity: str = "error"


class ErrorGroup(NamedTuple):
    """Errors about one subject."""

    title: str
    codes: tuple[ErrorCode, ...]


_cause = partial(ErrorCode, severity="cause")
_READ = "Read its output with `batchspec logs SPEC TASK --stderr`"
_RETRY = "then run it again with `batchspec retry`."
_NODE_DENIED = (
    "The firewall of the Storage account does not admit the nodes, the signature of the URL has"
    " expired, or the managed identity of the nodes has no role."
)
_ADMIT_NODE = (
    "Put the pool into a subnet that the Storage account admits, or assign 'Storage Blob Data"
    f" Contributor' to the identity, {_RETRY}"
)

FAILURES = ErrorGroup(
    "Failed tasks",
    (
        _cause(
            "exit-N",
            "The command of the task ended with the exit code N",
            "Every exit code except 0 is a failure, unless `exit_codes` of the stage gives it "
            "another"
            " meaning.",
            f"{_READ}, fix the cause, {_RETRY}",
        ),
        _cause(
            "timeout",
            "The task reached a time limit",
            "The task exceeded `max_wall_clock_time` of its stage, or the job exceeded its limit.",
            f"Increase the limit or make the task shorter, {_RETRY}",
        ),
        _cause(
            "upload",
            "An output file of the task could not be uploaded",
            "A failed upload fails the task, whatever its exit code.",
            "`batchspec failures` shows the message of the service, and the file.",
        ),
        _cause(
            "preempted",
            "The node of the task was preempted, and the task did not run again",
            "Azure reclaims Spot nodes when it needs the capacity.",
            "Run it again with `batchspec retry`, or use dedicated nodes.",
        ),
        _cause(
            "job-ended",
            "The job was terminated while the task ran",
            "A user, another client, or the rule for a failed task terminated the job.",
            "`batchspec status` shows the reason; `batchspec retry` runs the task again.",
        ),
        _cause(
            "ended",
            "The task was terminated by request",
            "`batchspec stop SPEC TASK` or another client ended it; the job continued.",
            "`batchspec failures` shows the recorded reason; `batchspec retry` runs it again.",
        ),
        _cause(
            "start-task",
            "The start task of nodes failed",
            "Nodes whose start task failed run no tasks.",
            "Read its output with `batchspec logs SPEC --start-task NODE`, fix"
            " `pool.start_task`, and apply the spec again.",
        ),
        _cause(
            "start-task-running",
            "The start task of nodes had not ended at the time limit of the job",
            "Nodes run no tasks before their start task has ended.",
            "Fix `pool.start_task` or increase `job.max_wall_clock_time`, and apply the spec"
            " again.",
        ),
        _cause(
            "preparation-task",
            "The job preparation task of nodes failed",
            "Nodes whose preparation task failed run no tasks of the job.",
            "Fix `job.prepare`, and apply the spec again.",
        ),
        _cause(
            "unusable",
            "The service cannot use the nodes",
            "A node did not start, or lost its connection to the service.",
            "`batchspec failures` shows the errors of the nodes. Fix the cause in the pool, and"
            " apply the spec again.",
        ),
        _cause(
            "command-program-not-found",
            "The program of the command is not on the node",
            "No step installs the program on the node, or its path is wrong.",
            "Install it in `pool.start_task`, upload it with `resources`, or fix the command.",
        ),
        _cause(
            "blob-not-found",
            "A resource file of the task does not exist in the container",
            "It was deleted or renamed, or was never written.",
            "Upload it or fix its path, then run the task again with `batchspec retry`.",
        ),
        _cause(
            "blob-access-denied",
            "The node is not allowed to read a resource file of the task",
            _NODE_DENIED,
            _ADMIT_NODE,
        ),
        _cause(
            "resource-container-access-denied",
            "The node is not allowed to list or read a container with resource files of the task",
            _NODE_DENIED,
            _ADMIT_NODE,
        ),
        _cause(
            "blob-download-timed-out",
            "The node did not download a resource file of the task in time",
            "The file is large, or many nodes read from the Storage account at once.",
            f"`batchspec failures` shows the message of the service. Fix the cause, {_RETRY}",
        ),
        _cause(
            "blob-download-misc-error",
            "The node could not download a resource file of the task",
            "The network of the node does not reach the Storage account, or the blob is in the"
            " access tier Archive.",
            f"`batchspec failures` shows the message of the service. Fix the cause, {_RETRY}",
        ),
        _cause(
            "disk-full",
            "The disk of the node is full",
            "The node keeps the files of its tasks, by default for seven days, and they need more"
            " space than it has.",
            f"Use a `vm_size` with a larger disk, or a shorter `retention_time`, {_RETRY}",
        ),
        _cause(
            "unknown",
            "The task failed, and the service reports no cause",
            "There is neither an exit code nor an error.",
            f"{_READ}, {_RETRY}",
        ),
    ),
)

ACCOUNT = ErrorGroup(
    "Accounts",
    (
        ErrorCode(
            "account-incomplete",
            "A setting of the account is missing",
            "The Azure target needs the names of the Batch and Storage accounts.",
            "Set the variable in the message, or use `--target local`.",
        ),
        ErrorCode(
            "account-conflict",
            "Two settings name different storage accounts",
            "Inputs and outputs would be in different accounts.",
            "Unset one of the variables.",
        ),
        ErrorCode(
            "bad-endpoint",
            "The URL of the account is not valid",
            "It must have the form `https://NAME.REGION.batch.azure.com`.",
            "Fix AZURE_BATCH_ENDPOINT.",
        ),
        ErrorCode(
            "bad-token-file",
            "The token of the embedded service cannot be read",
            "`BATCHSPEC_LOCAL_TOKEN_FILE` names the file; the control plane requires the token.",
            'Set the variables again: `eval "$(batchspec local env)"`.',
        ),
        ErrorCode(
            "bad-connection-string",
            "The connection string is incomplete",
            "It must contain the name and the key of the account.",
            "Use the output of `az storage account show-connection-string`.",
        ),
        ErrorCode(
            "token-needs-https",
            "Sign-in without a key needs an https URL",
            "Over http, others could read the token.",
            "Use an https URL, or set the account key.",
        ),
        ErrorCode(
            "bad-sign-in",
            "A setting of the sign-in with Microsoft Entra ID is wrong or incomplete",
            "Without account keys, azure-identity reads AZURE_TOKEN_CREDENTIALS,"
            " AZURE_AUTHORITY_HOST, AZURE_TENANT_ID, AZURE_CLIENT_ID and related variables.",
            "Fix or unset the variable in the message.",
        ),
        ErrorCode(
            "no-credential",
            "No credential was found",
            "There is no account key, and no sign-in of Microsoft Entra ID succeeded.",
            "Run `az login`, or set the account keys.",
        ),
        ErrorCode(
            "account-not-found",
            "Azure Resource Manager does not find the Batch account",
            "No account that your identity can read in the subscription (AZURE_SUBSCRIPTION_ID) or"
            " group (AZURE_RESOURCE_GROUP), or in all of them if not set, has the endpoint.",
            "Set the two variables as in the message; your identity needs the role 'Azure Batch"
            " Account Reader' on the account.",
        ),
        ErrorCode(
            "pool-changed-meanwhile",
            "Another client changed a pool at the same time",
            "The update was based on an earlier state of the pool, so the service rejected it.",
            "Run `batchspec plan` to see what differs.",
        ),
        ErrorCode(
            "no-auto-storage",
            "The Batch account cannot store application packages",
            "Packages are blobs of the Storage account that is linked to the Batch account.",
            "Link one: `az batch account set --storage-account ID`.",
        ),
        ErrorCode(
            "package-damaged",
            "The stored archive of an application package differs from the one that was uploaded",
            "The version was not activated: nodes would fail to unpack it.",
            "Run the command again.",
        ),
        ErrorCode(
            "key-vault-sign-in",
            "A secret in a key vault cannot be read without a sign-in",
            "No sign-in of Microsoft Entra ID succeeded, or the vault belongs to another tenant.",
            "Run `az login`, with `--tenant` if the message names one.",
        ),
        ErrorCode(
            "key-vault-denied",
            "A key vault refuses to show a secret",
            "Your identity lacks the permission, or the vault does not accept this network.",
            "Assign the role 'Key Vault Secrets User' on the vault, or allow the network.",
        ),
        ErrorCode(
            "key-vault-secret",
            "A secret in a key vault does not exist or is disabled",
            "Its name or version is wrong, or it was disabled or deleted.",
            "Enable it, recover it with `az keyvault secret recover`, or fix the URL.",
        ),
        ErrorCode(
            "key-vault-unreachable",
            "A key vault does not answer a request for a secret",
            "The name of the vault may be wrong, the network may not reach it, or it is busy.",
            "Check the URL and the network, and run the command again.",
        ),
        ErrorCode(
            "bad-answer",
            "The response of the service is not valid",
            "A proxy replaced it, or the URL is not that of the service.",
            "Check the URL of the account, and run the command again.",
        ),
        ErrorCode(
            "unreachable",
            "The service cannot be reached",
            "The network is down, a firewall blocks the connection, or the account name is wrong.",
            "Check the URL and the network, and run the command again.",
        ),
    ),
)

_NODE = "Azurite, the blob store of local runs, is a Node.js program."
_NODE_FIX = "Add Node.js with the command in the message, or set BATCHSPEC_NODE."
_LOG = "The message has the last lines of the log; `batchspec local status` shows its path."


def _switch(code: str, variable: str, subject: str, value: int) -> ErrorCode:
    return ErrorCode(
        code,
        f"BATCHSPEC_LOCAL_{variable} is neither 1 nor 0",
        f"It switches {subject} on or off.",
        f"Set it to {value}, or unset it.",
    )


def _option(name: str, subject: str, values: str) -> ErrorCode:
    return ErrorCode(
        f"{name}-unreadable",
        f"The {subject} of the embedded service is not valid",
        f"It is {values}.",
        f"Fix `--{name}` or BATCHSPEC_LOCAL_{name.upper()}.",
    )


LOCAL = ErrorGroup(
    "The embedded service",
    (
        ErrorCode("no-node", "Node.js is not installed", _NODE, _NODE_FIX),
        ErrorCode("node-too-old", "Node.js is too old", _NODE, _NODE_FIX),
        ErrorCode("node-broken", "Node.js does not start", _NODE, _NODE_FIX),
        ErrorCode("no-npm", "Azurite cannot be installed without npm", _NODE, _NODE_FIX),
        ErrorCode(
            "npm-failed",
            "npm could not install Azurite",
            "The first local run downloads it from the npm registry.",
            "Check npm's configuration; the message has the last lines of its log.",
        ),
        ErrorCode(
            "install-busy",
            "Another process is installing Azurite",
            "Only one process can install it at a time.",
            "Wait until it has finished, or stop it.",
        ),
        ErrorCode(
            "azurite-integrity",
            "A package of Azurite does not match its hash",
            "The registry or a proxy changed it; nothing was installed.",
            "Find the cause before you try again.",
        ),
        ErrorCode(
            "cache-unwritable",
            "Azurite cannot be installed into the cache folder",
            DISK,
            "Free space, or use another folder: `export XDG_CACHE_HOME=FOLDER`.",
        ),
        ErrorCode(
            "azurite-exited",
            "Azurite ended before it was ready",
            "Azurite cannot use its folder or its port.",
            _LOG,
        ),
        ErrorCode(
            "azurite-port-taken",
            "Another program uses Azurite's port",
            "Only one program can listen on a port.",
            "Use port 0 for any free port.",
        ),
        ErrorCode(
            "azurite-damaged",
            "The installed Azurite is incomplete",
            "Files were deleted, or another Node.js is used.",
            "Delete the folder in the message; the next start installs it again.",
        ),
        ErrorCode(
            "azurite-not-ready",
            "Azurite did not become ready",
            "The machine is slow or busy.",
            _LOG,
        ),
        ErrorCode(
            "azurite-restarted",
            "Azurite ended during a run and was restarted",
            "It was killed, for example because the machine ran out of memory. It loses containers"
            " and blobs of the last 5 seconds.",
            "Apply again: the command creates and uploads what is missing, and repeats tasks"
            " without `results`.",
            severity="warning",
        ),
        ErrorCode(
            "azurite-keeps-ending",
            "Azurite keeps exiting",
            "Its data may be damaged, or the operating system kills it to free memory.",
            _LOG,
        ),
        ErrorCode(
            "account-exposed",
            "Other users can read the account key",
            "They could use the service, which runs processes as you.",
            "Delete the file in the message to get a new key.",
        ),
        ErrorCode(
            "account-damaged",
            "The file with the account key is damaged",
            "It was edited, or the disk was full.",
            "Delete the file in the message to get a new key.",
        ),
        ErrorCode(
            "data-foreign",
            "The data folder was not created by the service, or belongs to another user",
            "`local reset` would delete the files in it.",
            "Set BATCHSPEC_LOCAL_HOME to an empty or new folder, or run the command as its owner.",
        ),
        ErrorCode(
            "data-unwritable",
            "The data folder cannot be used",
            DISK,
            "Free disk space, fix its permissions, or use another folder: "
            "`export BATCHSPEC_LOCAL_HOME=FOLDER`.",
        ),
        ErrorCode(
            "identities-unreadable",
            "The rights of managed identities in the data folder are not valid",
            "The service would give nodes other rights than intended.",
            "Write one identity per line: `NAME = CONTAINER:read, CONTAINER:write`.",
        ),
        ErrorCode(
            "data-locked",
            "Another process uses the data folder",
            "Two services would damage the data.",
            "End the process in the message.",
        ),
        ErrorCode(
            "local-stopped",
            "The embedded service has stopped",
            "It was stopped or killed while a command used it, or an error ended it, such as a "
            "full disk; `batchspec local status` shows the error. Its state is kept.",
            "Start it with `batchspec local start`, and run the command again.",
        ),
        ErrorCode(
            "data-gone",
            "The data folder was deleted while the service ran",
            "The service stops without its data.",
            "Start it again: `batchspec local start`.",
        ),
        ErrorCode(
            "state-newer",
            "A newer version of batchspec has written the state",
            "An older version cannot read it, and does not change it.",
            "Install that version, or delete the state: `batchspec local reset`.",
        ),
        ErrorCode(
            "state-damaged",
            "The state of the service is damaged",
            "Another program changed or truncated a file in the data folder.",
            "Restore the folder, or delete the state: `batchspec local reset`.",
        ),
        ErrorCode(
            "limit-unreadable",
            "A limit of tasks is not valid",
            "A limit is a number; a limit of memory can have a suffix.",
            "Fix or unset the variable in the message.",
        ),
        ErrorCode(
            "certificate-exposed",
            "Other users can read the key of the https certificate",
            "They could impersonate the service.",
            "Delete the folder in the message to get another certificate.",
        ),
        _switch("https-unreadable", "HTTPS", "https", 1),
        _switch("task-users-unreadable", "TASK_USERS", "separate users of tasks", 0),
        _switch("fuse-unreadable", "FUSE", "FUSE file systems of nodes", 0),
        _option("speed", "speed", "a number from 1 to 3600"),
        _option("allocation", "allocation delay", "a duration such as `20s` or `4m`"),
        _option("auth", "authentication", "`keys` or `entra`"),
        _option("chaos", "list of faults", "the name of a profile, or faults as in docs/local.md"),
        ErrorCode(
            "already-running",
            "The service is already running",
            "Only one service can use a data folder.",
            "`batchspec local status` shows its address.",
        ),
        ErrorCode(
            "running-elsewhere",
            "The service is running on another port",
            "The port is chosen at its start.",
            "Stop it first: `batchspec local stop`.",
        ),
        ErrorCode(
            "running-otherwise",
            "The service is running with other options",
            "Speed, faults, authentication and https are chosen at its start.",
            "Stop it first: `batchspec local stop`.",
        ),
        ErrorCode(
            "port-taken",
            "The port is in use",
            "Only one program can listen on a port.",
            "Use `--port 0` for any free port.",
        ),
        ErrorCode(
            "start-failed",
            "The service ended before it was ready",
            "An error ended the process.",
            _LOG,
        ),
        ErrorCode(
            "start-timeout",
            "The service did not become ready",
            "The machine is slow or busy.",
            "Stop it and try again: `batchspec local stop`.",
        ),
        ErrorCode(
            "start-busy",
            "Another process is starting or stopping the service",
            "Only one process can do this at a time.",
            "Wait until it has finished, or stop it.",
        ),
        ErrorCode("stop-failed", "The service does not stop", "A process does not end.", _LOG),
        ErrorCode("service-failed", "The service failed", "This is a bug in batchspec.", _LOG),
        ErrorCode(
            "unsupported-platform",
            "The embedded service does not run on Windows",
            "It uses features of Linux to run tasks.",
            "Use WSL, or the account in Azure: `--target azure`.",
        ),
    ),
)

_EXIT = re.compile(r"exit-(-?[0-9]+)")
_GROUP = re.compile(r":(?:[0-9a-f]+|other)$")
_SHELL = {
    126: ("The program cannot be executed", "It is not executable, or not for this system."),
    127: ("The program was not found", "The shell did not find it in PATH."),
}
_SIGNALS = {
    6: "SIGABRT: the program aborted",
    9: "SIGKILL, often because the node had no memory left",
    11: "SIGSEGV: it accessed invalid memory",
    15: "SIGTERM: another process ended it",
}
_FIRST_SIGNAL, _LAST_SIGNAL = 129, 192
"""The exit code of a shell after a signal is 128 and the signal's number."""


def failure_code(cause: str) -> ErrorCode | None:
    """The explanation of an exit code or of a group of a cause, such as ``exit-1:3f2a9c``."""
    cause = _GROUP.sub("", cause.lower())
    known = {each.code.lower(): each for each in FAILURES.codes}
    match = _EXIT.fullmatch(cause)
    if match is None:
        return known.get(cause)
    number = int(match[1])
    general = known["exit-n"]
    title = f"The command of the task ended with the exit code {number}"
    why = general.why
    if number in _SHELL:
        meaning, why = _SHELL[number]
        title = f"{title}: {meaning[:1].lower()}{meaning[1:]}"
    elif _FIRST_SIGNAL <= number <= _LAST_SIGNAL:
        signal = number - _FIRST_SIGNAL + 1
        text = _SIGNALS.get(signal, "see `man 7 signal`")
        why = f"On Linux, this code usually means that signal {signal} ended the program ({text})."
    return _cause(cause, title, why, general.fix)
