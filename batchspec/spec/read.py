"""Reads a spec: text → :class:`~batchspec.spec.model.Spec`. All problems are raised together.

The steps: compose a tree from YAML, validate it against the schema, read the parameters, fill in
templates, expand short forms, check the rules, build the dataclasses.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import yaml

from batchspec.diagnostics import Diagnostic, Diagnostics, Place, Secret, SpecError
from batchspec.frozen import frozen
from batchspec.spec import build
from batchspec.spec.formulas import formula_rules, with_pool_end
from batchspec.spec.model import Container, Cost, Notify, Spec
from batchspec.spec.node_scripts import with_node_scripts
from batchspec.spec.parameter_values import ValueSources
from batchspec.spec.parameters import read_parameters
from batchspec.spec.rows import read_json
from batchspec.spec.rules_names import name_rules
from batchspec.spec.rules_pool import identity_rules, job_rules, pool_rules
from batchspec.spec.rules_properties import parts_of, property_rules
from batchspec.spec.rules_tasks import stage_rules, task_rules
from batchspec.spec.short_forms import ends_job, expanded
from batchspec.spec.substitute import READ, WRITE, Rendered, rendered
from batchspec.spec.validator import validated
from batchspec.spec.values import BlobUrl, Piece, Quoted, Quoting, Text, Value, thaw
from batchspec.spec.yaml_parser import (
    ambiguous_numbers,
    is_number_elsewhere,
    parse,
    read_source,
    resolve,
)
from batchspec.spec.yaml_tree import Node, positions

_RULES = (
    name_rules,
    pool_rules,
    identity_rules,
    formula_rules,
    job_rules,
    stage_rules,
)
"""Rules between parts of a spec. Each takes the tree, in which invalid parts are marked, and yields
problems; it must accept a tree that lacks any part."""


class FlawedSpecError(SpecError):
    """A spec has errors. Its valid parts are used to report further errors in the same run.

    ``containers`` are its containers, without the entries of ``upload`` that have an error or
    depend on one. ``spec`` is ``None`` unless all errors are in values of properties.
    """

    def __init__(
        self, *problems: Diagnostic, containers: tuple[Container, ...], spec: Spec | None = None
    ) -> None:
        super().__init__(*problems)
        self.containers = containers
        self.spec = spec


def read_spec(
    path: Path, sources: ValueSources | None = None, *, needs_secrets: bool = True
) -> Spec:
    """Read a spec with its parameters, whose values come from ``sources`` and their defaults.

    Unless ``needs_secrets``, secret parameters do not need a value.

    Raises:
        FlawedSpecError: the spec has errors; carries all of them in the order of their positions.
        SpecError: the file cannot be read, or is not YAML.
    """
    complete, warnings, places = _read(path, sources or ValueSources(), needs_secrets)
    return _built(path, complete, warnings, places)


def _built(
    path: Path, found: Rendered, warnings: tuple[Diagnostic, ...], places: Mapping[str, Place]
) -> Spec:
    """The spec of an expanded tree."""
    root, folder, name = found.root, path.parent, found.name
    containers = _containers(found, folder)
    ids = {key: container.id for key, container in containers.items()}
    ends = ends_job(root.members["job"])
    cost, notify = _client_sections(root, folder)
    return Spec(
        path=path,
        name=name,
        digest=_digest(found),
        parameters=found.parameters,
        containers=containers,
        pool=build.pool(root.members["pool"], name, windows=found.windows),
        job=build.job(root.members["job"], name),
        stages=tuple(
            build.stage(key, node, folder, ids, ends_job=ends)
            for key, node in root.mapping("tasks").items()
        ),
        description=root.string("description"),
        results=tuple(build.result(item, folder) for item in root.sequence("results")),
        cleanup=build.cleanup(root.get("cleanup")),
        storage_identity=root.string("storage", "identity"),
        cost=cost,
        notify=notify,
        packages={
            key: build.package(key, node, folder) for key, node in root.mapping("packages").items()
        },
        warnings=warnings,
        places=places,
    )


_CLIENT_SECTIONS = frozenset({"cost", "notify"})
"""The sections that do not affect the work."""


def _client_sections(root: Node, folder: Path) -> tuple[Cost | None, Notify | None]:
    if _CLIENT_SECTIONS.isdisjoint(root.members):
        return None, None
    from batchspec.spec.client_sections import client_sections  # noqa: PLC0415 - start time

    return client_sections(root, folder)


def _client_rules(root: Node, folder: Path) -> Iterable[Diagnostic]:
    if _CLIENT_SECTIONS.isdisjoint(root.members):
        return ()
    from batchspec.spec.client_sections import client_rules  # noqa: PLC0415 - start time

    return client_rules(root, folder)


def _containers(found: Rendered, folder: Path) -> dict[str, Container]:
    return {
        key: build.container(key, node, folder, implied=key == found.implied)
        for key, node in found.root.members["containers"].members.items()
    }


def expanded_document(path: Path, sources: ValueSources | None = None) -> dict[str, object]:
    """The spec as plain data: parameters set, short forms expanded, secrets as templates.

    The result is a valid spec for the same run. Secret parameters do not need a value.

    Raises:
        SpecError: as :func:`read_spec`.
    """
    found, _, _ = _read(path, sources or ValueSources(), False)
    return document(found)


def _read(
    path: Path, sources: ValueSources, needs_secrets: bool
) -> tuple[Rendered, tuple[Diagnostic, ...], Mapping[str, Place]]:
    """The expanded spec, its warnings, and the positions of its keys, as written and expanded."""
    problems = Diagnostics()
    found = _checked(path, sources, problems, needs_secrets=needs_secrets)
    written = positions(found.root)
    found = with_node_scripts(found, path.parent, problems)
    has_structure = not problems.stops
    complete = expanded(found)
    places = {**written, **positions(complete.root)}
    parts = tuple(parts_of(complete))
    problems.extend(property_rules(parts))
    problems.extend(task_rules(parts))
    reported = _unique(problems)
    if problems.stops:
        raise FlawedSpecError(
            *reported,
            containers=tuple(_containers(complete, path.parent).values()),
            spec=_built(path, complete, (), places) if has_structure else None,
        )
    return replace(complete, root=with_pool_end(complete.root)), reported, places


def _checked(
    path: Path,
    sources: ValueSources,
    problems: Diagnostics,
    *,
    needs_secrets: bool,
) -> Rendered:
    """The tree with its templates filled in; errors in its structure are added to ``problems``."""
    source = read_source(path)
    written = parse(source)
    if not isinstance(written.value, Mapping):
        raise SpecError(
            Diagnostic(
                "not-a-mapping",
                "the spec is not a mapping",
                where=written.where,
                fix="Start it with `version: 1`.",
            )
        )
    root = validated(written, problems)
    declared = root.mapping("parameters")
    values = read_parameters(declared, sources, problems, needs_secrets=needs_secrets)
    found = rendered(root, source, values, tuple(declared), path.parent, problems=problems)
    for rule in _RULES:
        problems.extend(rule(found.root))
    problems.extend(_client_rules(found.root, path.parent))
    reported = {problem.where for problem in problems.found}
    problems.extend(p for p in ambiguous_numbers(written) if p.where not in reported)
    return found


def _unique(problems: Diagnostics) -> tuple[Diagnostic, ...]:
    """Each problem once (an alias repeats them), without the lines that contain a secret."""
    found = tuple({(p.code, p.where, p.summary): p for p in reversed(problems.found)}.values())
    secret_lines = {
        (p.where.file, p.where.line)
        for p in found
        if p.where is not None and p.code == "secret-in-clear" and not p.where.text
    }
    return tuple(
        replace(p, where=replace(p.where, text=""))
        if p.where is not None and (p.where.file, p.where.line) in secret_lines
        else p
        for p in reversed(found)
    )


def _digest(found: Rendered) -> str:
    """The SHA-256 of the parts of the expanded spec that can affect the work.

    It contains no secrets and no sources of their values.
    """
    work = {key: value for key, value in document(found).items() if key not in _CLIENT_SECTIONS}
    declared = work.get("parameters")
    if isinstance(declared, dict):
        work["parameters"] = {
            name: {key: value for key, value in members.items() if key != "key_vault"}
            for name, members in declared.items()
        }
    text = json.dumps(work, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


_URLS = {"": "url", READ: "read_url", WRITE: "write_url"}


def document(found: Rendered) -> dict[str, object]:
    """An expanded spec as plain data, in the order of the file; implied members come last.

    Secrets and URLs remain templates, because they are known only at submission.
    """
    containers = found.root.members["containers"].members.items()
    names = _Names(
        {node.string("id", default=key): key for key, node in containers},
        {id(value): name for name, value in found.parameters.items() if isinstance(value, Secret)},
    )
    plain = {key: _plain(node, names) for key, node in found.root.members.items()}
    if found.parameters:
        plain["parameters"] = {
            name: _set(node, found.parameters[name])
            for name, node in found.root.members["parameters"].members.items()
        }
    return plain


@frozen
class _Names:
    """The names of containers (by id) and secrets (by identity) in templates."""

    containers: Mapping[str, str]
    secrets: Mapping[int, str]


def read_data(path: Path) -> object:
    """A YAML or JSON file that is not a spec.

    Raises:
        SpecError: it cannot be read, or its syntax is wrong.
    """
    source = read_source(path, "Check the path.")
    if path.suffix.lower() != ".json":
        return parse(source).plain()
    try:
        return read_json(source.text)
    except json.JSONDecodeError as error:
        where, reason = source.place(error.lineno, error.colno), error.msg
    except ValueError as error:
        where, reason = source.place(1, 1), str(error)
    raise SpecError(Diagnostic("bad-json", f"the file is not valid JSON: {reason}", where=where))


def dump_document(document: Mapping[str, object], form: str) -> str:
    """A document as text. ``form`` is ``yaml`` or ``json``."""
    if form == "json":
        text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
        return _ONLY_JSON.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=_WIDEST)


class _Dumper(yaml.SafeDumper):
    """Writes strings of several lines as block scalars, and no aliases.

    A string that a reader of YAML 1.1 or 1.2 takes for another value is quoted.
    """

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - the name is the base class's
        """Write repeated values in full."""
        return True

    def _str(self, text: str) -> yaml.ScalarNode:
        style = "|" if "\n" in text else None
        if not isinstance(resolve(text), str) or is_number_elsewhere(text):
            style = "'"
        elif _ONLY_JSON.search(text):
            style = '"'
        return self.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _Dumper._str)

_ONLY_JSON = re.compile("[\x7f\x85\u2028\u2029\ufeff]")
"""Characters that JSON allows in a string, and that YAML forbids or may take for a line break."""

_WIDEST = 10_000
"""Do not fold lines, so that commands can be copied."""


def _set(declared: Node, value: Value) -> dict[str, object]:
    """A declaration with the value as its default, except for a secret."""
    plain = declared.plain()
    assert isinstance(plain, dict)
    if isinstance(value, Secret):
        return plain
    return {**plain, "default": thaw(value, lambda text: text.shown)}


def _plain(node: Node, names: _Names) -> object:
    if isinstance(node.value, Text):
        return _text(node.value, names)
    if isinstance(node.value, Mapping):
        return dict(_member(key, child, names) for key, child in node.value.items())
    if isinstance(node.value, tuple):
        return [_plain(item, names) for item in node.value]
    if node.filled and isinstance(node.value, str):
        return _escaped(node.value)
    return node.value


def _member(key: str, node: Node, names: _Names) -> tuple[str, object]:
    """A member of a mapping; a script with secrets or URLs is a ``command``.

    In a command line, values in the script would have to be quoted twice. The task is then written
    with the keys that accept ``command``.
    """
    if key in _COMMAND_LINES and isinstance(node.value, Text):
        return key, _command(node.value.pieces, names)
    short, keys = _SHORT_FORMS.get(key, (key, {}))
    lines = {long: node.members[long] for long in keys if long in node.members}
    scripts = {
        keys[long]: _command(script, names)
        for long, line in lines.items()
        if long in _COMMAND_LINES and (script := _script(line)) is not None
    }
    if not scripts:
        return key, _plain(node, names)
    plain = {keys.get(long, long): _plain(child, names) for long, child in node.members.items()}
    return short, {**plain, **scripts}


def _script(line: Node) -> tuple[Piece, ...] | None:
    """The script in a command line with secrets or URLs; ``None`` without a shell."""
    match line.value:
        case Text(("/bin/sh -c ", Quoted(script))):
            return script.pieces
        case Text((str(first), *pieces, str(last))) if first.startswith(_CMD):
            quoted = [piece.quoting for piece in pieces if isinstance(piece, Quoted)]
            if Quoting.WINDOWS_PROGRAM not in quoted and last.endswith('"'):
                return (first.removeprefix(_CMD), *pieces, last.removesuffix('"'))
    return None


_CMD = 'cmd /c "'
_COMMAND_LINES = ("command_line", "coordination_command_line")
_TASK = {"command_line": "command"}
_SHORT_FORMS = {
    "start_task": ("start_task", _TASK),
    "job_preparation_task": ("prepare", _TASK),
    "job_release_task": ("release", _TASK),
    "multi_instance_settings": (
        "instances",
        {
            "number_of_instances": "count",
            "coordination_command_line": "command",
            "common_resource_files": "resources",
        },
    ),
}
"""The short form of a task with a command, and its keys by those of the long form."""


def _text(text: Text, names: _Names) -> str:
    return "".join(_expression(piece, names) for piece in text.pieces)


def _command(pieces: Sequence[Piece], names: _Names) -> str:
    """Pieces as a template in which values are quoted when they are inserted."""
    parts = []
    for piece in pieces:
        match piece:
            case str():
                parts.append(_escaped(piece))
            case Quoted(Text((Quoted(inner),))):
                parts += [_expression(part, names, " | quote") for part in inner.pieces]
            case Quoted(inner):
                parts += [_expression(part, names) for part in inner.pieces]
            case _:
                parts.append(_expression(piece, names, " | raw"))
    return "".join(parts)


def _expression(piece: Piece, names: _Names, quote: str = "") -> str:
    """A piece in a template; ``quote`` is the filter for its quoting."""
    match piece:
        case str():
            return _escaped(piece)
        case Secret():
            return f"{{{{ {names.secrets[id(piece)]}{quote} }}}}"
        case BlobUrl(container, _, permissions):
            key = names.containers.get(container, container)
            return f"{{{{ containers[{key!r}].{_URLS.get(permissions, 'read_url')}{quote} }}}}"
        case Quoted(inner):
            return "".join(_expression(part, names, quote) for part in inner.pieces)


def _escaped(text: str) -> str:
    """A literal text as a template that yields it."""
    return text.replace("{{", "{{ '{{' | raw }}")
