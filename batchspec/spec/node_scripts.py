"""Text that batchspec puts before commands: ``pool.python``, and ``clean`` of a stage.

Both are short forms. ``pool.python`` becomes a part of the start task, which installs the packages
into a virtual environment of each node, and a first line of the commands of the stages, which put
its ``bin`` first in ``PATH``. The name of the environment contains a digest of the packages: with
other packages, the work of tasks and the start task change.
"""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from batchspec.diagnostics import Diagnostic, Diagnostics, SpecError
from batchspec.spec.convert import wrapped
from batchspec.spec.substitute import Rendered
from batchspec.spec.values import Text
from batchspec.spec.yaml_parser import read_source
from batchspec.spec.yaml_tree import Node, made

_LONGEST = 65_536
"""Maximum bytes of a requirements file; the start task contains it, and `sh` accepts 131,071."""
_LOCAL = re.compile(r"-[rce]|--(?:requirem|c|ed)[a-z]*\b|\.{0,2}/|file:")
"""Requirements that refer to another file, which nodes do not have.

pip accepts ``-rFILE`` without a blank, and abbreviated long options."""

_INSTALL = """\
set -e
python="$AZ_BATCH_NODE_SHARED_DIR/{name}"
if [ ! -e "$python/ready" ]; then
  if ! python3 -c 'import ensurepip' 2> /dev/null; then
    attempt=0
    until apt-get -o DPkg::Lock::Timeout=300 update &&
        apt-get -o DPkg::Lock::Timeout=300 install --yes python3-venv; do
      attempt=$((attempt + 1))
      [ "$attempt" -lt 10 ]
      sleep 30
    done
  fi
  python3 -m venv --clear "$python"
  printf '%s\\n' {requirements} > "$python/requirements.txt"
  "$python/bin/pip" install --no-input --disable-pip-version-check -r "$python/requirements.txt"
  touch "$python/ready"
fi
"""
"""The image of Ubuntu has Python without ``venv``. Updates on a new node often lock ``apt-get``,
which does not wait for all locks; the script repeats the command."""

_PATH = 'export PATH="$AZ_BATCH_NODE_SHARED_DIR/{name}/bin:$PATH"\n'

_CLEAN = """\
found="$AZ_BATCH_TASK_DIR/first-files"
if [ -e "$found" ]; then
  find . -mindepth 1 ! -type d | LC_ALL=C sort > "$found.now"
  LC_ALL=C comm -13 "$found" "$found.now" | while IFS= read -r file; do
    case $file in ./*) rm -f -- "$file" ;; esac
  done
else
  find . -mindepth 1 ! -type d | LC_ALL=C sort > "$found"
fi
"""
"""The first attempt lists the resource files; a later attempt deletes all other files.

A name can contain a line break, and a line of it can be a path outside of the working directory."""


def with_node_scripts(found: Rendered, folder: Path, problems: Diagnostics) -> Rendered:
    """The spec without ``pool.python`` and ``clean``: commands contain their effect.

    ``folder`` is the folder of the spec. Errors are added to ``problems``.
    """
    root = found.root
    pool, tasks = root.get("pool"), root.get("tasks")
    python = pool.get("python") if pool is not None else None
    before = ""
    members = dict(root.members)
    if pool is not None and python is not None:
        problems.extend(_not_on_windows("python", python, windows=found.windows))
        requirements = _requirements(python, folder, problems)
        digest = hashlib.sha256("\n".join(requirements).encode()).hexdigest()[:12]
        name = f"python-{digest}"
        before = _PATH.format(name=name)
        words = " ".join(map(shlex.quote, requirements))
        script = _INSTALL.format(name=name, requirements=words)
        members["pool"] = _installing(pool, python, script, problems)
    if tasks is not None:
        members["tasks"] = replace(
            tasks,
            value={
                key: _stage(stage, before, problems, windows=found.windows)
                for key, stage in tasks.members.items()
            },
        )
    return replace(found, root=replace(root, value=members))


def _installing(pool: Node, python: Node, script: str, problems: Diagnostics) -> Node:
    """The pool with a start task that runs ``script`` before its own command.

    That command is already a command line.
    """
    start = pool.get("start_task") or made({}, python)
    if (line := start.get("command_line")) is not None:
        problems.add(
            Diagnostic(
                "node-script",
                "`pool.python` adds to the command of the start task, which must be a `command`",
                where=line.name,
                fix="Write `command` instead of `command_line`.",
            )
        )
        return pool.with_(python=None)
    own = start.get("command")
    pieces = own.value.pieces if own is not None and isinstance(own.value, Text) else ()
    text = Text((script, *pieces)) if pieces else script + ((own.text or "") if own else "")
    elevated = None if start.get("user_identity") else start.get("elevated") or made(True, python)
    command = made(wrapped(text, windows=False), own or python)
    return pool.with_(python=None, start_task=start.with_(command=command, elevated=elevated))


def _stage(stage: Node, before: str, problems: Diagnostics, *, windows: bool) -> Node:
    clean = stage.get("clean")
    command = stage.get("command")
    script = before if stage.get("container_image") is None else ""
    if clean is not None and clean.value is True:
        problems.extend(_not_on_windows("clean", clean, windows=windows))
        if not _is_script(stage):
            problems.add(
                Diagnostic(
                    "node-script",
                    "`clean` requires a command that a shell runs",
                    where=clean.name,
                    fix="Write `command` as a string, without `shell: none`.",
                )
            )
        script = _CLEAN + script
    members: dict[str, Node | None] = {"clean": None}
    if script and command is not None and _is_script(stage):
        assert isinstance(command.value, str)
        members["command"] = replace(command, value=script + command.value)
    return stage.with_(**members) if clean is not None or "command" in members else stage


def without_clean(script: str) -> str | None:
    """The command of a stage with ``clean`` whose tasks run a script; ``None``: of another one."""
    return script.removeprefix(_CLEAN) if script.startswith(_CLEAN) else None


def _is_script(stage: Node) -> bool:
    """Whether the shell of the node runs the command of a stage."""
    command, shell = stage.get("command"), stage.get("shell")
    is_text = command is not None and isinstance(command.value, str)
    return is_text and (shell is None or shell.value != "none")


def _not_on_windows(key: str, node: Node, *, windows: bool) -> Iterator[Diagnostic]:
    if windows:
        yield Diagnostic(
            "node-script",
            f"`{key}` is for Linux nodes",
            where=node.name,
            fix="Add the steps to your own command.",
        )


def _requirements(python: Node, folder: Path, problems: Diagnostics) -> tuple[str, ...]:
    """The requirements, one to a line, without comments."""
    items, file = python.sequence("packages"), python.get("requirements")
    problems.extend(map(_secret, (item for item in items if isinstance(item.value, Text))))
    found = [(item.text or "", item) for item in items]
    if file is not None and file.text:
        found += [(line, file) for line in _lines(folder / file.text, file, problems)]
    checked: dict[str, Node] = {line.strip(): node for line, node in found if line.strip()}
    problems.extend(_problems(checked))
    return tuple(checked)


def _secret(item: Node) -> Diagnostic:
    return Diagnostic(
        "node-script",
        "a requirement of `pool.python` contains a secret, and would be part of a command line",
        where=item.where,
        fix="Pass the secret in `env` of `start_task`, for example as PIP_EXTRA_INDEX_URL.",
    )


def _lines(path: Path, node: Node, problems: Diagnostics) -> Iterator[str]:
    """The lines of a requirements file, with continued lines joined and comments removed."""
    try:
        text = read_source(path, "Check the path; relative paths start at the folder of the spec.")
    except SpecError as error:
        problems.extend(replace(each, where=each.where or node.where) for each in error.problems)
        return
    if len(text.text.encode()) > _LONGEST:
        problems.add(
            Diagnostic(
                "too-large",
                f"{path} has more than {_LONGEST:,} bytes, and the start task contains it",
                where=node.where,
                fix="Upload the file with a container, and install it in `start_task`.",
            )
        )
        return
    for line in text.text.replace("\\\n", " ").splitlines():
        yield re.sub(r"(^|\s)#.*", "", line)


def _problems(requirements: Mapping[str, Node]) -> Iterator[Diagnostic]:
    for line, node in requirements.items():
        if _LOCAL.match(line):
            yield Diagnostic(
                "requirement-of-a-file",
                f"the requirement {line!r} names another file, which nodes do not have",
                where=node.where,
                fix="Write the packages themselves, or upload the file with a container and "
                "install it in `start_task`.",
            )
