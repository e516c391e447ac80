"""Changes of the structure of specs, for :mod:`tools.structure_fuzz`."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from batchspec.spec import load_schema

ROOT = Path(__file__).parents[2]
Tree = dict[str, Any]
Path_ = tuple[str | int, ...]

# --- seeds ---------------------------------------------------------------------------------------


@cache
def seeds() -> list[tuple[str, Tree]]:
    """The specs to change, by name. Do not change them."""
    found = [(path.stem, path) for path in sorted((ROOT / "specs").glob("*.yaml"))]
    found += [(path.stem, path) for path in sorted((ROOT / "tests/spec/good").glob("*.yaml"))]
    specs = [(name, yaml.safe_load(path.read_text("utf-8"))) for name, path in found]
    text = (ROOT / "docs/spec.md").read_text("utf-8")
    blocks = text.split("```yaml\n")[1:]
    examples = (yaml.safe_load(block.partition("```")[0]) for block in blocks)
    rest = {
        "version": 1,
        "name": "example",
        "pool": {"vm_size": "standard_d2s_v5", "nodes": 1, "image": "ubuntu-24.04"},
        "job": {"max_wall_clock_time": "1h"},
        "tasks": {"run": {"command": "hostname"}},
    }
    specs += [
        (f"docs-{number}", {**rest, **example})
        for number, example in enumerate(examples)
        if isinstance(example, dict)
    ]
    return specs


# --- mutations -----------------------------------------------------------------------------------

TEMPLATES = (
    *("{{ name }}", "{{ index }}", "{{ nope }}", "{{", "}}", "{{ }}", "{{ 1/0 }}", "{{ task.id }}"),
    *("{{ containers.output.write_url }}", "{{ containers }}", "{{ file.path }}", "{{ value }}"),
    *("{{ 'x' | int }}", "{{ 10 ** 400 }}", "{{ 'a' * 2000000 }}", "{{ name | nope }}", "{% x %}"),
    *("{{ {{ name }} }}", "{{ name }}{{ name }}"),
    *("a{{ name | raw }}b", "{{ [1, 2] }}", "{{ none }}"),
    *("{{ range(9) }}", "{{ name.__class__ }}"),
    *("{{ row.a }}", "{{ index | format }}", "'{{ name }}'"),
)
NUMBERS = (0, -1, 1, 2**31, 2**63, 10**30, -(10**30), 1e308, 5e-324, 0.1, 1.5, 10**45)
TEXTS = (
    *("", " ", "x", "a b", "\n", "a\nb"),
    *("ü€😀", "*" * 300, "x" * 100_000, "../x", "/", "C:\\x", "%A%"),
    *("30", "1h", "0s", "P10675199DT2H48M5.4775807S", "9" * 400 + "d", "-1m", "PT", "1:30", "yes"),
    *("null", "0755", "1e-3", "2026-01-01", "https://a/b?sv=1&sig=c2VjcmV0", "$TargetDedicated=1"),
    *("ubuntu-24.04", "standard_a1", "input", "output", "same", "\u2028", "\x85", "'", '"', "a,b"),
)
KEYS = (
    *("id", "name", "command", "command_line"),
    *("nodes", "existing", "lifetime", "schedule", "needs"),
    *("for_each", "files", "blobs", "matrix", "range"),
    *("list", "rows", "outputs", "resources", "env"),
    *("constraints", "image", "vm_size", "parameters"),
    *("containers", "secret", "default", "pattern"),
    *("", "<<", "{{ name }}", "vmSize", "x" * 200, "1", "true", "a.b", "ü"),
)
DECLARATIONS = (
    {"type": "string", "pattern": "^(a+)+$", "default": "a" * 40 + "b"},
    {"$ref": "#", "default": 1},
    {"type": ["integer", "null"], "default": None},
    {"type": "number", "multipleOf": 0.01, "default": 4.35},
    {"enum": [], "default": 1},
    {"type": "object", "properties": {"a": {"$ref": "#/nope"}}, "default": {}},
    {"type": "string", "secret": True},
    {"allOf": [{"not": {}}], "default": {"a": [1, {"b": None}]}},
)


def paths(tree: Any, path: Path_ = ()) -> Iterator[Path_]:
    """The paths of all values of a tree, without the root."""
    if isinstance(tree, dict | list):
        for key, child in list(tree.items() if isinstance(tree, dict) else enumerate(tree)):
            yield (*path, key)
            yield from paths(child, (*path, key))


def at(tree: Any, path: Path_) -> Any:
    """The value at a path."""
    for step in path:
        tree = tree[step]
    return tree


def copied(value: Any) -> Any:
    """A deep copy of plain data."""
    if isinstance(value, dict):
        return {key: copied(child) for key, child in value.items()}
    return [copied(child) for child in value] if isinstance(value, list) else value


def strange(rng: random.Random, seeds: list[tuple[str, Tree]]) -> Any:
    """A value that no key expects, or a part of another spec."""
    kind = rng.randrange(9)
    if kind < 2:
        return rng.choice(TEMPLATES)
    if kind < 4:
        return rng.choice(NUMBERS)
    if kind < 5:
        return rng.choice(TEXTS)
    if kind < 6:
        return rng.choice((None, True, False, [], {}, [None], [[]], [{}], {"a": {"b": {"c": []}}}))
    if kind < 7:
        return [rng.choice(TEXTS + NUMBERS + TEMPLATES) for _ in range(rng.randrange(4))]
    other = rng.choice(seeds)[1]
    return copied(at(other, rng.choice(list(paths(other)))))


def put(tree: Tree, path: Path_, rng: random.Random, specs: list[tuple[str, Tree]]) -> None:
    """Another value."""
    at(tree, path[:-1])[path[-1]] = strange(rng, specs)


def similar(tree: Tree, path: Path_, rng: random.Random, _: list[tuple[str, Tree]]) -> None:
    """Another value of the same type."""
    match value := at(tree, path):
        case bool():
            other: Any = not value
        case int() | float():
            other = rng.choice((value + 1, value * 2, 1, *NUMBERS))
        case str():
            other = rng.choice((f"{value} ", value.upper(), *TEXTS, *TEMPLATES))
        case _:
            other = copied(value)
    at(tree, path[:-1])[path[-1]] = other


def drop(tree: Tree, path: Path_, _: random.Random, __: list[tuple[str, Tree]]) -> None:
    """One key or item removed."""
    del at(tree, path[:-1])[path[-1]]


def nothing(tree: Tree, path: Path_, _: random.Random, __: list[tuple[str, Tree]]) -> None:
    """A key without a value."""
    at(tree, path[:-1])[path[-1]] = None


def rename(tree: Tree, path: Path_, rng: random.Random, _: list[tuple[str, Tree]]) -> None:
    """Another key for a value."""
    parent = at(tree, path[:-1])
    if isinstance(parent, dict):
        parent[rng.choice(KEYS)] = parent.pop(path[-1])


def swap(tree: Tree, path: Path_, rng: random.Random, _: list[tuple[str, Tree]]) -> None:
    """Two values exchanged, such as ``pool`` and ``job``."""
    other = rng.choice(list(paths(tree)))
    if path[: len(other)] != other and other[: len(path)] != path:
        one, two = at(tree, path), at(tree, other)
        at(tree, path[:-1])[path[-1]], at(tree, other[:-1])[other[-1]] = two, one


def move(tree: Tree, path: Path_, rng: random.Random, _: list[tuple[str, Tree]]) -> None:
    """A value in another mapping."""
    targets = [(), *(p for p in paths(tree) if isinstance(at(tree, p), dict))]
    target = rng.choice(targets)
    if target[: len(path)] != path:
        value = copied(at(tree, path))
        at(tree, target)[str(path[-1])] = value


def repeat(tree: Tree, path: Path_, rng: random.Random, _: list[tuple[str, Tree]]) -> None:
    """A value many times, or a copy next to it."""
    parent, value = at(tree, path[:-1]), at(tree, path)
    if isinstance(parent, list):
        parent.extend(copied(value) for _ in range(rng.choice((1, 1, 300))))
    else:
        parent[f"{path[-1]}{rng.choice(('2', '_', 'x'))}"] = copied(value)


def nest(tree: Tree, path: Path_, rng: random.Random, _: list[tuple[str, Tree]]) -> None:
    """A value in lists or mappings, with depths up to above the limit of YAML."""
    value = copied(at(tree, path))
    for _depth in range(rng.choice((1, 1, 2, 80))):
        value = [value] if rng.randrange(2) else {rng.choice(KEYS): value}
    at(tree, path[:-1])[path[-1]] = value


def long_form(tree: Tree, path: Path_, rng: random.Random, _: list[tuple[str, Tree]]) -> None:
    """A property of the REST models beside or instead of a short form."""
    parent = at(tree, path[:-1])
    model = rng.choice(MODELS.get(str(path[0]), MODELS["tasks"]))
    if isinstance(parent, dict) and model:
        key = rng.choice(model)
        parent[key] = copied(at(tree, path)) if rng.randrange(2) else strange(rng, [("", tree)])


def declare(tree: Tree, _: Path_, rng: random.Random, __: list[tuple[str, Tree]]) -> None:
    """A parameter with an unusual declaration."""
    given = tree.setdefault("parameters", {})
    if isinstance(given, dict):
        given[rng.choice(("p", "q", "name", "top"))] = copied(rng.choice(DECLARATIONS))


def _models() -> dict[str, list[list[str]]]:
    definitions = load_schema()["definitions"]
    names = {
        "pool": ("BatchPoolCreateOptions", "VirtualMachineConfiguration", "BatchStartTask"),
        "job": ("BatchJobCreateOptions", "BatchJobConstraints", "BatchJobManagerTask"),
        "tasks": ("BatchTaskCreateOptions", "BatchTaskConstraints", "ResourceFile", "OutputFile"),
    }
    return {
        section: [list(definitions[name]["properties"]) for name in models]
        for section, models in names.items()
    }


MODELS = _models()
MUTATIONS: tuple[Callable[[Tree, Path_, random.Random, list[tuple[str, Tree]]], None], ...] = (
    *(
        similar,
        similar,
        similar,
        put,
        put,
        drop,
        drop,
        nothing,
        rename,
        swap,
        swap,
        move,
        repeat,
        nest,
        long_form,
        long_form,
    ),
    declare,
)


def mutant(number: int, seed: int, specs: list[tuple[str, Tree]]) -> tuple[str, str]:
    """The name of a seed and the text of its mutant; equal numbers give equal mutants."""
    rng = random.Random(f"{seed}-{number}")
    name, spec = specs[number % len(specs)]
    tree = copied(spec)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 4))):
        candidates = list(paths(tree))
        if not candidates:
            break
        try:
            rng.choice(MUTATIONS)(tree, rng.choice(candidates), rng, specs)
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change removed the place
    text = yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, width=200)
    return name, as_text(text, rng)


def as_text(text: str, rng: random.Random) -> str:
    """Sometimes a change that is only possible in text: a repeated key, an alias, a merge."""
    lines = text.splitlines(keepends=True)
    kind = rng.randrange(10)
    if kind == 0 and lines:
        line = rng.randrange(len(lines))
        lines.insert(rng.randrange(len(lines)), lines[line])
    elif kind == 1:
        lines.append(
            rng.choice(("tasks: {}\n", "pool: *p\n", "<<: {a: 1}\n", "? [a]\n: 1\n", "---\n"))
        )
    return "".join(lines)
