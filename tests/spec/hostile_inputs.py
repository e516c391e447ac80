"""Hostile inputs of ``validate`` and ``plan``, for :mod:`tools.input_fuzz`.

Each kind writes a spec and its files to a folder and returns the options of the command. It depends
only on a random source, so that a seed and a number repeat an input.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from tests.spec.odd_values import ROWS, odd_places
from tests.spec.structure_mutations import TEXTS, mutant, seeds


@dataclass(frozen=True, slots=True)
class Case:
    """An input: its kind, the path of the spec, and values of ``--var`` and ``--var-file``."""

    kind: str
    spec: Path
    variables: tuple[str, ...] = ()
    variable_files: tuple[Path, ...] = field(default=())


BASE = """\
version: 1
name: {name}
description: {description}
parameters:
  top: {{type: integer, default: 3}}
  words: {{type: array, default: [a, b]}}
  tree: {{type: object, default: {{a: {{b: 1}}}}}}
  token: {{type: string, secret: true}}
{parameters}
containers:
  input: {{upload: ["data/*"]}}
  output: {{id: {container_id}}}
pool:
  id: {pool_id}
  vm_size: {vm_size}
  nodes: {nodes}
  image: {image}
  start_task: {{command: {start}, resources: {start_resources}}}
job:
  id: {job_id}
  max_wall_clock_time: {job_limit}
  priority: {priority}
  metadata: [{{name: a, value: {metadata}}}]
{schedule}
tasks:
  work:
    for_each: {for_each}
    id: {task_id}
    command: {command}
    env: {{A: {env}, "{env_name}": b}}
    slots: {slots}
    retries: {retries}
    max_wall_clock_time: {limit}
    resources: {resources}
    outputs: [{{files: {pattern}, container: {output}, path: {path}}}]
    logs: {logs}
    exit_codes: {{{code}: {action}}}
results: [{{container: {result}, match: {match}, to: {to}}}]
cleanup: {{job: {cleanup}}}
"""
"""A spec with a place for each kind of value."""

DEFAULTS: Mapping[str, str] = {
    **dict.fromkeys(("name", "pool_id", "job_id"), "demo"),
    **dict.fromkeys(("description", "metadata", "env"), "text"),
    "parameters": "",
    "container_id": "demo-output",
    "vm_size": "standard_d2s_v5",
    "nodes": "2",
    "image": "ubuntu-24.04",
    "start": "hostname",
    "start_resources": "[input]",
    "job_limit": "1h",
    "priority": "0",
    "schedule": "",
    "for_each": "{range: [0, 3]}",
    "task_id": "work-{{ index }}",
    "command": "echo {{ top }}",
    "env_name": "B",
    "slots": "1",
    "retries": "0",
    "limit": "10m",
    "resources": "[input]",
    "pattern": '"*.txt"',
    "output": "output",
    "path": "a/",
    "logs": "false",
    "code": "3",
    "action": "satisfy",
    "result": "output",
    "match": '"*"',
    "to": "results/",
    "cleanup": "never",
}

FOR_EACH = (
    "{range: [0, 3]}",
    "{list: [red, 1, null, {a: 1}]}",
    "{matrix: {a: [1, 2], b: {range: [0, 3]}}}",
    "{files: input}",
    "{files: input, group: 2}",
    "{blobs: input}",
    "{rows: rows.csv}",
)


def written(folder: Path, **places: str) -> Path:
    """Write the spec with other values in these places, and two inputs."""
    (folder / "data").mkdir(exist_ok=True)
    (folder / "data/a.txt").write_text("a\n", "utf-8")
    (folder / "data/b.txt").write_text("b\n", "utf-8")
    path = folder / "spec.yaml"
    text = BASE.format_map({**DEFAULTS, **places})
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    return path


# --- values --------------------------------------------------------------------------------------

DIGITS = ("9" * 5000, "-" + "9" * 4400, "0." + "1" * 5000, "1e400", "-1e400", "1e-400", "1e308")
NUMBERS = ("0", "-1", "1.5", str(2**31), str(2**63), str(10**39), "1e20", *DIGITS)
MOMENTS = (
    *("9999-12-31T23:59:59Z", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00Z"),
    *("0001-01-01T00:00:00+23:59", "2024-02-29T00:00:00Z", "2023-02-29T00:00:00Z"),
    *("2026-03-29T02:30:00+02:00", "2026-12-31T23:59:60Z", "2026-13-01T00:00:00Z", "0000-01-01"),
    *("2026-01-01T00:00:00.123456789Z", "99999-01-01T00:00:00Z", "2026-01-01T24:00:00Z"),
)
DURATIONS = (
    *("1ms", "0s", "1h30m", "PT0S", "P1Y", "P1M2W", "PT" + "9" * 5000 + "S", "9" * 300 + "d"),
    *("P10675199DT2H48M5.4775807S", "P10675200D", "1e5h", "-1h", "PT1e400S", "P999999999D"),
    *("0." + "1" * 300 + "h", "106751991d", "10000000000m"),
)
LITERALS = (
    *("1", "0", "-1", "1.5", "1e400", "-1e400", "9" * 30, "9" * 5000, "1e308 * 10", "2 ** 1000"),
    *("'x'", "''", "'a' * 70000", "'\\0'", "'\\ud800'", "'\u202e'", "'{{'", "[]", "{}", "()"),
    *("[1, 2]", "[[[[1]]]]", "{'a': 1}", "none", "true", "1 / 3", "0x1F", "1_0", "nope"),
    *("[1] * 100000", "'ab' * 500000", "(1, 2) * 500000", "'%s' * 40000"),
)
NAMES = (
    *("top", "words", "tree", "tree.a", "tree.a.b", "tree.x", "token", "name", "job.id", "pool"),
    *("containers", "containers.output", "containers.output.write_url", "containers.output.name"),
    *("containers.input.read_url", "containers.nope.url", "index", "task.id", "file", "file.name"),
    *("files", "value", "a", "b", "row", "loop", "self", "range(3)", "caller", "namespace"),
    *("name.__class__", "name.format", "''.join", "tree.items", "words.append", "words[0]"),
    *(
        "words[5]",
        "words['a']",
        "tree['a']",
        "name[::-1]",
        "name[10**30]",
        "name[::0]",
        "words[1e400]",
    ),
)
FILTERS = (
    *("abs", "capitalize", "center", "count", "default", "dictsort", "filesizeformat", "first"),
    *("float", "format", "int", "items", "join", "last", "length", "list", "lower", "map", "max"),
    *("min", "reject", "rejectattr", "replace", "reverse", "round", "select", "selectattr", "sort"),
    *("string", "sum", "title", "tojson", "trim", "truncate", "unique", "upper", "urlencode"),
    *(
        "wordcount",
        "stem",
        "suffix",
        "basename",
        "dirname",
        "slug",
        "hash",
        "zfill",
        "quote",
        "raw",
    ),
    *("nope", "attr", "batch", "indent", "pprint", "xmlattr", "wordwrap", "random", "safe", "d"),
)
TESTS = ("defined", "divisibleby 0", "in 3", "sequence", "none", "odd", "even", "mapping", "nope")
METHODS = (
    *(
        "startswith(1)",
        "split('')",
        "split(none, 10**30)",
        "rsplit()",
        "find(1, 2, 3, 4)",
        "strip(5)",
    ),
    *(
        "removeprefix('a')",
        "partition('')",
        "count('')",
        "upper()",
        "encode()",
        "join([1])",
        "title()",
    ),
)
OPERATORS = ("+", "-", "*", "/", "//", "%", "**", "~", "==", "<", "and", "or", "in", "not in")


def argument(rng: random.Random) -> str:
    """An argument of a filter."""
    return rng.choice(
        (*LITERALS, *NAMES, "'upper'", "attribute='a'", "10**9", "-10**9", "by='value'")
    )


def expression(rng: random.Random, depth: int = 0) -> str:
    """A random expression."""
    kind = rng.randrange(12) if depth < 5 else rng.randrange(3)
    below = depth + 1
    match kind:
        case 0 | 1:
            return rng.choice(NAMES)
        case 2:
            return rng.choice(LITERALS)
        case 3 | 4 | 5:
            arguments = ", ".join(argument(rng) for _ in range(rng.choice((0, 0, 1, 1, 2, 3))))
            call = f"({arguments})" if arguments else ""
            return f"({expression(rng, below)}) | {rng.choice(FILTERS)}{call}"
        case 6 | 7:
            operator = rng.choice(OPERATORS)
            return f"({expression(rng, below)}) {operator} ({expression(rng, below)})"
        case 8:
            return f"({expression(rng, below)}) is {rng.choice(TESTS)}"
        case 9:
            return f"({expression(rng, below)}).{rng.choice(METHODS)}"
        case 10:
            condition = expression(rng, below)
            return f"{expression(rng, below)} if {condition} else {expression(rng, below)}"
        case _:
            return f"({expression(rng, below)})[{argument(rng)}]"


def long_expression(rng: random.Random) -> str:
    """An expression that is long or deep, or has a large result."""
    many = rng.choice((50, 200, 2000, 20_000))
    return rng.choice(
        (
            "top" + " | string" * many,
            "'a'" + " | replace('a', 'aa')" * min(many, 2000),
            "'ab' | list" + " | list" * many,
            "(" * many + "1" + ")" * many,
            "-" * many + "1",
            "not " * many + "1",
            "[" * many + "]" * many,
            " + ".join(["1"] * many),
            " ~ ".join(["name"] * many),
            " or ".join(["top == 1"] * many),
            " ** ".join(["9"] * min(many, 50)),
            " * ".join(["9999999999"] * many),
            "1" + " if 1 else 1" * min(many, 2000),
            "name" + "[0]" * many,
            "tree" + ".a" * many,
            "'" + "x" * many * 10 + "'",
            "[" + "1, " * many + "] | sort | unique | list",
            "'" + "a" * 60_000 + "' | truncate(10**9)",
            "('x' * 60000) | list | map('upper') | join('yyyyyyyyyy')",
            "('x ' * 30000) | title | urlencode | urlencode | urlencode | tojson | tojson",
            "(('x' * 60000) | list) * 1000",
            "('a' * 60000 ~ 'b' * 60000) | replace('a', 'c' * 60000)",
            "'%1000s' * 60 | format(1)",
            "[[[1] * 1000] * 1000] * 1000",
            "'\\\\' * 60000 | tojson | tojson | tojson",
            "words | sum(start=[])",
            "[words, words, words, words] | sum(start=[]) | map('list') | list",
            "1e308 | int",
            "(2 ** 1000 * 2 ** 1000) | string",
            "(9 ** 1000) ** 1000",
            "1000 ** 1000 | float",
        )
    )


def quoted(text: str) -> str:
    """A text as a YAML scalar."""
    return json.dumps(text)


# --- kinds ---------------------------------------------------------------------------------------

PLACES = tuple(place for place in DEFAULTS if place not in {"parameters", "schedule", "env_name"})


def in_templates(rng: random.Random, folder: Path) -> Case:
    """Expressions in one to three places."""
    places = {"for_each": rng.choice(FOR_EACH)} if rng.randrange(2) else {}
    for _ in range(rng.choice((1, 1, 2, 3))):
        made = expression(rng) if rng.randrange(5) else long_expression(rng)
        place = rng.choice((*PLACES, "command", "command", "task_id", "env", "slots"))
        before, after = rng.choice((("", ""), ("", ""), ("a ", ""), ("'", "'"), ('"', '"')))
        text = f"{before}{{{{ {made} }}}}{after}"
        lists = place in {"resources", "start_resources"}
        places[place] = f"[{quoted(text)}]" if lists else quoted(text)
    (folder / "rows.csv").write_text("a,b\n1,2\n3,4\n", "utf-8")
    return Case("templates", written(folder, **places))


def in_scalars(rng: random.Random, folder: Path) -> Case:
    """Numbers, times, durations and texts at their limits."""
    places = {}
    for _ in range(rng.choice((1, 1, 2, 3))):
        values = rng.choice((NUMBERS, MOMENTS, DURATIONS, TEXTS))
        value = rng.choice(values)
        places[rng.choice(PLACES)] = value if values is NUMBERS else quoted(value)
    if rng.randrange(2):
        start, until = (quoted(rng.choice(MOMENTS)) for _ in range(2))
        every, window = (quoted(rng.choice((*DURATIONS, "1h"))) for _ in range(2))
        places["schedule"] = (
            f"  schedule: {{every: {every}, start: {start}, until: {until}, window: {window}}}"
        )
        places["for_each"] = "{list: [a]}"
    return Case("scalars", written(folder, **places))


def _rows(rng: random.Random) -> tuple[str, bytes]:
    ending = rng.choice(("csv", "csv", "tsv", "jsonl", "jsonl", "ndjson", "CSV", "txt"))
    many = rng.choice((10, 10, 100, 100, 1000, 1000, 1000, 50_000))
    deep = rng.choice((50, 900, 5000, 100_000))
    json_rows = (
        "[" * deep + "]" * deep,
        '{"a": ' + "[" * deep + "]" * deep + "}",
        '{"a": ' * deep + "1" + "}" * deep,
        '{"a": ' + "9" * many + "}",
        '{"a": 1e400}',
        '{"a": NaN}',
        '{"a": "' + "x" * many * 10 + '"}',
        '{"a": "\\ud800"}',
        '{"a": "\\u0000"}',
        "{" + ", ".join(f'"k{n}": {n}' for n in range(min(many, 20_000))) + "}",
        '{"a": 1, "a": 2}',
        '{"a": 1}\n' * many,
        '{"a": {"b": null}}\n{"a": [1]}\n[]',
        "null",
    )
    texts = (
        ",".join(f"c{n}" for n in range(min(many, 20_000))),
        "a,b\n" + "x" * many * 10 + ",1",
        'a,b\n"' + "x\n" * many,
        "a,b\n" + "1,2\n" * many,
        "a,b\n1\n",
        "a,a\n1,2\n",
        ",\n1,2\n",
        'a,b\n"1"2,3\n',
        "a,b\n\x00,\x00\n",
        "a,b\n\x1b[31m,\u202e\n",
        "{{ name }},b\n1,2\n",
        "a,b\r1,2\r",
        "a;b\n1;2\n",
        "",
        "\n" * many,
        "a,b\n{{ top }},{{ nope }}\n",
        "a,b\n" + ",".join(("1" * 200,) * 20_000) + "\n",
    )
    text = rng.choice(json_rows if ending in {"jsonl", "ndjson"} else texts)
    encoding = rng.choice(
        ("utf-8",) * 6 + ("utf-8-sig", "utf-16", "utf-16-le", "utf-32", "latin-1")
    )
    data = text.encode(encoding, "replace")
    if not rng.randrange(6):
        data = rng.choice(
            (b"\xff\xfe", b"\x00" * 100_000, b"a,b\n\xff,1\n", data[:-3], os.urandom(0))
        )
    return ending, data


def special(rng: random.Random, path: Path) -> None:
    """Something other than a regular file."""
    match rng.randrange(7):
        case 0:
            os.mkfifo(path)
        case 1:
            path.mkdir()
        case 2:
            path.symlink_to(path.name)
        case 3:
            path.symlink_to("/dev/zero")
        case 4:
            path.symlink_to("/dev/stdin")
        case 5:
            path.symlink_to("/dev/full")
        case _:
            path.symlink_to("nothing/at/all")


def in_rows(rng: random.Random, folder: Path) -> Case:
    """A file of rows."""
    ending, data = _rows(rng)
    path = folder / f"rows.{ending}"
    name = path.name
    if not rng.randrange(6):
        special(rng, path)
    elif not rng.randrange(12):
        name = rng.choice(("x" * 300 + ".csv", "a\0b.csv", "/dev/zero", "/proc/self/mem.csv", "."))
    else:
        path.write_bytes(data)
    command = rng.choice(
        ("echo {{ a }} {{ b }}", "echo {{ a }}", "run {{ a | tojson }} {{ index }}")
    )
    task_id = rng.choice(("work-{{ index }}", "{{ a }}", "{{ a | slug }}-{{ index }}"))
    places = {"for_each": f"{{rows: {quoted(name)}}}", "command": quoted(command)}
    return Case("rows", written(folder, **places, task_id=quoted(task_id)))


def in_items(rng: random.Random, folder: Path) -> Case:
    """Ranges, lists and matrices."""

    def numbers() -> str:
        first, last, step = (
            rng.choice(
                ("0", "1", "-5", "0.1", "1e-9", "10", "1e6", "1e9", "1e18", "1e300", *DIGITS)
            )
            for _ in range(3)
        )
        return f"[{first}, {last}, {step}]" if rng.randrange(2) else f"[{first}, {last}]"

    def axis() -> str:
        size = rng.choice((0, 1, 3, 30, 300))
        return rng.choice(
            (f"{{range: {numbers()}}}", str(list(range(size))), '["{{ top }}", [], null]')
        )

    match rng.randrange(4):
        case 0:
            each = f"{{range: {numbers()}}}"
        case 1:
            size = rng.choice((0, 3, 100, 1000, 1000, 20_000))
            value = rng.choice(
                ("1", "null", "x", "{a: 1}", "[]", "1e400", '"{{ index }}"', "9" * 200)
            )
            each = f"{{list: [{', '.join([value] * size)}]}}"
        case _:
            axes = rng.choice((1, 2, 3, 6, 12, 40))
            names = [f"v{n}" for n in range(axes)]
            each = "{matrix: {" + ", ".join(f"{name}: {axis()}" for name in names) + "}"
            excludes = rng.choice((0, 0, 1, 50, 3000))
            if excludes:
                rows = (f"{{{rng.choice(names)}: {n}}}" for n in range(excludes))
                each += f", exclude: [{', '.join(rows)}]"
            if not rng.randrange(3):
                each += ", include: [{a: 1}, {v0: {b: 2}}, {}]"
            each += "}"
    command = rng.choice(("echo {{ index }}", "echo {{ value }}", "echo {{ v0 }}", "echo"))
    task_id = rng.choice(('"work-{{ index }}"', "work", '"{{ v0 }}"', '"{{ value }}"'))
    return Case("items", written(folder, for_each=each, command=quoted(command), task_id=task_id))


PATTERNS = (
    *(
        "^(a+)+$",
        "(a|a)*b",
        "(x+x+)+y",
        "([a-z]+)*[0-9]",
        "(?=a)b",
        "(?<=a{1,1000})b",
        "\\1(a)",
        "(",
    ),
    *(
        "a{1000}{1000}",
        "a{99999999}",
        "(a{1,500}){1,500}",
        "[\\ud800]",
        "\\p{L}",
        "(?i)a",
        "[[:alpha:]]",
    ),
    *("(?:" * 500 + "a" + ")" * 500, "a|" * 5000 + "a", ".*" * 50 + "b", "(.*)*" * 20, "(?P<n>a)"),
)


def in_parameters(rng: random.Random, folder: Path) -> Case:
    """Declarations, options and files of values."""
    deep = rng.choice((10, 100, 900, 5000, 100_000))
    many = rng.choice((10, 1000, 5000))
    declaration = rng.choice(
        (
            f"{{type: string, pattern: {quoted(rng.choice(PATTERNS))}, default: {'a' * many}b}}",
            f"{{type: string, pattern: {quoted(rng.choice(PATTERNS))}}}",
            "{$ref: '#'}",
            "{$ref: 'http://192.0.2.1/schema.json'}",
            "{$ref: 'file:///etc/passwd'}",
            "{properties: {a: {$ref: '#/properties/b'}, b: {$ref: '#/properties/a'}}}",
            "{items: {$ref: '#'}}",
            "{anyOf: [{$ref: '#'}, {type: string}]}",
            "{type: integer}",
            "{type: number, multipleOf: 1e-300}",
            "{type: number, multipleOf: 0}",
            "{type: number, minimum: 1e400}",
            f"{{type: number, maximum: {'9' * 40}}}",
            f"{{enum: {list(range(many))}}}",
            "{type: array, uniqueItems: true}",
            "{type: object, patternProperties: {'(a+)+$': {type: integer}}}",
            "{type: object, additionalProperties: {$ref: '#'}}",
            "{type: object}",
            "{type: [string, 'null', integer]}",
            "{allOf: [" + "{not: {}}, " * min(many, 500) + "{}]}",
            "{type: nope}",
            "{if: {}, then: {$ref: '#'}}",
            "{type: string, secret: true}",
            "{const: {a: [1, {b: null}]}}",
            "{contains: {type: integer}, dependencies: {a: [b]}}",
        )
    )
    value = rng.choice(
        (
            *(
                "a" * many + "!",
                "1",
                "1e400",
                "-1e400",
                "9" * many,
                "0." + "1" * many,
                "1e-400",
                "",
            ),
            *("[" * deep + "]" * deep, '{"a":' * deep + "1" + "}" * deep, "[1, 2]", '{"a": 1}'),
            *("null", "NaN", "true", "\udc80", "{{ top }}", '"\\ud800"', "[" + "1," * many + "1]"),
            *("[" + '{"a": [1]},' * many + "1]", "a\nb", "\x1b[31m", "\u202e"),
        )
    )
    places = {"parameters": f"  p: {declaration}"}
    if rng.randrange(2):
        place = rng.choice(("command", "env", "task_id", "slots", "limit", "path", "description"))
        places[place] = quoted(
            rng.choice(("{{ p }}", "a{{ p }}b", "{{ p | tojson }}", "{{ p.a }}"))
        )
    if rng.randrange(3):
        return Case(
            "parameters", written(folder, **places), (f"p={value}", "token=c2VjcmV0c2VjcmV0")
        )
    file = folder / "values.yaml"
    if not rng.randrange(5):
        special(rng, file)
    else:
        text = rng.choice(
            (f"p: {value}\n", f'{{"p": {value}}}', value, f"p: &a [{value}]\nq: *a\n")
        )
        file.write_bytes(text.encode("utf-8", "surrogatepass"))
    return Case("parameters", written(folder, **places), (), (file,))


def in_text(rng: random.Random, folder: Path) -> Case:
    """The bytes of a spec."""
    name, tree = rng.choice(seeds())
    match rng.randrange(5):
        case 0:
            # One line, as another program writes it, with an error in it.
            data = json.dumps(
                {**tree, "nope": [{"x": 1}] * rng.choice((1, 1000))}, default=str
            ).encode()
        case 1:
            many = rng.choice((10, 100, 3000))
            line = rng.choice(
                (
                    *(
                        "a: [" * many,
                        "- " * many,
                        "? " * many,
                        "&a [" * many,
                        "{" * many,
                        "*a " * many,
                    ),
                    *(
                        "x" * many * 100 + ":",
                        "'" * many,
                        '"\\u' * many,
                        "!!python/object:os.system ",
                    ),
                    *(
                        "<<: *a\n" * many,
                        "%YAML 9.9\n---\n",
                        "--- \n" * many,
                        "a: |\n" + "  x\n" * many,
                    ),
                )
            )
            text = yaml.safe_dump(tree)
            at = rng.randrange(len(text))
            data = (text[:at] + line + text[at:]).encode()
        case 2:
            layers = "".join(
                f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9)
            )
            data = f"a0: &a0 [x]\n{layers}{yaml.safe_dump(tree)}".encode()
        case 3:
            # Hundreds of errors.
            stages = {
                f"s{n}": {"command": "{{ nope }}", "x": n} for n in range(rng.choice((3, 500)))
            }
            data = yaml.safe_dump({**tree, "tasks": stages}).encode()
        case _:
            data = yaml.safe_dump(tree, default_flow_style=bool(rng.randrange(2))).encode()
            for _ in range(rng.choice((1, 3, 20))):
                at = rng.randrange(len(data) + 1)
                end = min(len(data), at + rng.choice((0, 1, 5, 200)))
                extra = rng.choice(
                    (b"", b"\0", b"\xff", b"\t", b"{{", b"}}", b"\xed\xa0\x80", data[at:end] * 2)
                )
                data = data[:at] + extra + data[end:]
    path = folder / f"{name}.yaml"
    path.write_bytes(data)
    return Case("text", path)


def in_uploads(rng: random.Random, folder: Path) -> Case:
    """Files to upload, and paths of the spec."""
    data = folder / "data"
    data.mkdir()
    for number in range(rng.choice((1, 2, 4))):
        name = rng.choice(
            (
                f"f{number}",
                f"ü{number}",
                f"a\nb{number}",
                f"\x1b[31m{number}",
                "x" * 250,
                f"-{number}",
                "{{ x }}",
            )
        )
        if rng.randrange(3) and not os.path.lexists(data / name):
            (data / name).write_text(str(number), "utf-8")
        elif not os.path.lexists(data / name):
            special(rng, data / name)
    if not rng.randrange(5):
        (Path(os.fsencode(data).decode("utf-8", "surrogateescape")) / "b\udcff").write_text("x")
    if not rng.randrange(5):
        (data / "loop").symlink_to("..")
    pattern = rng.choice(
        (
            *(
                "data/*",
                "data/**",
                "**",
                "data/**/**/**/*",
                "*" * 300,
                "data/" + "*a" * 40,
                "[",
                "data/[!a]*",
            ),
            *(
                "../**/spec.yaml",
                "/dev/*",
                "/dev/zero",
                "/proc/self/*",
                "x" * 5000,
                "data\0",
                "/",
                "",
                "~/x",
            ),
            *("data/" * 500 + "*", "{{ name }}/*", "data/{{ file.name }}"),
        )
    )
    path = written(
        folder, for_each="{files: input}", command='"echo {{ file.name }} {{ file.stem }}"'
    )
    text = path.read_text("utf-8").replace('"data/*"', quoted(pattern))
    path.write_text(text.replace("to: results/", f"to: {quoted(rng.choice(TEXTS))}"), "utf-8")
    if not rng.randrange(8):
        path = folder / "special.yaml"
        special(rng, path)
    elif not rng.randrange(20):
        path = folder / ("x" * 300)
    return Case("uploads", path)


def in_structure(rng: random.Random, folder: Path) -> Case:
    """The structure of a spec."""
    name, text = mutant(rng.randrange(10**9), 1, seeds())
    path = folder / f"{name}.yaml"
    path.write_text(text, "utf-8", newline="")
    return Case("structure", path)


def in_odd_values(rng: random.Random, folder: Path) -> Case:
    """Valid but unusual values, so that most of these specs are planned."""
    (folder / "rows.csv").write_text(rng.choice(ROWS), "utf-8", newline="")
    path = written(folder, **odd_places(rng))
    for name in rng.sample(("ü b.txt", "%41", "-", "a'b\"", "x" * 200, "c#?&.txt"), 2):
        (folder / "data" / name).write_text(name, "utf-8")
    return Case("odd values", path)


KINDS: tuple[Callable[[random.Random, Path], Case], ...] = (
    *(in_templates, in_templates, in_templates, in_scalars, in_rows, in_items),
    *(in_parameters, in_text, in_uploads, in_structure),
    *(in_odd_values,) * 7,
)


def case(number: int, seed: int, folder: Path) -> Case:
    """Write the input with this number below an empty folder.

    The input has a separate subfolder, because patterns with ``..`` must not find other files of
    the temporary folder of the machine.
    """
    rng = random.Random(f"{seed}:{number}")
    own = folder / "run"
    own.mkdir()
    return rng.choice(KINDS)(rng, own)
