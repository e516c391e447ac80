"""Errors of the embedded service and its blob store."""

from __future__ import annotations

from batchspec.cli.error_codes.model import ErrorCode, ErrorGroup

_DISK = "The disk is full, the folder is read-only, or its permissions do not allow it."
_NODE = "Azurite, the blob store of local runs, is a Node.js program."
_NODE_FIX = "Install the extra with `pip install 'batchspec[local]'`, or set BATCHSPEC_NODE."
_LOG = "The message has the last lines of the log; `batchspec local status` shows its path."

LOCAL = ErrorGroup(
    "The embedded service",
    (
        ErrorCode("no-node", "There is no Node.js", _NODE, _NODE_FIX),
        ErrorCode("node-too-old", "The Node.js is too old", _NODE, _NODE_FIX),
        ErrorCode("node-broken", "The Node.js does not run", _NODE, _NODE_FIX),
        ErrorCode("no-npm", "The Node.js has no npm to install Azurite", _NODE, _NODE_FIX),
        ErrorCode(
            "npm-failed",
            "npm could not install Azurite",
            "The first local run downloads it from the npm registry.",
            "Check npm's configuration; the message has the last lines of its log.",
        ),
        ErrorCode(
            "install-busy",
            "Another process installs Azurite",
            "Only one process installs it at a time.",
            "Wait for it, or end it.",
        ),
        ErrorCode(
            "azurite-integrity",
            "A package of Azurite does not match its hash",
            "The registry or a proxy changed it; nothing was installed.",
            "Find out why before you try again.",
        ),
        ErrorCode(
            "cache-unwritable",
            "Azurite cannot be installed into the cache folder",
            _DISK,
            "Free space, or set XDG_CACHE_HOME to another folder.",
        ),
        ErrorCode(
            "azurite-exited",
            "Azurite ended before it was ready",
            "It cannot use its folder or its port.",
            _LOG,
        ),
        ErrorCode(
            "azurite-port-taken",
            "Another program uses Azurite's port",
            "A port belongs to one program.",
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
            "azurite-keeps-ending",
            "Azurite ended again and again",
            "It cannot work with its data, or the system ends it.",
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
            "The data folder was not created by the service",
            "`local reset` would delete the files in it.",
            "Set BATCHSPEC_LOCAL_HOME to an empty or new folder.",
        ),
        ErrorCode(
            "data-unwritable",
            "The data folder cannot be used",
            _DISK,
            "Fix its permissions, or set BATCHSPEC_LOCAL_HOME.",
        ),
        ErrorCode(
            "data-locked",
            "Another process uses the data folder",
            "Two services would damage it.",
            "End the process in the message.",
        ),
        ErrorCode(
            "data-gone",
            "The data folder was deleted while the service ran",
            "The service stops without its data.",
            "Start it again: `batchspec local start`.",
        ),
        ErrorCode(
            "limit-unreadable",
            "A limit of tasks is not valid",
            "It is a number, for memory with an optional suffix.",
            "Fix or unset the variable in the message.",
        ),
        ErrorCode(
            "speed-unreadable",
            "The speed is not valid",
            "It is a number from 1 to 3600.",
            "Fix `--speed` or BATCHSPEC_LOCAL_SPEED.",
        ),
        ErrorCode(
            "allocation-unreadable",
            "The allocation delay is not valid",
            "It is a duration.",
            "Write it like `20s` or `4m`.",
        ),
        ErrorCode(
            "chaos-unreadable",
            "The faults to inject are not valid",
            "docs/local.md lists the faults and profiles.",
            "Fix `--chaos` or `--seed`.",
        ),
        ErrorCode(
            "already-running",
            "The service runs already",
            "One service uses a data folder.",
            "`batchspec local status` shows its address.",
        ),
        ErrorCode(
            "running-elsewhere",
            "The service runs on another port",
            "The port is chosen at its start.",
            "Stop it first: `batchspec local stop`.",
        ),
        ErrorCode(
            "running-otherwise",
            "The service runs with other options",
            "Speed and faults are chosen at its start.",
            "Stop it first: `batchspec local stop`.",
        ),
        ErrorCode(
            "port-taken",
            "The port is in use",
            "A port belongs to one program.",
            "Use `--port 0` for any free port.",
        ),
        ErrorCode(
            "start-failed", "The service ended before it was ready", "It found an error.", _LOG
        ),
        ErrorCode(
            "start-timeout",
            "The service did not become ready",
            "The machine is slow or busy.",
            "Stop it and try again: `batchspec local stop`.",
        ),
        ErrorCode(
            "start-busy",
            "Another process starts or stops the service",
            "Only one process does it at a time.",
            "Wait for it, or end it.",
        ),
        ErrorCode("stop-failed", "The service does not stop", "A process hangs.", _LOG),
        ErrorCode("service-failed", "The service failed", "This is a bug in batchspec.", _LOG),
        ErrorCode(
            "unsupported-platform",
            "The embedded service does not run on Windows",
            "It runs tasks with Linux's means.",
            "Use WSL, or the account in Azure: `--target azure`.",
        ),
    ),
)
