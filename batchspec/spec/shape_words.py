"""The problems of a spec's shape, as data: one function for each kind."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches

from batchspec.problems import Place, Problem
from batchspec.spec.node import Node
from batchspec.spec.schema import Fragment
from batchspec.spec.units import suggested
from batchspec.spec.values import Text

_TYPES = {
    "string": "a text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "`true` or `false`",
    "array": "a list",
    "object": "a mapping",
    "null": "nothing",
}
_MOST_NAMED = 12


def nearest(given: str, known: Iterable[str]) -> str | None:
    """The known name that was probably meant."""
    names = list(known)
    folded = {_folded(name): name for name in names}
    if (same := folded.get(_folded(given))) is not None:
        return same
    begun = [name for folding, name in folded.items() if folding.startswith(_folded(given))]
    if len(begun) == 1 and len(given) > 2:
        return begun[0]
    swapped = [name for folding, name in folded.items() if _is_swapped(_folded(given), folding)]
    if len(swapped) == 1:
        return swapped[0]
    close = get_close_matches(_folded(given), folded, n=1, cutoff=0.7)
    return folded[close[0]] if close else None


def _folded(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")


def _is_swapped(given: str, known: str) -> bool:
    """Two neighbours changed places: of a short word too much for the others to tell it by."""
    if len(given) != len(known) or given == known:
        return False
    at = next(at for at, letter in enumerate(known) if given[at] != letter)
    return given == known[:at] + known[at : at + 2][::-1] + known[at + 2 :]


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """The hint for a name that is not known: the nearest, or all if they are few."""
    names = list(known)
    if (near := nearest(given, names)) is not None:
        return f"Did you mean `{near}`?"
    if not names or len(names) > _MOST_NAMED:
        return ""
    return f"There is {listed(names, 'and')}."


def listed(names: Sequence[object], word: str = "or") -> str:
    """Names in backticks: ``a``, ``b`` or ``c``."""
    shown = [f"`{name}`" for name in names]
    return f"{', '.join(shown[:-1])} {word} {shown[-1]}" if len(shown) > 1 else "".join(shown)


def called(schema: Fragment, name: str) -> str:
    """What a mapping is called in a sentence."""
    if not name:
        return "a spec"
    title = str(schema.get("title", ""))
    return title[0].lower() + title[1:] if title.startswith(("A ", "An ")) else f"`{name}`"


def described(node: Node) -> str:  # noqa: PLR0911 - one for each kind of value
    """What is written, in a few words."""
    match node.value:
        case Text():
            return f"`{node.value.shown}`"
        case None:
            return "nothing"
        case bool():
            return f"`{node.raw or str(node.value).lower()}`"
        case int() | float():
            return f"the number {node.raw or node.value}"
        case str() if not node.value.strip():
            return "an empty text"
        case str():
            return f"the text `{_short(node.value)}`"
        case tuple():
            return "a list"
    return "a mapping"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 40 else f"{line[:37]}..."


def _takes(node: Node, name: str) -> str:
    if node.key is None and name:
        return f"an item of `{name}` is"
    return f"`{name}` takes" if name else "a spec is"


def wrong_type(node: Node, wanted: tuple[str, ...], schema: Fragment, name: str) -> Problem:
    """Another type is wanted."""
    if schema.get("x-unit") == "duration" and isinstance(node.value, int | float):
        return not_a_duration(node, suggested(node.raw), name)
    if node.value is None and not node.raw:
        return Problem(
            "no-value", f"`{name}` has no value", where=node.at, hint=_type_hint(node, wanted)
        )
    kinds = [_TYPES[kind] for kind in wanted if not (kind == "integer" and "number" in wanted)]
    if len(kinds) > 1:
        kinds = [part for kind in kinds for part in kind.split(" or ")]
    said = f"{', '.join(kinds[:-1])} or {kinds[-1]}" if len(kinds) > 1 else kinds[0]
    return Problem(
        "wrong-type",
        f"{_takes(node, name)} {said}, not {described(node)}",
        where=node.at,
        hint=_type_hint(node, wanted),
    )


def _type_hint(node: Node, wanted: tuple[str, ...]) -> str:
    if node.value is None:
        return "Write `{}` for an empty mapping." if "object" in wanted else ""
    if "boolean" in wanted and node.raw.lower() in ("yes", "no", "on", "off", "y", "n"):
        return f"Write `{'true' if node.raw.lower() in ('yes', 'on', 'y') else 'false'}`."
    if "string" in wanted and isinstance(node.value, int | float):
        return f'Put it in quotes: "{node.raw}".'
    if wanted == ("array",) and not node.is_collection:
        return f"Write `[{node.raw}]`."
    return _whole_hint(node) if "integer" in wanted else ""


def _whole_hint(node: Node) -> str:
    """How a whole number is to be written that was written as something else."""
    if node.filled and re.fullmatch(r"-?[0-9]+\.[0-9]+", node.raw):
        return "Make it whole with `| int`, or divide with `//`."
    digits = node.text.replace("_", "").replace(",", "") if node.text is not None else ""
    if digits.isascii() and digits.isdigit():
        return f"Write `{int(digits[:40])}`."
    return ""


def two_ways(node: Node, first: str, second: str) -> Problem:
    """Two branches of a union at once."""
    return Problem(
        "either-or",
        f"`{second}` cannot stand beside `{first}`",
        where=node.name,
        hint="Keep one of them.",
    )


def short_and_long(node: Node, short: str, long: str) -> Problem:
    """A short form, and what it is short for."""
    return Problem(
        "either-or",
        f"`{long}` is what `{short}` is short for",
        where=node.name,
        hint="Keep one of them.",
    )


def no_way(node: Node, marks: tuple[str, ...], name: str) -> Problem:
    """No branch of a union is told by the keys."""
    for key, value in node.members.items():
        if near := nearest(key, marks):
            return Problem(
                "unknown-key",
                f"there is no `{key}` in `{name}`",
                where=value.name,
                hint=f"Did you mean `{near}`?",
            )
    return Problem("missing-key", f"`{name}` takes one of {listed(marks)}", where=node.at)


def not_a_choice(node: Node, allowed: Sequence[object], name: str) -> Problem:
    """Not one of the values."""
    if node.is_collection or node.value is None:
        hint = ""
    elif node.quoted and node.raw in [str(option) for option in allowed]:
        hint = f"Write `{node.raw}` without quotes."
    else:
        near = nearest(node.raw or str(node.value), [str(option) for option in allowed])
        hint = f"Did you mean `{near}`?" if near is not None else ""
    return Problem(
        "bad-value",
        f"`{name}` is {listed(allowed)}, not {described(node)}",
        where=node.at,
        hint=hint,
    )


def unknown_key(
    node: Node, key: str, known: Mapping[str, Fragment], schema: Fragment, name: str
) -> Problem:
    """A key that is not there."""
    return Problem(
        "unknown-key",
        f"there is no `{_short(key)}` in {called(schema, name)}",
        where=node.name,
        hint=" ".join(filter(None, (_unseen(key), did_you_mean(key, known)))),
    )


def _unseen(key: str) -> str:
    """A character that nobody sees, as pages and word processors put them in."""
    found = next((letter for letter in key if not letter.isprintable()), None)
    return f"It has a character in it that cannot be seen, U+{ord(found):04X}." if found else ""


def missing_key(node: Node, key: str, schema: Fragment, name: str) -> Problem:
    """A key that must be there."""
    examples = schema.get("properties", {}).get(key, {}).get("examples", ())
    hint = f"Write `{key}: {examples[0]}`." if examples and not _is_deep(examples[0]) else ""
    if key == "version":
        hint = "A spec starts with `version: 1`."
    return Problem(
        "missing-key",
        f"`{key}` is missing in {called(schema, name)}",
        where=_start(node),
        hint=hint,
    )


def _is_deep(example: object) -> bool:
    return isinstance(example, dict | list)


def _start(node: Node) -> Place:
    return node.name


def bad_name(node: Node, key: str, name: str) -> Problem:
    """A name that cannot be one."""
    rules = {
        "parameters": "Parameters are named by letters, digits and `_`, and start with no digit.",
        "matrix": "Variables are named by letters, digits and `_`, and start with no digit.",
        "tasks": "Stages are named by 1-40 letters, digits, `-` and `_`.",
        "exit_codes": "Write a code (`3`), a range (`10-20`), `default`, `pre_processing_error` "
        "or `file_upload_error`.",
        "env": "Names of variables have no `=` and no spaces.",
    }
    return Problem(
        "bad-name",
        f"`{_short(key)}` cannot be a name in `{name}`",
        where=node.name,
        hint=rules.get(name, ""),
    )


def too_few(node: Node, name: str) -> Problem:
    """A mapping that may not be empty."""
    return Problem("empty", f"`{name}` is empty", where=node.name)


def wrong_count(node: Node, least: int, most: int | None, name: str) -> Problem:
    """A list that is too short or too long."""
    said = f"{least} or more items" if most is None else f"{least} to {most} items"
    if least == 1 and most is None:
        return Problem("empty", f"`{name}` is empty", where=node.at)
    return Problem("wrong-count", f"`{name}` takes {said}, not {len(node.items)}", where=node.at)


def out_of_range(node: Node, schema: Fragment, name: str) -> Problem | None:
    """A number that is too small or too large, if it is."""
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
    for keyword, said, good in limits:
        if not good:
            return Problem(
                "out-of-range",
                f"`{name}` is {said} {schema[keyword]}, not {node.raw or node.value}",
                where=node.at,
            )
    return None


def not_a_duration(node: Node, hint: str, name: str) -> Problem:
    """A duration is wanted."""
    return Problem(
        "not-a-duration",
        f"`{name}` takes a duration, not {described(node)}",
        where=node.at,
        hint=hint,
    )


def not_a_time(node: Node, name: str) -> Problem:
    """A time is wanted."""
    return Problem(
        "not-a-time",
        f"`{name}` takes a time with its offset, not {described(node)}",
        where=node.at,
        hint="Times are written `2026-12-01T06:00:00Z`.",
    )


def deferred_unit(node: Node, name: str) -> Problem:
    """A secret or a URL where a duration or a time is wanted."""
    return Problem("wrong-type", f"`{name}` cannot be made of a secret or a URL", where=node.at)


def differs(node: Node, name: str) -> Problem:
    """A template that differs from task to task where no text is wanted."""
    return Problem(
        "same-for-all",
        f"`{name}` is the same for all tasks of a stage",
        where=node.at,
        hint="Take a parameter for it, or make stages of what differs.",
    )


def secret_in_clear(node: Node, name: str) -> Problem:
    """A literal where only a secret parameter may stand. The text is kept out of the message."""
    where = node.key or node.where
    return Problem(
        "secret-in-clear",
        f"`{name}` is written in the clear",
        detail="A spec is made to be committed; what it holds is no secret any more.",
        where=Place(where.file, where.line, where.column),
        hint=f'Declare a parameter with `secret: true`, and write `{name}: "{{{{ NAME }}}}"`.',
    )
