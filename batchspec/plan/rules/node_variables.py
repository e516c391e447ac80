"""Rules about environment variables that commands and output patterns use."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from batchspec.diagnostics import Place, did_you_mean, nearest
from batchspec.frozen import frozen
from batchspec.plan.rules.image import runs_windows
from batchspec.plan.rules.rule import (
    ERROR,
    WARNING,
    Finding,
    RuleContext,
    RuleGroup,
    TaskBody,
    place_of,
    records_at,
    task_bodies,
)
from batchspec.spec import (
    EXPRESSION,
    Command,
    EachBlob,
    EachFile,
    ForEach,
    Matrix,
    Record,
    Shell,
    Template,
    Text,
    Value,
    position,
)

NODE_VARIABLES = RuleGroup(
    "Environment variables",
    "Variables in commands and in the patterns of outputs, which the node expands.",
)

_PACKAGE = "AZ_BATCH_APP_PACKAGE_"
_EVERYWHERE = frozenset(
    {
        "AZ_BATCH_ACCOUNT_NAME",
        "AZ_BATCH_ACCOUNT_URL",
        "AZ_BATCH_CERTIFICATES_DIR",
        "AZ_BATCH_NODE_ID",
        "AZ_BATCH_NODE_IS_DEDICATED",
        "AZ_BATCH_NODE_MOUNTS_DIR",
        "AZ_BATCH_NODE_ROOT_DIR",
        "AZ_BATCH_NODE_SHARED_DIR",
        "AZ_BATCH_NODE_STARTUP_DIR",
        "AZ_BATCH_NODE_STARTUP_WORKING_DIR",
        "AZ_BATCH_POOL_ID",
        "AZ_BATCH_TASK_DIR",
        "AZ_BATCH_TASK_RESERVED_EPHEMERAL_DISK_SPACE_BYTES",
        "AZ_BATCH_TASK_WORKING_DIR",
    }
)
"""Variables of every task ("Azure Batch runtime environment variables")."""
_OF_JOBS = frozenset({"AZ_BATCH_JOB_ID", "AZ_BATCH_TASK_ID"})
_PREPARED = frozenset({"AZ_BATCH_JOB_PREP_DIR", "AZ_BATCH_JOB_PREP_WORKING_DIR"})
_MULTI_INSTANCE = frozenset(
    {
        "AZ_BATCH_HOST_LIST",
        "AZ_BATCH_IS_CURRENT_NODE_MASTER",
        "AZ_BATCH_MASTER_NODE",
        "AZ_BATCH_NODE_LIST",
        "AZ_BATCH_TASK_SHARED_DIR",
    }
)
_AUTHENTICATION = frozenset({"AZ_BATCH_AUTHENTICATION_TOKEN"})
_KNOWN = sorted(_EVERYWHERE | _OF_JOBS | _PREPARED | _MULTI_INSTANCE | _AUTHENTICATION)

_SHELLS = frozenset(
    {
        "sh",
        "bash",
        "dash",
        "zsh",
        "ksh",
        "busybox",
        "env",
        "xargs",
        "cmd",
        "cmd.exe",
        "powershell",
        "powershell.exe",
        "pwsh",
    }
)
"""Programs that replace variables, or start a program that does."""

_POSIX = re.compile(r"(?<!\\)\$(?:\{(AZ_BATCH_\w+)\}|(AZ_BATCH_\w+))")
"""Without ``${NAME:-default}``, which is correct even if the variable does not exist."""
_CMD = re.compile(r"%(AZ_BATCH_[^%\s\"]+)%|\$env:(AZ_BATCH_\w+)", re.IGNORECASE)
_OF_CMD = re.compile(r"%([A-Z][A-Z0-9_]{2,})%")
_OF_SH = re.compile(r"(?<![\\$])\$\{?([A-Z][A-Z0-9_]{2,})\b")
_SINGLE_BRACES = re.compile(
    r"(?<!\{)(?P<dollar>\$?)\{[ \t]*(?P<name>(?:file|task|job|pool)\.[a-z]+|[A-Za-z_]\w*)[ \t]*\}"
    r"(?!\})"
)
_F_STRING = re.compile(r"\b[fF]['\"]")
"""A string of Python in which braces insert a value."""
_OTHER_SHELL = re.compile(
    r"\b(?:powershell|pwsh|bash|sh|wsl|perl|awk|make)\b|\$env:", re.IGNORECASE
)


@frozen
class _Source:
    """A text in which the node expands variables; ``where`` is its position in the spec.

    ``program`` is the program that a command starts: the shell of the node, or the first word of a
    command without a shell.
    """

    text: str
    task: TaskBody
    where: Place
    template: Template | None = None
    command: bool = True
    program: str = "sh"

    def place(self, match: re.Match[str]) -> Place:
        """The position of a variable in the spec; that of the whole text if it is not unique."""
        length = len(match.group())
        if self.template is not None:
            return position(self.template, match.start(), length)
        line, where = self.where.text, self.where
        at = line.find(match.group(), where.column - 1)
        if at < 0 or line.find(match.group(), at + 1) >= 0:
            return where
        return replace(where, column=at + 1, length=length)


@NODE_VARIABLES.check(
    "no-such-variable",
    ERROR,
    title="A command uses a variable that the node does not set for this task",
    why="The shell replaces it with an empty string, or leaves it as it is.",
    fix="Fix the name, or set the variable in `env`.",
    offline=True,
)
def no_such_variable(context: RuleContext) -> Iterator[Finding]:
    """Variables of packages that the task does not have, and of features that it does not use."""
    for source, name, match in _variables(context):
        reason = _why_missing(context, source.task, name)
        if reason is not None:
            summary, fix = reason
            shown = match[1] or match[2]
            yield Finding(f"`{shown}` does not exist: {summary}", source.place(match), fix=fix)


@NODE_VARIABLES.check(
    "undocumented-variable",
    WARNING,
    title="A command uses a variable that the Batch service does not document",
    why="Names that start with `AZ_BATCH_` are set by the service. A variable that does not "
    "exist is an empty string.",
    fix="Fix the name.",
    offline=True,
)
def undocumented_variable(context: RuleContext) -> Iterator[Finding]:
    """Names with the prefix of the service's variables that the service does not document."""
    for source, name, match in _variables(context):
        if not name.startswith(_PACKAGE) and name not in _KNOWN:
            yield Finding(
                f"`{match[1] or match[2]}` is not a variable of the Batch service",
                source.place(match),
                fix=did_you_mean(name, _KNOWN),
            )


@NODE_VARIABLES.check(
    "variable-of-other-shell",
    WARNING,
    title="A variable is written for the shell of another operating system",
    why="`%NAME%` is a variable on Windows, and `$NAME` on Linux. The other shell leaves it as it"
    " is.",
    fix="Write `$NAME` on Linux and `%NAME%` on Windows.",
    offline=True,
)
def variable_of_other_shell(context: RuleContext) -> Iterator[Finding]:
    """``%NAME%`` on Linux, and ``$NAME`` on Windows."""
    if not context.known:
        return
    windows = runs_windows(context.spec, context.observed)
    system = "Windows" if windows else "Linux"
    for source in _sources(context):
        if windows and source.command and _OTHER_SHELL.search(source.text):
            continue
        for match in (_OF_SH if windows else _OF_CMD).finditer(source.text):
            right = f"%{match[1]}%" if windows else f"${match[1]}"
            yield Finding(
                f"`{match.group()}` is not a variable on {system}",
                source.place(match),
                fix=f"Write `{right}`.",
            )


@NODE_VARIABLES.check(
    "variable-without-shell",
    WARNING,
    title="A command without a shell contains a variable",
    why="The service starts the program directly; only a shell replaces variables, so the program"
    " gets the name of the variable.",
    fix="Write the command as one string, which the shell runs, or read the variable in the"
    " program.",
    offline=True,
)
def variable_without_shell(context: RuleContext) -> Iterator[Finding]:
    """Variables of the service in lists, ``shell: none`` and ``command_line`` of other programs."""
    for source, name, match in _variables(context):
        if source.command and source.program.rpartition("/")[2].lower() not in _SHELLS:
            yield Finding(f"no shell replaces `{name}` in this command", source.place(match))


@NODE_VARIABLES.check(
    "backslash-in-pattern",
    WARNING,
    title="The pattern of an output contains a backslash on Linux",
    why="Only `/` separates folders on Linux, so the pattern matches no file.",
    fix="Write `/` instead of the backslash.",
    offline=True,
)
def backslash_in_pattern(context: RuleContext) -> Iterator[Finding]:
    """Windows separators in the outputs of tasks on Linux."""
    if not context.known or runs_windows(context.spec, context.observed):
        return
    for source in _sources(context):
        match = re.search(r"\\", source.text)
        if match is not None and not source.command:
            better = source.text.replace("\\", "/")
            yield Finding(
                f"the pattern {source.text!r} contains a backslash, which does not separate"
                " folders on Linux",
                source.where,
                fix=f"Write `{better}`." if source.template is None else "",
            )


@NODE_VARIABLES.check(
    "single-braces",
    WARNING,
    title="A name of a template has single braces",
    why="Only `{{ NAME }}` is replaced. The shell or the program gets other braces as they are.",
    fix="Write `{{ NAME }}`.",
    offline=True,
)
def single_braces(context: RuleContext) -> Iterator[Finding]:
    """``{ file.name }`` and ``${file.name}``, as other tools write templates."""
    for source in _sources(context):
        stage = source.task.stage
        names = _item_names(stage.for_each) if stage is not None else ()
        if _F_STRING.search(source.text):
            continue
        for match in _SINGLE_BRACES.finditer(source.text):
            name = match["name"]
            if "." not in name and (
                # `${k}` can be a variable of the script, and '{k}' a part of a program.
                name not in names or match["dollar"] or source.text.count("'", 0, match.start()) % 2
            ):
                continue
            yield Finding(
                f"`{match.group()}` is not a template",
                source.place(match),
                fix=f"Write `{{{{ {name} }}}}`.",
            )


def _item_names(for_each: ForEach) -> tuple[str, ...]:
    """Names of the items of a stage that scripts and programs rarely have in braces."""
    match for_each:
        case EachFile(group=None) | EachBlob(group=None):
            return ("file",)
        case EachFile() | EachBlob():
            return ("files",)
        case Matrix(axes=axes):
            return tuple(name for name, _ in axes)
    return ()


def _variables(context: RuleContext) -> Iterator[tuple[_Source, str, re.Match[str]]]:
    """Each variable whose name has the prefix of the service's variables, once for each text."""
    if not context.known:
        return
    windows = runs_windows(context.spec, context.observed)
    shared = _names(context.spec.job.properties, "commonEnvironmentSettings")
    for source in _sources(context):
        start = source.task.path == "pool.start_task"
        own = _names(source.task.body, "environmentSettings") | (set() if start else shared)
        seen: set[str] = set()
        for match in (_CMD if windows else _POSIX).finditer(source.text):
            name = match[1] or match[2]
            if name not in seen and name not in own:
                seen.add(name)
                yield source, name.upper() if windows else name, match


def _names(body: Record, key: str) -> set[str]:
    return {name for item in body.records(key) if (name := item.string("name")) is not None}


def _sources(context: RuleContext) -> Iterator[_Source]:
    for task in task_bodies(context):
        if task.stage is not None:
            command = task.stage.command
            program = _program(command)
            for template in (command.template, *command.arguments):
                if template is not None:
                    found = _source(task, template, template.where, command=True)
                    yield replace(found, program=program)
        elif (line := task.body.get("commandLine")) is not None:
            where = place_of(context.spec, f"{task.path}.command_line", task.where)
            found = _source(task, line, where, command=True)
            yield replace(found, program=_first_word(found.text))
        for path, file in records_at(task.body, "outputFiles", task.path):
            pattern = file.get("filePattern")
            if pattern is not None:
                where = place_of(context.spec, f"{path}.file_pattern", task.where)
                yield _source(task, pattern, where, command=False)


def _program(command: Command) -> str:
    """The program that a command starts; ``sh`` if the shell of the node runs it."""
    if command.template is None:
        return command.arguments[0].source
    return "sh" if command.shell is Shell.DEFAULT else _first_word(command.template.source)


def _first_word(line: str) -> str:
    return next(iter(line.split()), "").strip("'\"")


def _source(task: TaskBody, value: Value, where: Place, *, command: bool) -> _Source:
    match value:
        case Template(source=source):
            # Values are inserted literally; only the text around them is checked.
            text = EXPRESSION.sub(lambda match: " " * len(match.group()), source)
            return _Source(text, task, where, value, command)
        case Text():
            return _Source(value.shown, task, where, None, command)
    return _Source(value if isinstance(value, str) else "", task, where, None, command)


def _why_missing(context: RuleContext, task: TaskBody, name: str) -> tuple[str, str] | None:
    """The reason why a task lacks a variable, and the fix; ``None`` if the task may have it."""
    job = context.spec.job.properties
    start = task.path == "pool.start_task"
    if name.startswith(_PACKAGE):
        return _missing_package(context, task, name)
    if name in _OF_JOBS and start:
        return "a start task belongs to no job", "Use it in a task, or in `prepare` of the job."
    if name in _PREPARED and job.get("jobPreparationTask") is None:
        return "the job has no `prepare`", "Add `prepare` to the job, or remove the variable."
    if name in _MULTI_INSTANCE and not _is_multi_instance(task):
        return "only multi-instance tasks have it", "Add `instances` to the stage."
    if name in _AUTHENTICATION:
        return (
            "the service retired authentication tokens of tasks on 2024-09-30",
            "Use a managed identity: `identity: {ids: [ID]}` of the pool.",
        )
    return None


def _is_multi_instance(task: TaskBody) -> bool:
    return task.body.get("multiInstanceSettings") is not None


def _missing_package(context: RuleContext, task: TaskBody, name: str) -> tuple[str, str] | None:
    wanted = name.removeprefix(_PACKAGE).lower()
    bodies: list[Record] = [context.pool, task.body]
    names = [
        variable
        for body in bodies
        for reference in body.records("applicationPackageReferences")
        for variable in _package_variables(reference)
    ]
    if any(_folded(one) == _folded(wanted) or one == "*" for one in names):
        return None
    near = nearest(wanted, names)
    fix = f"Did you mean `{_PACKAGE}{near}`?" if near is not None else ""
    return (
        "neither the pool nor the task has this package",
        fix or "Add the package to `application_package_references`, with its version.",
    )


def _package_variables(reference: Record) -> Iterator[str]:
    """The part after the prefix in the variables of a package; ``*`` if it is not known.

    On Linux, periods, hyphens and number signs become underscores; documented and recorded names
    differ in case.
    """
    name, version = reference.get("applicationId"), reference.get("version")
    if not isinstance(name, str) or not (version is None or isinstance(version, str)):
        yield "*"
    elif version is None:
        yield re.sub(r"[.#-]", "_", name)
    else:
        yield re.sub(r"[.#-]", "_", f"{name}_{version}")


def _folded(name: str) -> str:
    return re.sub(r"[.#-]", "_", name).lower()
