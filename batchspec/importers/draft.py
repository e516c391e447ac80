"""A draft of a spec: its sections, with notes about everything that was not imported.

The importers fill a :class:`Draft`; :meth:`Draft.text` is the YAML. Notes become comments above
their section. Values of variables with names of secrets become parameters. Images and VM sizes of
other tools are often years old; they get their current names.

An importer replaces a variable of the original by a placeholder (:meth:`Expressions.add`), works on
the text, and finishes it: braces of the original are escaped, and each placeholder becomes ``{{
expression }}``.
"""

from __future__ import annotations

import re
import shlex
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from batchspec.catalog import images, vm_sizes
from batchspec.spec import RESERVED, dump_document, slug

_URL = re.compile(r"https?://[^\s\"'<>]+", re.IGNORECASE)
_SIGNATURE = re.compile(r"[?&;]sig=", re.IGNORECASE)
_NAME = re.compile(
    r"key|secret|token|passw|pwd|credential|signature|sas(?:$|_)|connection_?string", re.IGNORECASE
)
_CALL = re.compile(r"\[(?:parameters|variables|concat)\(")
"""An expression of a template instead of a value."""
_EXPRESSION = r"\{\{(?:(?!\{\{).)*?\}\}"
"""No second start is allowed in it: the time would grow with the square of the length of a text."""
_SHORT = 8
"""Values with fewer characters occur in other words by chance; they are replaced as a whole."""


def is_secret_name(name: str) -> bool:
    """Whether the name of a variable or parameter is that of a secret."""
    return _NAME.search(name) is not None


def unsigned(text: str) -> str:
    """A text in which no URL has a signature."""
    return _URL.sub(_without_signature, text)


def _without_signature(url: re.Match[str]) -> str:
    return url[0].partition("?")[0] if _SIGNATURE.search(url[0]) else url[0]


def secret_variables(document: object) -> Iterator[tuple[str, str]]:
    """The environment variables in a document with names of secrets.

    Variables are objects with a ``name`` and a ``value``, or members of ``environment_variables``.
    """
    if isinstance(document, Mapping):
        members = {str(key).lower(): value for key, value in document.items()}
        variables = members.get("environment_variables")
        named = dict(variables) if isinstance(variables, Mapping) else {}
        if isinstance(members.get("name"), str):
            named[members["name"]] = members.get("value")
        for name, value in named.items():
            text = "" if isinstance(value, bool | Mapping | list) else str(value or "")
            if is_secret_name(str(name)) and text and not _CALL.search(text):
                yield str(name), text
        for each in document.values():
            yield from secret_variables(each)
    elif isinstance(document, list):
        for each in document:
            yield from secret_variables(each)


class SecretRemoval:
    """Removes signatures, and replaces secret values by their parameters, in all texts of a value.

    ``parameters`` are names of parameters by the values.
    """

    def __init__(self, parameters: Mapping[str, str]) -> None:
        self._parameters = {_escaped(value): name for value, name in parameters.items()}
        # The longest first: one value can be the start of another.
        values = sorted(self._parameters, key=len, reverse=True)
        # Expressions are last: their words are not values.
        self._pattern = re.compile("|".join([*map(_pattern, values), _EXPRESSION]), re.DOTALL)

    def __call__(self, value: Any) -> Any:
        """The value without secrets; objects and lists are copied."""
        match value:
            case Mapping():
                return {key: self(item) for key, item in value.items()}
            case list() | tuple():
                return [self(item) for item in value]
            case str():
                return self._pattern.sub(self._replaced, unsigned(value))
        return value

    def _replaced(self, found: re.Match[str]) -> str:
        parameter = self._parameters.get(found[0])
        return found[0] if parameter is None else f"{{{{ {parameter} }}}}"


def _escaped(value: str) -> str:
    """A value as a text of a template."""
    return value.replace("{{", "{{ '{{' | raw }}")


def _pattern(value: str) -> str:
    if len(value) >= _SHORT:
        return re.escape(value)
    return rf"(?<![^\s\"'=:,]){re.escape(value)}(?![^\s\"',;:])"


Json: TypeAlias = Mapping[str, Any]
"""An object of JSON or YAML."""
Body: TypeAlias = dict[str, Any]
"""Members of a section, as in YAML."""

POOL, JOB, CONTAINERS, PARAMETERS = "pool", "job", "containers", "parameters"
"""Sections of a spec that can have notes; :func:`stage_section` is the section of a stage."""

OWN_FILE = {"http_url": "{{ file.url }}", "file_path": "{{ file.name }}"}
"""The file of a task, which the task gets without `resources`."""

_WIDTH = 100
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufeff\ufffe\uffff]")
_LIMIT = "1d"
"""The time limit of a job without a time limit in the original."""


def stage_section(name: str) -> str:
    """The section of a stage."""
    return f"tasks.{name}"


@dataclass(slots=True)
class Draft:
    """The sections of a spec, and notes by section."""

    name: str = ""
    description: str = ""
    parameters: dict[str, Body] = field(default_factory=dict)
    containers: dict[str, Body] = field(default_factory=dict)
    pool: Body = field(default_factory=dict)
    job: Body = field(default_factory=dict)
    stages: dict[str, Body] = field(default_factory=dict)
    notes: dict[str, list[str]] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    """Names of secret parameters by the values that they replace in all sections."""

    def hide_secrets(self, document: object) -> None:
        """Declare a secret parameter for each variable with the name of a secret."""
        for name, value in secret_variables(document):
            if value in self.secrets:
                continue
            wanted, number = name.lower(), 2
            while identifier(wanted) in self.secrets.values():
                wanted, number = f"{name.lower()}_{number}", number + 1
            key = self.parameter(wanted, type="string", secret=True)
            self.secrets[value] = key
            self.note(
                PARAMETERS,
                f"The value of `{name}` is not imported; set it with `--var {key}=...`.",
            )

    def note(self, section: str, text: str) -> None:
        """Add a note about a section; a repeated note is added once."""
        found = self.notes.setdefault(section, [])
        if text not in found:
            found.append(text)

    def container(self, name: str, *, key: str = "", existing: bool = False) -> str:
        """The key of a container by its name in the account; it is declared if it is new."""
        key = key or identifier(name)
        body = self.containers.setdefault(key, {})
        if key != name:
            body["id"] = name
        if existing:
            body["existing"] = True
        return key

    def parameter(self, name: str, **declaration: Any) -> str:
        """The name of a parameter, which is declared if it is new."""
        key = identifier(name)
        if key in RESERVED:
            key = f"{key}_value"
        self.parameters.setdefault(key, {}).update(declaration)
        return key

    def stage(self, wanted: str, body: Body) -> str:
        """Add a stage; returns its name, which is ``wanted`` unless another stage has it."""
        base = slug(wanted, 40) or "task"
        name, number = base, 2
        while name in self.stages:
            name, number = f"{base}-{number}", number + 1
        self.stages[name] = body
        return name

    def finish(self) -> None:
        """Add the required parts of a spec that the original lacks."""
        self.name = slug(self.name, 64) or "imported"
        if not self.pool:
            pool = self.parameter("pool_id", type="string", description="The id of the pool.")
            self.pool = {"existing": f"{{{{ {pool} }}}}"}
            self.note(POOL, "The original does not define the pool. Name one, or define it here.")
        if "existing" not in self.pool and "vm_size" not in self.pool:
            self.pool["vm_size"] = "standard_d2s_v5"
            self.note(POOL, "The original has no VM size.")
        constraints = self.job.get("constraints", {})
        if not {"max_wall_clock_time"} & {*self.job, *constraints}:
            self.job = {"max_wall_clock_time": _LIMIT, **self.job}
            self.note(JOB, "The original has no time limit; batchspec requires one.")
        self._remove_secrets()

    def _remove_secrets(self) -> None:
        without_secrets = SecretRemoval(self.secrets)
        self.description = without_secrets(self.description)
        self.parameters = without_secrets(self.parameters)
        self.containers = without_secrets(self.containers)
        self.pool = without_secrets(self.pool)
        self.job = without_secrets(self.job)
        self.stages = without_secrets(self.stages)
        self.notes = without_secrets(self.notes)

    def text(self, origin: str) -> str:
        """The spec as YAML. ``origin`` is the source of the import."""
        return "\n".join(self._lines(origin)) + "\n"

    def _lines(self, origin: str) -> Iterator[str]:
        yield f"# Imported from {_one_line(origin)} by batchspec import."
        yield from _comment(self.notes.get("", ()))
        yield from _dumped({"version": 1, "name": self.name})
        if self.description:
            yield from _dumped({"description": self.description})
        for section, body in (
            (PARAMETERS, self.parameters),
            (CONTAINERS, self.containers),
            (POOL, self.pool),
            (JOB, self.job),
        ):
            if body:
                yield ""
                yield from _comment(self.notes.get(section, ()))
                yield from _dumped({section: body})
        if self.stages:
            yield ""
            yield from _comment(self.notes.get("tasks", ()))
            yield "tasks:"
        for number, (name, body) in enumerate(self.stages.items()):
            if number:
                yield ""
            yield from _indented(_comment(self.notes.get(stage_section(name), ())))
            yield from _indented(_dumped({name: body}))


def identifier(name: str) -> str:
    """A name for use in templates: letters, digits and underscores."""
    found = re.sub(r"\W", "_", name, flags=re.ASCII).strip("_") or "unnamed"
    return f"_{found}" if found[0].isdigit() else found


def _one_line(text: str) -> str:
    """A text without line breaks and control characters of YAML, which would end a comment."""
    return _CONTROL.sub("?", " ".join(text.split()))


def _dumped(document: Mapping[str, object]) -> list[str]:
    return dump_document(document, "yaml").rstrip("\n").split("\n")


def _indented(lines: Iterator[str] | list[str]) -> Iterator[str]:
    return (f"  {line}" if line else line for line in lines)


def _comment(notes: list[str] | tuple[str, ...]) -> Iterator[str]:
    for note in notes:
        yield from textwrap.wrap(
            _one_line(note),
            _WIDTH,
            initial_indent="# ",
            subsequent_indent="# ",
            break_long_words=False,
        )


_PLACEHOLDER = re.compile("\ue000([0-9]+)\ue001")
_SPECIAL = re.compile(r"[`&|;<>*?~#()\[\]!\\$^%]")
"""Characters that a shell interprets."""
_SHELLS = frozenset({"sh", "/bin/sh", "/usr/bin/sh"})
_BASH = frozenset({"bash", "/bin/bash", "/usr/bin/bash"})
_ONLY_BASH = re.compile(
    r"\[\[|\bsource\b|pipefail|[<>]\(|&>|\$\{[^}]*[\^,/@\[]|\bdeclare\b|\blocal\b|\bfunction\b"
    r"|\{\d+\.\.|<<<|\$'|\bshopt\b|\bBASH"
)
"""Syntax of bash that ``/bin/sh`` of some distributions does not have."""
_OPTIONS = re.compile(r"-[a-z]*c|-[a-z]+")


@dataclass(slots=True)
class Expressions:
    """The expressions of one document by the number of their placeholders."""

    _found: list[str] = field(default_factory=list)

    def add(self, expression: str) -> str:
        """A placeholder for an expression of a spec."""
        self._found.append(expression)
        return f"\ue000{len(self._found) - 1}\ue001"

    def only(self, text: str) -> str | None:
        """The expression, if a text is only its placeholder."""
        match = _PLACEHOLDER.fullmatch(text)
        return self._found[int(match[1])] if match else None

    def finish(self, text: str) -> str:
        """The text as a template, without signatures."""
        escaped = unsigned(text).replace("{{", "{{ '{{' | raw }}")
        return _PLACEHOLDER.sub(lambda match: f"{{{{ {self._found[int(match[1])]} }}}}", escaped)

    def command(self, line: str, *, windows: bool = False) -> Body:
        """A command line as ``command``, or as ``command_line`` if a shell would change it.

        The service starts a command line without a shell. A command line that only starts ``sh``
        becomes the script of this shell.
        """
        script = None if windows else shell_script(line)
        if script is not None:
            return {"command": self.finish(script)}
        arguments = None if windows else bash_script(line)
        if arguments is not None:
            return {"command": [self.finish(argument) for argument in arguments]}
        if windows or _SPECIAL.search(line):
            return {"command_line": self.finish(line)}
        return {"command": self.finish(line)}


def shell_script(line: str) -> str | None:
    """The script in a command line of ``sh``, or of ``bash`` without the syntax of bash."""
    words = _words(line)
    if len(words) != 3 or words[1] != "-c" or words[0] not in _SHELLS | _BASH:
        return None
    only_bash = words[0] in _BASH and _ONLY_BASH.search(words[2])
    return None if only_bash else words[2]


def bash_script(line: str) -> list[str] | None:
    """The arguments of a command line with a script for ``bash``."""
    words = _words(line)
    known = len(words) >= 3 and words[0] in _BASH | _SHELLS
    return words if known and all(map(_OPTIONS.fullmatch, words[1:-1])) else None


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError:
        return []


_UBUNTU, _WINDOWS = "ubuntu-24.04", "windowsserver-2022"
WITH_CONTAINERS = "ubuntu-hpc-2204"
"""The alias of an image with a container engine; other images lack an engine."""
_SYSTEMS = (
    (r"canonical .*24[._]04", "ubuntu-24.04"),
    (r"canonical .*22[._]04", "ubuntu-22.04"),
    (r"almalinux .*\b8-gen", "almalinux-8"),
    (r"almalinux .*\b9-gen", "almalinux-9"),
    (r"debian .*\b12\b", "debian-12"),
    (r"windowsserver 2019", "windowsserver-2019"),
    (r"windowsserver 2022", "windowsserver-2022"),
)
"""Publisher, offer and sku, and the alias of the image."""


def image_members(reference: Mapping[str, Any], agent: str = "") -> tuple[Body, str]:
    """The members of a pool for an image reference and its node agent SKU, and a note about it."""
    plain = {
        key.replace("_", "").lower(): str(value)
        for key, value in reference.items()
        if value is not None
    }
    if own := plain.get("virtualmachineimageid"):
        return _machine({"virtual_machine_image_id": own}, agent), ""
    names = [plain.get(key, "") for key in ("publisher", "offer", "sku")]
    text = " ".join(names).lower()
    for system, alias in _SYSTEMS:
        if re.search(system, text) and "core" not in text:
            return {"image": alias}, ""
    for image in images.IMAGES:
        if [image.publisher, image.offer, image.sku] == [name.lower() for name in names]:
            kept: Body = {
                key: plain[key] for key in ("publisher", "offer", "sku", "version") if key in plain
            }
            return _machine(kept, agent or image.agent), ""
    shown = " ".join(filter(None, names[1:]))
    note = (
        f"The image was {shown}, which Batch no longer lists."
        if shown
        else "The original names no image."
    )
    return {"image": _WINDOWS if "windows" in text else _UBUNTU}, note


def _machine(reference: Body, agent: str) -> Body:
    machine: Body = {"image_reference": reference}
    if agent:
        machine["node_agent_sku_id"] = agent
    return {"virtual_machine_configuration": machine}


def container_image(members: Body) -> str:
    """A note if a pool with containers has an image without an engine, which is replaced."""
    machine = members.get("virtual_machine_configuration", {})
    image = members.get("image")
    if not members.get("container_images") and "container_configuration" not in machine:
        return ""
    if image in (None, WITH_CONTAINERS, _WINDOWS):
        return ""
    members["image"] = WITH_CONTAINERS
    return f"{WITH_CONTAINERS} has a container engine; {image} has none."


def cloud_service(family: object) -> tuple[Body, str]:
    """``image`` for a cloud service of an OS family (1-7: Windows Server), and a note."""
    return {"image": _WINDOWS}, f"The nodes were cloud services (OS family {family}), now retired."


def vm_size_note(size: str) -> str:
    """The current problem of a VM size; empty if there is none."""
    if not size or not vm_sizes.is_well_formed(size.lower()):
        return ""
    end = vm_sizes.retirement(size)
    if end is not None:
        return f"Azure retires {size} on {end:%Y-%m-%d}; `batchspec validate` names other sizes."
    if vm_sizes.is_restricted(size):
        return f"New subscriptions get no quota for {size}; standard_d2s_v5 is a current size."
    return ""
