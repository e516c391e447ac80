"""The problems that validation against the schema reports, one function for each kind."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from batchspec.diagnostics import Diagnostic, Place, did_you_mean, folded, nearest
from batchspec.spec.convert import LONGEST, suggested
from batchspec.spec.values import Text
from batchspec.spec.yaml_parser import LONGEST_NUMBER
from batchspec.spec.yaml_tree import Node

if TYPE_CHECKING:
    from batchspec.spec.validator import Fragment

TYPE_NAMES = {
    "string": "a string",
    "integer": "an integer",
    "number": "a number",
    "boolean": "`true` or `false`",
    "array": "a list",
    "object": "a mapping",
    "null": "null",
}
_MOST_LISTED = 12
_DECIMAL = re.compile(r"[-+]?[0-9]+(?:\.[0-9]*)?")

_NAME_RULES = {
    "parameters": "Use letters, digits and `_` for a parameter; do not start with a digit.",
    "matrix": "Use letters, digits and `_` for a variable; do not start with a digit.",
    "tasks": "Use 1-40 letters, digits, `-` and `_` for a stage.",
    "exit_codes": "Use a code (`3`), a range (`10-20`), `default`, `pre_processing_error` or "
    "`file_upload_error`.",
    "env": "Use a variable name without `=` and spaces.",
}


def nearest_or_all(given: str, known: Iterable[str]) -> str:
    """The fix for an unknown name: the nearest known one, or all of them if they are few."""
    names = list(known)
    if fix := did_you_mean(given, names):
        return fix
    if not names or len(names) > _MOST_LISTED:
        return ""
    return f"Use {listed(names)}."


def listed(names: Sequence[object]) -> str:
    """Names in backticks: ``a``, ``b`` or ``c``."""
    shown = [f"`{name}`" for name in names]
    return f"{', '.join(shown[:-1])} or {shown[-1]}" if len(shown) > 1 else "".join(shown)


def _called(schema: Fragment, name: str) -> str:
    """A mapping in a sentence."""
    if not name:
        return "the spec"
    title = str(schema.get("title", ""))
    return title[0].lower() + title[1:] if title.startswith(("A ", "An ")) else f"`{name}`"


def described(node: Node) -> str:  # noqa: PLR0911 - one for each kind of value
    """The value as written, in a few words."""
    match node.value:
        case Text():
            return f"`{node.value.shown}`"
        case None:
            return "null"
        case bool():
            return f"`{node.raw or str(node.value).lower()}`"
        case int() | float():
            return f"the number {node.raw or node.value}"
        case str() if not node.value.strip():
            return "an empty string"
        case str():
            return f"the string `{_short(node.value)}`"
        case tuple():
            return "a list"
    return "a mapping"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 40 else f"{line[:37]}..."


def is_long_number(text: str) -> bool:
    """Whether a plain scalar would be a number if it were shorter."""
    return len(text) > LONGEST_NUMBER and _DECIMAL.fullmatch(text) is not None


def _must_be(node: Node, name: str) -> str:
    if node.key is None and name:
        return f"an item of `{name}` must be"
    return f"`{name}` must be" if name else "the spec must be"


def wrong_type(node: Node, wanted: tuple[str, ...], schema: Fragment, name: str) -> Diagnostic:
    """The value has the wrong type."""
    if schema.get("x-unit") == "duration" and isinstance(node.value, int | float):
        return not_a_duration(node, suggested(node.raw), name)
    if node.value is None and not node.raw:
        return Diagnostic(
            "no-value", f"`{name}` has no value", where=node.at, fix=_type_fix(node, wanted)
        )
    if not node.quoted and {"integer", "number"} & set(wanted) and is_long_number(node.raw):
        return Diagnostic(
            "out-of-range",
            f"{_must_be(node, name).removesuffix(' be')} have at most {LONGEST_NUMBER} digits",
            where=node.at,
        )
    kinds = [TYPE_NAMES[kind] for kind in wanted if not (kind == "integer" and "number" in wanted)]
    if len(kinds) > 1:
        kinds = [part for kind in kinds for part in kind.split(" or ")]
    expected = f"{', '.join(kinds[:-1])} or {kinds[-1]}" if len(kinds) > 1 else kinds[0]
    return Diagnostic(
        "wrong-type",
        f"{_must_be(node, name)} {expected}, not {described(node)}",
        where=node.at,
        fix=_dependencies_fix(node) if name == "depends_on" else _type_fix(node, wanted),
    )


def _dependencies_fix(node: Node) -> str:
    """The fix for dependencies that are a list of names or a name."""
    names = [item.raw for item in node.items or (node,) if item.raw]
    if not names or len(names) > _MOST_LISTED:
        return "Write `needs: [STAGE]`, or `depends_on: {task_ids: [ID]}`."
    return f"Write `needs: [STAGE]`, or `depends_on: {{task_ids: [{', '.join(names)}]}}`."


def _type_fix(node: Node, wanted: tuple[str, ...]) -> str:
    if node.value is None:
        return "Write `{}` for an empty mapping." if "object" in wanted else ""
    if "boolean" in wanted and node.raw.lower() in ("yes", "no", "on", "off", "y", "n"):
        return f"Write `{'true' if node.raw.lower() in ('yes', 'on', 'y') else 'false'}`."
    if "string" in wanted and isinstance(node.value, int | float):
        return f'Put it in quotes: "{node.raw}".'
    if wanted == ("array",) and not node.is_collection:
        return f"Write `[{node.raw}]`."
    return _integer_fix(node) if "integer" in wanted else ""


def _integer_fix(node: Node) -> str:
    """The fix for an integer in another notation."""
    if node.filled and re.fullmatch(r"-?[0-9]+\.[0-9]+", node.raw):
        return "Convert it with `| int`, or divide with `//`."
    digits = node.text.replace("_", "").replace(",", "") if node.text is not None else ""
    if digits.isascii() and digits.isdigit():
        return f"Write `{int(digits[:40])}`."
    return ""


def exclusive_keys(node: Node, first: str, second: str) -> Diagnostic:
    """The value has keys of two branches of a union."""
    return Diagnostic(
        "either-or",
        f"`{second}` cannot be combined with `{first}`",
        where=node.name,
        fix=_FILES_AND_VALUES
        if {first, second} & _FILES and {first, second} & _VALUES
        else "Keep one of them.",
    )


def short_and_long(node: Node, short: str, long: str) -> Diagnostic:
    """A short form beside the property that it sets."""
    return Diagnostic(
        "either-or",
        f"`{long}` cannot be combined with its short form `{short}`",
        where=node.name,
        fix="Keep one of them.",
    )


def no_branch(node: Node, marks: tuple[str, ...], name: str) -> Diagnostic:
    """The keys do not identify a branch of a union."""
    for key, value in node.members.items():
        if near := nearest(key, marks):
            return Diagnostic(
                "unknown-key",
                f"`{key}` is not a key of `{name}`",
                where=value.name,
                fix=f"Did you mean `{near}`?",
            )
    return Diagnostic("missing-key", f"`{name}` must have one of {listed(marks)}", where=node.at)


def not_a_choice(node: Node, allowed: Sequence[object], name: str) -> Diagnostic:
    """The value is not an allowed value."""
    if node.is_collection or node.value is None:
        fix = ""
    elif node.quoted and node.raw in [str(option) for option in allowed]:
        fix = f"Write `{node.raw}` without quotes."
    else:
        fix = did_you_mean(node.raw or str(node.value), [str(option) for option in allowed])
    return Diagnostic(
        "bad-value",
        f"`{name}` must be {listed(allowed)}, not {described(node)}",
        where=node.at,
        fix=fix,
    )


def unknown_key(
    node: Node, key: str, known: Mapping[str, Fragment], schema: Fragment, name: str
) -> Diagnostic:
    """A key that does not exist."""
    advice = advice_on(key, known)
    other = nearest_or_all(key, known)
    if set(known) == {"existing"} and nearest(key, known) is None:
        other = "Remove it, or replace `existing` by `id` to let batchspec create the pool."
    return Diagnostic(
        "unknown-key",
        f"`{_short(key)}` is not a key of {_called(schema, name)}",
        detail=advice.why,
        where=node.name,
        fix=advice.fix or " ".join(filter(None, (_invisible(key), other))),
    )


def _invisible(key: str) -> str:
    """An invisible character, as copied from a web page or a word processor."""
    found = next((letter for letter in key if not letter.isprintable()), None)
    return f"Remove the invisible character U+{ord(found):04X} from it." if found else ""


def missing_key(node: Node, key: str, schema: Fragment, name: str) -> Diagnostic:
    """A required key is missing."""
    examples = schema.get("properties", {}).get(key, {}).get("examples", ())
    shown = [example for example in examples if not isinstance(example, dict | list)]
    example = str(shown[0]) if shown else ""
    if shown and isinstance(shown[0], str) and _DECIMAL.fullmatch(example):
        # YAML would read it as a number.
        example = f'"{example}"'
    fix = f"Write `{key}: {example}`." if example else ""
    if key == "version" and not name:
        fix = "Start the spec with `version: 1`."
    return Diagnostic(
        "missing-key",
        f"`{key}` is missing in {_called(schema, name)}",
        where=node.name,
        fix=fix,
    )


def bad_name(node: Node, key: str, name: str) -> Diagnostic:
    """A key that is not a valid name."""
    return Diagnostic(
        "bad-name",
        f"`{_short(key)}` is not a valid name in `{name}`",
        where=node.name,
        fix=_NAME_RULES.get(name, ""),
    )


def empty(node: Node, name: str) -> Diagnostic:
    """A mapping or list that must not be empty."""
    return Diagnostic("empty", f"`{name}` is empty", where=node.at)


def wrong_count(node: Node, least: int, most: int | None, name: str) -> Diagnostic:
    """A list with too few or too many items."""
    if least == 1 and most is None:
        return empty(node, name)
    expected = f"{least} or more" if most is None else f"{least} to {most}"
    return Diagnostic(
        "wrong-count", f"`{name}` must have {expected} items, not {len(node.items)}", where=node.at
    )


def out_of_range(node: Node, schema: Fragment, name: str) -> Diagnostic | None:
    """The problem of a number outside its bounds, if there is one."""
    assert isinstance(node.value, int | float)
    limits = (
        ("minimum", "at least", node.value >= schema.get("minimum", node.value)),
        ("maximum", "at most", node.value <= schema.get("maximum", node.value)),
        (
            "exclusiveMinimum",
            "greater than",
            "exclusiveMinimum" not in schema or node.value > schema["exclusiveMinimum"],
        ),
    )
    for keyword, bound, is_met in limits:
        if not is_met:
            return Diagnostic(
                "out-of-range",
                f"`{name}` must be {bound} {schema[keyword]}, not {node.raw or node.value}",
                where=node.at,
            )
    return None


def not_a_duration(node: Node, fix: str, name: str) -> Diagnostic:
    """A duration is expected."""
    return Diagnostic(
        "not-a-duration",
        f"`{name}` must be a duration, not {described(node)}",
        where=node.at,
        fix=fix,
    )


def too_long(node: Node, name: str) -> Diagnostic:
    """A duration that the service cannot store."""
    return Diagnostic(
        "out-of-range",
        f"`{name}` must be at most {LONGEST.days} days, not {described(node)}",
        "The service stores durations as a .NET TimeSpan.",
        where=node.at,
    )


def not_a_time(node: Node, name: str) -> Diagnostic:
    """A time is expected."""
    return Diagnostic(
        "not-a-time",
        f"`{name}` must be a time with an offset, not {described(node)}",
        where=node.at,
        fix="Write a time such as `2026-12-01T06:00:00Z`.",
    )


def deferred_unit(node: Node, name: str) -> Diagnostic:
    """A secret or a URL where a duration or a time is expected."""
    return Diagnostic("wrong-type", f"`{name}` cannot contain a secret or a URL", where=node.at)


def varies(node: Node, name: str) -> Diagnostic:
    """A template that varies from task to task, in a property that all tasks of a stage share."""
    return Diagnostic(
        "same-for-all",
        f"`{name}` must be the same for all tasks of a stage",
        where=node.at,
        fix="Use a parameter, or write a separate stage for each value.",
    )


def secret_in_clear(node: Node, name: str) -> Diagnostic:
    """A literal value where a secret parameter is expected. The message does not contain it."""
    where = node.key or node.where
    return Diagnostic(
        "secret-in-clear",
        f"the value of `{name}` is a secret in plain text",
        detail="Specs are committed to repositories, where others can read the secret.",
        where=Place(where.file, where.line, where.column),
        fix=f'Declare a parameter with `secret: true`, and write `{name}: "{{{{ NAME }}}}"`.',
    )


# Properties that older versions of the Batch REST API had, and properties that only Azure's control
# plane (Azure Resource Manager) has. Source: the changes between the REST versions 2024-02-01.19.0
# and 2025-06-01, and the control plane's API 2024-02-01.


class Advice(NamedTuple):
    """The reason why a key does not exist, and its replacement. Both are empty for other keys."""

    why: str = ""
    fix: str = ""


_REMOVED = "The REST API removed it in version 2025-06-01"
_SIMPLIFIED = Advice(f"{_REMOVED}: all nodes use simplified communication.", "Remove the key.")
_CERTIFICATES = Advice(
    f"{_REMOVED}.",
    "Install certificates with the Key Vault extension"
    " (`virtual_machine_configuration.extensions`).",
)
_TAGS = Advice(
    "Only Azure's control plane sets tags.",
    "Use `metadata`, or create the pool there and use `pool: {existing: ID}`.",
)
_OTHER_NAME = "This is its name in Azure's control plane."

_FILES, _VALUES = frozenset({"files", "blobs"}), frozenset({"matrix", "range", "list"})
_FILES_AND_VALUES = (
    "For several tasks for each file, write a table of files and values, and use `rows`; see"
    " docs/how-to/files-and-script.md."
)
_AXIS: Mapping[str, Advice] = {
    **dict.fromkeys(
        ("files", "blobs"), Advice("A matrix combines lists and ranges.", _FILES_AND_VALUES)
    ),
    "list": Advice("", "Write the list itself, as in `[1, 2]`."),
}
_SPEC: Mapping[str, Advice] = dict.fromkeys(
    ("budget", "max_cost"), Advice("", "Use `cost: {max: 25 USD}`.")
)
_CONTAINER_OF_A_RESOURCE = Advice(
    "",
    "Write the name alone, as in `[NAME]`, for all its blobs. For one blob or several, use"
    ' `storage_container_url: "{{ containers.NAME.read_url }}", blob_prefix: PREFIX`.',
)
_RESOURCE: Mapping[str, Advice] = {
    "container": _CONTAINER_OF_A_RESOURCE,
    "prefix": Advice("", "Use `blob_prefix`."),
}
_COMMAND = Advice("", "Use `command`.")
_POOL: Mapping[str, Advice] = {
    "target_node_communication_mode": _SIMPLIFIED,
    "current_node_communication_mode": _SIMPLIFIED,
    "certificate_references": _CERTIFICATES,
    "certificates": _CERTIFICATES,
    "cloud_service_configuration": Advice(
        f"{_REMOVED}, with the pools of Cloud Services.",
        "Use `image` or `virtual_machine_configuration`.",
    ),
    "application_licenses": Advice(
        f"{_REMOVED}.", "Install the application with a license of your own."
    ),
    "max_tasks_per_node": Advice(
        "The REST API renamed it in version 2020-09-01.", "Use `task_slots_per_node`."
    ),
    "resource_tags": _TAGS,
    "tags": _TAGS,
    "scale_settings": Advice(_OTHER_NAME, "Use `nodes`."),
    "deployment_configuration": Advice(
        _OTHER_NAME, "Use `image` or `virtual_machine_configuration`."
    ),
    "application_packages": Advice(_OTHER_NAME, "Use `application_package_references`."),
    "inter_node_communication": Advice(_OTHER_NAME, "Use `enable_inter_node_communication`."),
}
_TASK: Mapping[str, Advice] = {
    **dict.fromkeys(("cmd", "run", "script", "exec"), _COMMAND),
    "authentication_token_settings": Advice(
        "The service retired it on 2024-09-30.",
        "Use a managed identity: `identity: {ids: [ID]}` of the pool.",
    ),
}


def advice_on(key: str, known: Iterable[str]) -> Advice:
    """The advice about an unknown key.

    ``known`` are the keys of the mapping; they identify its subject. ``key`` may have the form of
    the REST API: ``certificateReferences``.
    """
    names = set(known)
    table: Mapping[str, Advice] = {}
    if "vm_size" in names:
        table = _POOL
    elif names & {"command", "command_line"}:
        table = _TASK
    elif names == {"range"}:
        table = _AXIS
    elif "auto_storage_container_name" in names:
        table = _RESOURCE
    elif {"version", "tasks"} <= names:
        table = _SPEC
    wanted = folded(key)
    return next((found for name, found in table.items() if folded(name) == wanted), Advice())
