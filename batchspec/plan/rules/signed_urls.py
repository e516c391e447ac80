"""Signed URLs in the properties of tasks: rules about their permissions, kind and place, and the
environment variables for them.

Signed URLs in shell commands are passed in environment variables of the task: every user of a node
can list the command lines of its processes, but only the task's own user can read its environment.
The shell replaces a variable between double quotes with its exact value, so the program gets the
same argument. Digests are computed before this change.

Some commands do not change: commands for ``cmd`` (which would interpret the ``%`` of a signature),
commands without a shell, and commands with ``| raw`` or ``| quote`` (another shell reads the URL).
The rule ``secret-in-command`` reports them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import count, pairwise
from typing import TypeGuard

from batchspec.diagnostics import Place, Secret
from batchspec.plan.rules.rule import (
    ERROR,
    NOTE,
    WARNING,
    Finding,
    RuleContext,
    RuleGroup,
    TaskBody,
    place_of,
    records_at,
    resource_files,
    rest_to_key,
    task_bodies,
)
from batchspec.spec import (
    READ,
    WRITE,
    BlobUrl,
    Piece,
    Quoted,
    Quoting,
    Record,
    Template,
    Text,
    Value,
    position,
)

SIGNED_URLS = RuleGroup(
    "Signed URLs",
    "`read_url` and `write_url` of a container, and `url` of a file, end in a signature, which "
    "grants permissions for exactly that container or blob.",
)

_SIGNED = re.compile(
    r"\{\{\s*(?:containers(?:\.\w[\w-]*|\[\s*['\"][^'\"]+['\"]\s*\])\.(?:read|write)_url|file\.url)"
    r"\s*(?:\|\s*raw\s*)?\}\}(?P<after>['\"]*/[^\s'\"]*)"
)
"""A signed URL followed by a path, in the source of a template."""
_CONTAINER_URL = re.compile(
    r"\s*\{\{\s*containers(?:\.(?P<name>\w[\w-]*)|\[\s*['\"](?P<quoted>[^'\"]+)['\"]\s*\])"
    r"\.(?P<kind>url|read_url|write_url)\s*(?:\|\s*raw\s*)?\}\}"
)
"""The URL of a container at the start of a template."""
_FILE_URL = re.compile(r"\s*\{\{\s*file\.url\s*(?:\|\s*raw\s*)?\}\}\s*")


@SIGNED_URLS.check(
    "path-after-signature",
    ERROR,
    title="A path follows a signed URL",
    why="The URL ends in its signature, so the path becomes a part of the signature, and Storage"
    " rejects the request.",
    fix="Let the service upload the file (`outputs`), or insert the path before the `?` of the URL"
    " in the program. The URL without a signature is `{{ containers.NAME.url }}`.",
    offline=True,
)
def path_after_signature(context: RuleContext) -> Iterator[Finding]:
    """A literal ``/`` directly after a signed URL, in any property."""
    if context.spec.storage_identity:
        return
    for task in task_bodies(context):
        for where, path, fix in _appended(context, task):
            yield Finding(f"the path {path!r} follows a signed URL", where, fix=fix)


def _appended(context: RuleContext, task: TaskBody) -> Iterator[tuple[Place, str, str]]:
    """Each path after a signed URL: its position, the path, and the fix."""
    if task.stage is not None:
        command = task.stage.command
        for template in (command.template, *command.arguments):
            for where, after in _appended_to_template(template) if template is not None else ():
                yield where, after, ""
    for path, value in _leaves(task.body, task.path):
        url = _first(context, value) if path.endswith(".http_url") else None
        fix = _prefix_instead(context, url) if url is not None and url.blob is None else ""
        if isinstance(value, Template):
            for where, after in _appended_to_template(value):
                yield where, after, fix
        elif isinstance(value, Text):
            for after in _after_signatures(value):
                yield place_of(context.spec, path, task.where), after, fix


def _appended_to_template(template: Template) -> Iterator[tuple[Place, str]]:
    for match in _SIGNED.finditer(template.source):
        place = position(template, match.start(), match.end() - match.start())
        yield place, match["after"].lstrip("'\"")


def _after_signatures(text: Text) -> Iterator[str]:
    """The paths that directly follow signed URLs."""
    for piece, following in pairwise(text.flat()):
        if isinstance(piece, BlobUrl) and piece.permissions and isinstance(following, str):
            after = following.lstrip("'\"")
            if after.startswith("/"):
                yield re.split(r"[\s'\"]", after, maxsplit=1)[0]


def _leaves(value: Value, path: str) -> Iterator[tuple[str, Value]]:
    match value:
        case Record():
            for key, item in value.items():
                yield from _leaves(item, f"{path}.{rest_to_key(key)}")
        case tuple():
            for number, item in enumerate(value):
                yield from _leaves(item, f"{path}[{number}]")
        case _:
            yield path, value


_TEMPLATE = re.compile(r"\{\{.*?\}\}", re.DOTALL)
_SIGNED_NAME = r"\b(?:read_url|write_url)\b|\bfile\.url\b|\battribute\s*=\s*['\"]url['\"]"
"""Names in an expression whose result is a signed URL."""


@SIGNED_URLS.check(
    "secret-in-command",
    NOTE,
    title="A command line contains a signed URL or a secret",
    why="Other users of the node can list the command lines of its processes, and programs write"
    " them to logs. Only the task's own user can read its environment. A command for `/bin/sh` gets"
    " signed URLs in variables of the task (`BATCHSPEC_URL_1`): its own command line contains no"
    " URL. A program that gets the URL as an argument has it in its command line.",
    fix='Pass it in the environment, as in `env: {URL: "{{ ... }}"}`, and read URL in the program.',
    offline=True,
)
def secret_in_command(context: RuleContext) -> Iterator[Finding]:
    """Signed URLs and secrets in the commands of stages and of all other tasks."""
    for task in task_bodies(context):
        for what, where, fix in _exposed(context, task, _revealing(context)):
            if what == _SECRET or not context.spec.storage_identity:
                yield Finding(f"the command of {task.name} contains {what}", where, fix=fix)


def _revealing(context: RuleContext) -> re.Pattern[str]:
    """A pattern of the names in expressions whose result is a signed URL or a secret."""
    secrets = [n for n, v in context.spec.parameters.items() if isinstance(v, Secret)]
    names = "|".join(map(re.escape, secrets))
    return re.compile(_SIGNED_NAME + (rf"|(?<![.\w'\"])(?:{names})\b" if names else ""))


@SIGNED_URLS.check(
    "unsigned-url",
    WARNING,
    title="A command gets the URL of a blob or container, and `storage.identity` is set",
    why="The URL has no signature then, and Storage rejects a request for it without an access"
    " token.",
    fix="Let the service transfer the file (`resources`, `outputs`), or let the program"
    " authenticate with the managed identity, for example `azcopy login --identity`.",
    offline=True,
)
def unsigned_url(context: RuleContext) -> Iterator[Finding]:
    """URLs of the account in commands and environment variables of tasks with an identity."""
    if not context.spec.storage_identity:
        return
    for task in task_bodies(context):
        for what, where, _ in _exposed(context, task, _revealing(context)):
            if what == _SIGNED_URL:
                summary = f"the command of {task.name} contains a URL without a signature"
                yield Finding(summary, where)
        variables = _variables(task.body, "environmentSettings", task.path)
        yield from _unsigned(context, variables, task.name, task.where)
    job = context.spec.job
    variables = _variables(job.properties, "commonEnvironmentSettings", "job")
    yield from _unsigned(context, variables, "the job", job.where)


def _unsigned(
    context: RuleContext, variables: Iterator[tuple[str, Value]], owner: str, where: Place
) -> Iterator[Finding]:
    for path, value in variables:
        if _is_signed(value):
            yield Finding(
                f"an environment variable of {owner} is a URL without a signature",
                place_of(context.spec, path, where),
            )


def _variables(body: Record, key: str, at: str) -> Iterator[tuple[str, Value]]:
    """The values of the environment variables of a body, each with its path in the spec."""
    for path, setting in records_at(body, key, at):
        name = setting.get("name")
        yield f"{at}.env.{name}" if isinstance(name, str) else path, setting.get("value")


def _is_signed(value: Value) -> bool:
    if isinstance(value, Template):
        return re.search(_SIGNED_NAME, value.source) is not None
    return isinstance(value, Text) and any(url.permissions for url in value.urls())


_SIGNED_URL, _SECRET = "a signed URL", "a secret"
"""The kinds of exposed values, as messages name them."""


def _exposed(
    context: RuleContext, task: TaskBody, pattern: re.Pattern[str]
) -> Iterator[tuple[str, Place, str]]:
    """Each signed URL or secret in a command: its kind, its position, and the fix."""
    if task.stage is not None:
        command = task.stage.command
        for template in (command.template, *command.arguments):
            for match in _TEMPLATE.finditer(template.source if template is not None else ""):
                assert template is not None
                if found := pattern.search(match.group()):
                    what = _SIGNED_URL if re.match(_SIGNED_NAME, found.group()) else _SECRET
                    place = position(template, match.start(), len(match.group()))
                    expression = match.group().replace('"', "'")
                    fix = (
                        f'Pass it in the environment, `env: {{URL: "{expression}"}}`, and read URL'
                    )
                    yield what, place, f"{fix} in the program."
    for path, value in _commands(task):
        where = place_of(context.spec, path, task.where)
        for piece in value.flat() if isinstance(value, Text) else ():
            if isinstance(piece, BlobUrl) and piece.permissions:
                yield _SIGNED_URL, where, ""
            elif isinstance(piece, Secret):
                yield _SECRET, where, ""


def _commands(task: TaskBody) -> Iterator[tuple[str, Value]]:
    """The command lines of a body, each with its path in the spec."""
    yield f"{task.path}.command", task.body.get("commandLine")
    settings = task.body.record("multiInstanceSettings")
    yield f"{task.path}.instances.command", settings.get("coordinationCommandLine")


@SIGNED_URLS.check(
    "wrong-url-rights",
    ERROR,
    title="A URL does not have the permissions that its property needs",
    why="Nodes read resource files and write outputs with the permissions of the URL; without them,"
    " Storage rejects the request, and the task fails.",
    fix="Use `{{ containers.NAME.read_url }}` to read and `{{ containers.NAME.write_url }}` to"
    " write, or authorize the nodes with `identity_reference`.",
    offline=True,
)
def wrong_url_rights(context: RuleContext) -> Iterator[Finding]:
    """Read URLs as destinations, write URLs as sources, and URLs without a signature."""
    if context.spec.storage_identity:
        return
    for task in task_bodies(context):
        for path, url, need, holder in _urls(context, task):
            lacks = [right for right in need if right not in url.permissions]
            if not lacks or holder.get("identityReference") is not None:
                continue
            if not url.permissions and (need != "w" and _is_public(context, url)):
                continue
            act = "written to" if need == "w" else "read"
            grants = "has no signature" if not url.permissions else _grants(url)
            better = "write_url" if need == "w" else "read_url"
            name = _key_of(context, url)
            fix = f'Write `"{{{{ containers.{name}.{better} }}}}"`.'
            yield Finding(
                f"the container {url.container!r} cannot be {act} with this URL, which {grants}",
                place_of(context.spec, path, task.where),
                fix=_prefix_instead(context, url) if need == "r" else fix,
            )


def _grants(url: BlobUrl) -> str:
    return "only grants reading" if "r" in url.permissions else "only grants writing"


def _is_public(context: RuleContext, url: BlobUrl) -> bool:
    """Whether nodes may be able to read a container without a signature, according to the spec."""
    for container in context.spec.containers.values():
        if container.id == url.container:
            return container.existing or container.public_access is not None
    return True


def _key_of(context: RuleContext, url: BlobUrl) -> str:
    containers = context.spec.containers.values()
    return next((c.key for c in containers if c.id == url.container), "NAME")


@SIGNED_URLS.check(
    "wrong-url-kind",
    ERROR,
    title="The URL of a container is used for a blob, or the URL of a blob for a container",
    why="`http_url` downloads one blob; `storage_container_url` and `container_url` name a"
    " container.",
    fix="Use `storage_container_url` with `blob_prefix` for blobs of a container, or"
    " `{{ file.url }}` for one blob.",
    offline=True,
)
def wrong_url_kind(context: RuleContext) -> Iterator[Finding]:
    """A container in ``http_url``, and a blob where a container is named."""
    for task in task_bodies(context):
        for path, value, wants_blob in _kinds(task):
            where = place_of(context.spec, path, task.where)
            url = _only(context, value)
            if wants_blob and url is not None and url.blob is None:
                yield _container_for_blob(context, url, where)
            elif not wants_blob and _is_blob(context, value):
                key = path.rpartition(".")[2]
                yield Finding(
                    f"`{key}` is the URL of a blob; it must be that of a container", where
                )


def _container_for_blob(context: RuleContext, url: BlobUrl, where: Place) -> Finding:
    return Finding(
        f"`http_url` is the URL of the container {url.container!r}; it must be that of a blob",
        where,
        fix=_prefix_instead(context, url),
    )


def _prefix_instead(context: RuleContext, url: BlobUrl) -> str:
    """The fix for an ``http_url`` that is made from the URL of a container."""
    name = _key_of(context, url)
    return (
        "For one blob or several, replace `http_url` with"
        f' `storage_container_url: "{{{{ containers.{name}.read_url }}}}", blob_prefix: NAME`, and'
        " remove `file_path`."
    )


def _kinds(task: TaskBody) -> Iterator[tuple[str, Value, bool]]:
    """Each URL of a blob or container, with its path, and whether it must be that of a blob."""
    for path, file in resource_files(task.body, task.path):
        for key in ("httpUrl", "storageContainerUrl"):
            if (value := file.get(key)) is not None:
                yield f"{path}.{rest_to_key(key)}", value, key == "httpUrl"
    for path, container in _destinations(task):
        if (value := container.get("containerUrl")) is not None:
            yield f"{path}.container_url", value, False


def _urls(context: RuleContext, task: TaskBody) -> Iterator[tuple[str, BlobUrl, str, Record]]:
    """URLs of containers: path, URL, the permissions needed, and the object with the URL.

    Other rules report a path after a signature, and the URL of a container for a blob.
    """
    for path, file in resource_files(task.body, task.path):
        whole = _first(context, file.get("storageContainerUrl"))
        blob = _first(context, file.get("httpUrl"))
        if whole is not None:
            yield f"{path}.storage_container_url", whole, "rl", file
        if blob is not None and not blob.permissions and _only(context, file["httpUrl"]) is None:
            yield f"{path}.http_url", blob, "r", file
    for path, container in _destinations(task):
        url = _first(context, container.get("containerUrl"))
        if url is not None:
            yield f"{path}.container_url", url, "w", container


def _destinations(task: TaskBody) -> Iterator[tuple[str, Record]]:
    for path, file in records_at(task.body, "outputFiles", task.path):
        container = file.record("destination", "container")
        yield f"{path}.destination.container", container


def _first(context: RuleContext, value: Value) -> BlobUrl | None:
    """The URL that a value begins with; of a template, only the URL of a container."""
    if isinstance(value, Template):
        match = _CONTAINER_URL.match(value.source)
        name = (match["name"] or match["quoted"]) if match is not None else ""
        container = context.spec.containers.get(name)
        if match is None or container is None:
            return None
        permissions = {"read_url": READ, "write_url": WRITE}.get(match["kind"], "")
        return BlobUrl(container.id, None, permissions)
    first = value.pieces[0] if isinstance(value, Text) and value.pieces else None
    return first if isinstance(first, BlobUrl) else None


def _only(context: RuleContext, value: Value) -> BlobUrl | None:
    """The URL that is the whole value."""
    is_one = isinstance(value, Text) and len(value.pieces) == 1
    return _first(context, value) if is_one else None


def _is_blob(context: RuleContext, value: Value) -> bool:
    if isinstance(value, Template):
        return _FILE_URL.fullmatch(value.source) is not None
    url = _first(context, value)
    return url is not None and url.blob is not None


_SHELL = "/bin/sh -c "
_NAME = "BATCHSPEC_URL_{}"
_REFERENCES = {
    Quoting.POSIX: '"${{{}}}"',
    Quoting.IN_DOUBLE: "${{{}}}",
    # The single quotes end before the variable and begin again after it.
    Quoting.IN_SINGLE: "'\"${{{}}}\"'",
}
"""The text with which a script refers to a variable, by the quoting of the argument."""
_SETTINGS = "environmentSettings"


def with_variables(task: Record) -> Record:
    """The body of a task whose shell takes signed URLs from variables.

    The variables are ``BATCHSPEC_URL_1``, ``BATCHSPEC_URL_2`` and so on; names that the task sets
    itself are skipped. Each URL has one variable, even if the command contains it several times.
    """
    command = task.get("commandLine")
    if not isinstance(command, Text) or len(command.pieces) != 2:
        return task
    shell, script = command.pieces
    if shell != _SHELL or not isinstance(script, Quoted):
        return task
    settings = task.array(_SETTINGS)
    taken = {item.get("name") for item in task.records(_SETTINGS)}
    free = (name for number in count(1) if (name := _NAME.format(number)) not in taken)
    names: dict[BlobUrl, str] = {}
    pieces: list[Piece] = []
    for piece in script.inner.pieces:
        if not _has_signed_url(piece):
            pieces.append(piece)
            continue
        for part in piece.inner.pieces:
            if isinstance(part, BlobUrl) and part.permissions:
                name = names[part] = names.get(part) or next(free)
                pieces.append(_REFERENCES[piece.quoting].format(name))
            else:
                # The shell joins adjacent quoted strings.
                pieces.append(Quoted(Text((part,)), piece.quoting))
    if not names:
        return task
    variables = (Record(name=name, value=Text((url,))) for url, name in names.items())
    return Record(
        {
            **task,
            "commandLine": Text((_SHELL, Quoted(Text(tuple(pieces)), script.quoting))),
            _SETTINGS: (*settings, *variables),
        }
    )


def with_variables_of(body: Record, *keys: str) -> Record:
    """A pool or job with :func:`with_variables` of these tasks in it."""
    tasks = {key: with_variables(task) for key in keys if isinstance(task := body.get(key), Record)}
    return body.with_(**tasks)


def _has_signed_url(piece: Piece) -> TypeGuard[Quoted]:
    """Whether a piece of a script is an argument with a signed URL that a variable can replace."""
    return (
        isinstance(piece, Quoted)
        and piece.quoting in _REFERENCES
        and any(isinstance(part, BlobUrl) and part.permissions for part in piece.inner.pieces)
    )
