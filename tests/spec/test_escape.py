"""Values are escaped for their context."""

from __future__ import annotations

import fnmatch
import json
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchspec.diagnostics import Place, Secret
from batchspec.local.agent.processes import expand_variables
from batchspec.spec import (
    BlobUrl,
    Quoting,
    Target,
    Template,
    Text,
    evaluate,
    literal_name,
    read_spec,
)

WHERE = Place("spec.yaml", 1, 1)
names = st.text(st.sampled_from("ab*?[]!$%#{} -\\\"'ü"), min_size=1, max_size=8)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


def value(
    source: str,
    target: Target | None = None,
    shell: Quoting = Quoting.POSIX,
    **scope: object,
) -> str | Text:
    return evaluate(Template(source, WHERE, target=target), scope, shell=shell)


@given(names)
def test_a_pattern_matches_exactly_the_name_that_is_inserted(name: str) -> None:
    pattern = value("{{ v }}.csv", Target.PATTERN, v=name)
    assert isinstance(pattern, str)
    assert expand_variables(pattern, {"a": "no", "b": "no", "ab": "no"}) == pattern
    assert fnmatch.fnmatchcase(f"{name}.csv", pattern)
    assert not fnmatch.fnmatchcase(f"{name}x.csv", pattern)
    if literal_name(pattern) is not None:
        assert literal_name(pattern) == f"{name}.csv"
    else:
        assert pattern == f"{name}.csv"


def test_variables_in_patterns_are_those_of_the_system() -> None:
    assert value("{{ v }}", Target.PATTERN, v="$A%B%") == "[$]A%B%"
    assert value("{{ v }}", Target.PATTERN, Quoting.WINDOWS, v="$A%B%") == "$A[%]B[%]"
    assert value("{{ v | raw }}/$A", Target.PATTERN, v="*") == "*/$A"


def test_a_pattern_with_wildcards_is_not_a_name() -> None:
    assert literal_name("a[*].csv") == "a*.csv"
    assert literal_name("a[*]/*.csv") is None
    assert literal_name("a.csv") is None
    assert literal_name("a[bc].csv") is None


@given(names)
def test_a_value_in_the_path_of_a_url_is_encoded(name: str) -> None:
    url = value("https://example.com/a/{{ v }}?x={{ q }}", Target.URL, v=name, q="1&2")
    assert isinstance(url, str)
    parts = urlsplit(url)
    assert (unquote(parts.path), parts.query) == (f"/a/{name}", "x=1&2")


def test_a_value_that_is_a_url_or_a_host_is_unchanged() -> None:
    assert value("{{ v }}", Target.URL, v="https://x/a?b#c") == "https://x/a?b#c"
    assert value("{{ v }}/a b", Target.URL, v="https://x") == "https://x/a b"
    assert (
        value("https://{{ h }}:80/{{ v }}", Target.URL, h="x.y", v="a#b") == "https://x.y:80/a%23b"
    )
    assert value("https://x/{{ v | raw }}", Target.URL, v="%20") == "https://x/%20"
    url = value("{{ u }}/{{ v }}", Target.URL, u=BlobUrl("c"), v="a#b.txt")
    assert url == Text((BlobUrl("c"), "/a%23b.txt"))


@given(texts, st.integers() | st.booleans() | st.none() | texts | st.lists(st.integers()))
def test_json_with_values_is_valid_json(text: str, item: object) -> None:
    made = value('{"a": "x {{ v }}", "{{ v }}": [{{ w }}]}', v=text, w=item)
    assert isinstance(made, str)
    found = json.loads(made)
    assert found["a"] == f"x {text}"
    if not isinstance(item, str):
        assert next(reversed(found.values())) == [item]


def test_texts_that_are_json_are_inserted_into_it() -> None:
    assert value("[{{ v }}, {{ v | tojson }}, {{ w | tojson }}]", v="3", w="it") == '[3, "3", "it"]'
    assert value('{"a": {{ v | raw }}}', v="b") == '{"a": b}'
    assert value("{a {{ v }}}", v='"') == '{a "}', "no JSON"


def test_a_secret_in_json_is_escaped_when_it_is_sent() -> None:
    made = value('{"a": "{{ v }}"}', v=Secret('say "hi"'))
    assert isinstance(made, Text)
    assert json.loads(made.resolve(str)) == {"a": 'say "hi"'}
    assert "hi" not in made.shown


@pytest.mark.parametrize("key", ["outputs: [{files: NAME, container: output, path: x/}]",
                                 "output_files: [{file_pattern: NAME, destination: {container: "
                                 "{container_url: '{{ containers.output.write_url }}'}},"
                                 " upload_options: {upload_condition: tasksuccess}}]"])  # fmt: skip
def test_short_and_long_forms_are_escaped(key: str, tmp_path: Path) -> None:
    path = tmp_path / "demo.yaml"
    key = key.replace("NAME", '"{{ name_of }}.csv"')
    path.write_text(
        f"""\
version: 1
name: demo
parameters: {{name_of: {{type: string, default: "a*"}}}}
containers: {{output: {{}}}}
pool: {{vm_size: standard_d2s_v5, nodes: 1, image: ubuntu-24.04}}
job: {{max_wall_clock_time: 1h}}
tasks: {{run: {{command: hostname, logs: false, {key}}}}}
""",
        encoding="utf-8",
    )
    (stage,) = read_spec(path).stages
    files = stage.body["outputFiles"]
    assert isinstance(files, tuple)
    assert files[0]["filePattern"] == "a[*].csv"  # type: ignore[index,call-overload]
