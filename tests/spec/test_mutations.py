"""A valid spec with random changes yields a spec or errors with positions.

Good specs are changed as text (lines and characters) and as data (values, keys). The result is
always a :class:`Spec`, or a :class:`SpecError` in which every problem has a position.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator

from batchspec.diagnostics import Diagnostics, SpecError
from batchspec.render import diagnostics_text
from batchspec.spec import Spec, ValueSources, expanded_document, load_schema, read_spec
from batchspec.spec.convert import LONGEST
from batchspec.spec.validator import validated
from batchspec.spec.yaml_parser import parse, source

GOOD = sorted((Path(__file__).parent / "good").glob("*.yaml"))
TEXTS = [path.read_text("utf-8") for path in GOOD]
TREES: list[Any] = [
    parse(source(text, path.name)).plain() for text, path in zip(TEXTS, GOOD, strict=True)
]
SECRETS = {"pool": {"password": "hunter2"}, "job": {"token": "hunter2"}}
SECRETS["commands-with-secrets"] = SECRETS["job"]

PLACELESS = ("empty", "unknown-variable", "too-large")

STRANGE: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 7, 2**70, 1.5),
    *(
        "",
        " ",
        "x",
        "30",
        "1h",
        "1:30",
        "yes",
        "no",
        "{{ name }}",
        "{{ nope }}",
        "{{",
        "}}",
        "{{}}",
    ),
    *("{{ index }}", "{{ task.id }}", "{{ sizes }}", "{{ containers.output.write_url }}"),
    *("{{ password }}", "../x", "a\nb", "ü€😀", "job", "input", "files", "*" * 300, "%d{{ 1/0 }}"),
    *("https://a/b?sv=1&sig=c2VjcmV0c2VjcmV0", "\u2028", "true", "P1D", "PT", "9" * 400 + "d"),
    *([], {}, [None], [[]], [{}], {"": None}, {"files": "input"}, {"range": [1]}, ["a", 1, {}]),
    *({"a": {"b": {"c": []}}}, {"existing": "x"}, {"matrix": {"a": []}}, {"{{ name }}": 1}),
)
KEYS = (
    "",
    "x",
    "files",
    "id",
    "command",
    "container",
    "{{ a }}",
    "vmSize",
    "env",
    "nodes",
    "needs",
)


def paths(tree: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    yield path
    if isinstance(tree, dict | list):
        for key, child in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from paths(child, (*path, key))


PATHS = [[path for path in paths(tree) if path] for tree in TREES]


@st.composite
def trees(
    draw: st.DrawFn, good: list[Any] = TREES, strange: tuple[Any, ...] = STRANGE
) -> dict[str, Any]:
    """A valid spec as data, with up to three changes."""
    which = draw(st.integers(0, len(good) - 1))
    tree: dict[str, Any] = copy.deepcopy(good[which])
    for _ in range(draw(st.integers(0, 3))):
        path = draw(st.sampled_from(PATHS[which]))
        mutation = draw(st.sampled_from((put, drop, rename, double)))
        value, key = draw(st.sampled_from(strange)), draw(st.sampled_from(KEYS))
        try:
            parent = tree
            for step in path[:-1]:
                parent = parent[step]
            mutation(parent, path[-1], copy.deepcopy(value), key)
        except (KeyError, IndexError, TypeError, AttributeError):
            continue
    return tree


def put(parent: Any, step: Any, value: Any, _: str) -> None:
    parent[step] = value


def drop(parent: Any, step: Any, _: Any, __: str) -> None:
    del parent[step]


def rename(parent: Any, step: Any, _: Any, key: str) -> None:
    parent[key] = parent.pop(step)


def double(parent: Any, step: Any, value: Any, key: str) -> None:
    parent[key] = value


@st.composite
def texts(draw: st.DrawFn) -> str:
    """A valid spec with some changed characters."""
    text = draw(st.sampled_from(TEXTS))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        length = draw(st.sampled_from((0, 0, 1, 2, 5, 40)))
        inserted = draw(st.sampled_from(MARKS) | st.text(max_size=4))
        text = text[:start] + inserted + text[start + length :]
    return text


MARKS = (
    *(": ", "- ", "{", "}", "[", "]", "'", '"', "&a ", "*a", "<<: ", "# ", "\t", "\n", "\n  "),
    *("{{ ", "}} ", "!!x ", "? ", ", ", "---\n", "%", "@", "`", "> ", "\\"),
    *("|\n", "\x00", "\x0b", "\x0c", "\x85", "\u2028", "\u2029", "\ufeff", "\ud7ff", "\r"),
)


def is_answered(path: Path, read: Callable[[], object]) -> None:
    """Reading must yield a spec, or errors with positions."""
    try:
        found = read()
    except SpecError as error:
        assert error.problems
        for problem in error.problems:
            assert problem.where is not None or problem.code in PLACELESS, problem
            if problem.where is not None and problem.where.file == str(path):
                assert problem.where.line >= 1
                assert problem.where.column >= 1
        assert "hunter2" not in diagnostics_text(error.problems)
    else:
        assert isinstance(found, Spec)


@settings(max_examples=120, deadline=None)
@given(trees())
def test_changed_data(tmp_path_factory: Any, tree: dict[str, Any]) -> None:
    answered(tmp_path_factory, as_text(tree), tree.get("name"))


@settings(max_examples=80, deadline=None)
@given(texts())
def test_changed_text(tmp_path_factory: Any, text: str) -> None:
    answered(tmp_path_factory, text)


def answered(factory: Any, text: str, name: object = "") -> None:
    path = factory.getbasetemp() / "mutated.yaml"
    path.write_text(text, encoding="utf-8", errors="surrogatepass", newline="")
    given = SECRETS.get(str(name), {})
    is_answered(
        path,
        lambda: (
            expanded_document(path, ValueSources(given)),
            read_spec(path, ValueSources(given)),
        )[1],
    )


VALIDATOR = Draft7Validator(load_schema())
SPELLED = tuple(value for value in STRANGE if not (isinstance(value, str) and "{{" in value))


SET = {
    "{{ nodes }}": 4,
    "{{ limit }}": "1h",
    "{{ sizes }}": [1, 2],
    "{{ password }}": None,
}
"""Values for templates in places that do not accept a string."""


def without_templates(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_templates(item) for key, item in value.items() if key != "password"}
    if isinstance(value, list):
        return [without_templates(item) for item in value]
    if isinstance(value, str) and "{{" in value:
        return SET.get(value, "text")
    return value


@settings(max_examples=100, deadline=None)
@given(trees([without_templates(tree) for tree in TREES], SPELLED))
def test_the_validator_agrees_with_jsonschema(tree: dict[str, Any]) -> None:
    """An editor that uses the shipped schema reports errors for the same specs."""
    root = parse(source(as_text(tree), "f"))
    problems = Diagnostics()
    validated(root, problems)
    ours = {p.code for p in problems.found if LONGER_THAN_ANY not in p.summary} - STRICTER
    theirs = [error.message for error in VALIDATOR.iter_errors(root.plain())]
    assert bool(theirs) == bool(ours) or {p.code for p in problems.found} & STRICTER, (ours, theirs)


def as_text(tree: dict[str, Any]) -> str:
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)


LONGER_THAN_ANY = f"must be at most {LONGEST.days} days"
"""A duration that the schema accepts by its form, and that the service cannot store."""
STRICTER = {"either-or", "not-a-time", "not-a-duration"}
"""Rules that the schema cannot express: the range of times and durations, exclusive keys."""
