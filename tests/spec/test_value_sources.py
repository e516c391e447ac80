"""Values of parameters from the environment, files, standard input and key vaults."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchspec.diagnostics import (
    Diagnostic,
    KeyVaultSecret,
    MissingSecret,
    Secret,
    SpecError,
    UsageError,
)
from batchspec.spec import Spec, ValueSources, dump_document, expanded_document, read_spec

REST = (
    "pool: {existing: there}\njob: {max_wall_clock_time: 1h}\n"
    "tasks: {run: {command: echo hello, env: {T: '{{ token }}'}}}\n"
)
SECRET = "token: {type: string, secret: true}"
VAULT = "https://my-vault.vault.azure.net/secrets/token"


def write(tmp_path: Path, declared: str, rest: str = REST) -> Path:
    path = tmp_path / "spec.yaml"
    path.write_text(f"version: 1\nname: demo\nparameters:\n  {declared}\n{rest}")
    return path


def read(
    tmp_path: Path, declared: str, sources: ValueSources, *, needs_secrets: bool = True
) -> Spec:
    path = write(tmp_path, declared)
    return read_spec(path, sources=sources, needs_secrets=needs_secrets)


def problems(
    tmp_path: Path, declared: str, sources: ValueSources, *, needs_secrets: bool = True
) -> tuple[Diagnostic, ...]:
    with pytest.raises(SpecError) as caught:
        read(tmp_path, declared, sources, needs_secrets=needs_secrets)
    return caught.value.problems


def value(spec: Spec, name: str = "token") -> str:
    found = spec.parameters[name]
    assert isinstance(found, Secret)
    return found.reveal()


def test_precedence_is_option_file_environment_default(
    tmp_path: Path,
) -> None:
    declared = f"{SECRET}\n  " + "\n  ".join(f"{name}: {{default: 0}}" for name in "abcd")
    file = tmp_path / "values.yaml"
    file.write_text("a: 2\nb: 2\n")
    environ = {f"BATCHSPEC_VAR_{name}": "1" for name in "abc"} | {"BATCHSPEC_VAR_TOKEN": "x y"}
    found = read(tmp_path, declared, ValueSources({"a": "3"}, (file,), environ))
    assert [found.parameters[name] for name in "abcd"] == [3, 2, 1, 0]
    assert value(found) == "x y"


def test_the_name_of_a_variable_can_be_in_upper_case(
    tmp_path: Path,
) -> None:
    declared = f"{SECRET}\n  top: {{default: 0}}\n  TOP: {{default: 0}}\n  low: {{default: 0}}"
    environ = {
        "BATCHSPEC_VAR_TOKEN": "upper",
        "BATCHSPEC_VAR_token": "exact",
        "BATCHSPEC_VAR_TOP": "1",
        "BATCHSPEC_VAR_Low": "1",
        "BATCHSPEC_VAR_OF_ANOTHER_SPEC": "1",
    }
    found = read(tmp_path, declared, ValueSources(environ=environ))
    assert value(found) == "exact"
    assert [found.parameters[name] for name in ("top", "TOP", "low")] == [0, 1, 0]


def test_a_wrong_value_names_the_variable_and_not_a_secret(tmp_path: Path) -> None:
    declared = "token: {type: string, secret: true, maxLength: 3}\n  top: {type: integer}"
    environ = {"BATCHSPEC_VAR_TOKEN": "hunter2", "BATCHSPEC_VAR_TOP": "x"}
    found = problems(tmp_path, declared, ValueSources(environ=environ))
    assert sorted(problem.summary for problem in found) == [
        "BATCHSPEC_VAR_TOKEN must have at most 3 characters",
        "BATCHSPEC_VAR_TOP must be an integer, not `x`",
    ]


@pytest.mark.parametrize(
    ("environ", "detail"),
    [
        ({}, ""),
        ({"BATCHSPEC_VAR_TOKEN": ""}, "BATCHSPEC_VAR_TOKEN is empty, which counts as not set."),
        (
            {"BATCHSPEC_VAR_TOKENS": "x"},
            "BATCHSPEC_VAR_TOKENS is set, and the spec has no parameter of this name.",
        ),
    ],
)
def test_the_error_of_a_missing_secret_lists_all_sources(
    tmp_path: Path, environ: dict[str, str], detail: str
) -> None:
    (found,) = problems(tmp_path, SECRET, ValueSources(environ=environ))
    assert (found.code, found.detail) == ("missing-variable", detail)
    for way in (
        "BATCHSPEC_VAR_TOKEN;",
        "--var token=@FILE",
        "--var token=-",
        "--var-file FILE",
        "key_vault: https://",
    ):
        assert way in found.fix
    unused = read(tmp_path, SECRET, ValueSources(environ=environ), needs_secrets=False)
    assert isinstance(unused.parameters["token"], MissingSecret)


def test_only_options_of_secrets_read_files_and_standard_input(tmp_path: Path) -> None:
    asked = []

    def elsewhere(name: str, text: str) -> str:
        asked.append((name, text))
        return "from elsewhere"

    declared = f"{SECRET}\n  more: {{type: string, secret: true}}\n  plain: {{default: x}}"
    options = {"token": "-", "more": "@file", "plain": "@file"}
    environ = {"BATCHSPEC_VAR_MORE": "@value"}
    found = read(tmp_path, declared, ValueSources(options, environ=environ, read=elsewhere))
    assert asked == [("token", "-"), ("more", "@file")]
    assert value(found) == value(found, "more") == "from elsewhere"
    assert found.parameters["plain"] == "@file"
    # A program passes values, and a variable contains one.
    found = read(tmp_path, declared, ValueSources({"token": "-"}, environ=environ))
    assert (value(found), value(found, "more")) == ("-", "@value")


def test_a_source_that_cannot_be_read_is_reported_with_the_other_errors(tmp_path: Path) -> None:
    def elsewhere(_name: str, _text: str) -> str:
        raise UsageError(Diagnostic("bad-value-source", "no such file"))

    declared = f"{SECRET}\n  top: {{type: integer}}"
    found = problems(tmp_path, declared, ValueSources({"token": "@x"}, read=elsewhere))
    assert {problem.code for problem in found} == {"bad-value-source", "missing-variable"}


@pytest.mark.parametrize("declared", [SECRET, SECRET.replace("}", ", minLength: 0}")])
def test_an_empty_secret_is_refused_unless_its_declaration_allows_it(
    tmp_path: Path, declared: str
) -> None:
    sources = ValueSources({"token": ""})
    if "minLength" in declared:
        assert value(read(tmp_path, declared, sources)) == ""
    else:
        (found,) = problems(tmp_path, declared, sources)
        assert found.summary == "--var token is empty, and a secret must have a value"
        fetched = ValueSources({"token": VAULT}, fetched={"token": Secret("")})
        (found,) = problems(tmp_path, declared, fetched)
        assert found.summary.startswith("`token` in the key vault is empty")


def test_a_secret_of_a_file_is_a_string(tmp_path: Path) -> None:
    file = tmp_path / "values.yaml"
    file.write_text("token: [hunter2]\n")
    (found,) = problems(tmp_path, "token: {secret: true}", ValueSources(files=(file,)))
    assert found.summary == "the secret `token` must be a string"


@pytest.mark.parametrize(
    "url",
    [
        VAULT,
        f"{VAULT}/4387e9f3d6e14c459867679a90fd0f79",
        "https://v.vault.azure.cn/secrets/token",
        "https://v.vault.usgovcloudapi.net/secrets/token/",
        "http://127.0.0.1:8080/secrets/token",
        "https://localhost/secrets/token",
    ],
)
def test_a_key_vault_reference_is_the_value_until_it_is_read(tmp_path: Path, url: str) -> None:
    file = tmp_path / "values.yaml"
    file.write_text(f"token: {url}\n")
    declared = SECRET.replace("}", f", key_vault: '{url}'}}")
    for form, sources in (
        (declared, ValueSources()),
        (SECRET, ValueSources({"token": url})),
        (SECRET, ValueSources(files=(file,))),
        (SECRET, ValueSources(environ={"BATCHSPEC_VAR_TOKEN": url})),
    ):
        found = read(tmp_path, form, sources).parameters["token"]
        assert isinstance(found, KeyVaultSecret)
        assert (found.reference, str(found)) == (url, "***")
    assert value(read(tmp_path, declared, ValueSources({"token": "here"}))) == "here"
    # A value that looks like a reference or a file is not read again.
    for text in ("Marked", url, "@x"):
        fetched = ValueSources(fetched={"token": Secret(text)})
        found = read(tmp_path, declared, fetched).parameters["token"]
        assert type(found) is Secret
        assert found.reveal() == text


@pytest.mark.parametrize(
    "url",
    [
        "https://v.vault.azure.net/certificates/token",
        "https://v.vault.azure.net/secrets/",
        "https://v.vault.azure.net/secrets/a/b/c",
        "https://v.vault.azure.net/secrets/a?x=y",
        "https://v.vault.azure.net.example.com/secrets/token",
        "https://user@v.vault.azure.net/secrets/token",
        "http://v.vault.azure.net/secrets/token",
        "https://example.com/secrets/token",
        "https://127.0.0.1.example.com/secrets/token",
    ],
)
def test_a_token_is_sent_only_to_key_vaults(tmp_path: Path, url: str) -> None:
    declared = SECRET.replace("}", f", key_vault: '{url}'}}")
    (found,) = problems(tmp_path, declared, ValueSources(), needs_secrets=False)
    assert "`key_vault` of `token` is not the URL of a secret in a key vault" in found.summary
    if "azure.net/" in url:
        (found,) = problems(tmp_path, SECRET, ValueSources({"token": url}))
        assert found.summary == "--var token is not the URL of a secret in a key vault"
    else:
        spec = read(tmp_path, SECRET, ValueSources({"token": url}))
        assert value(spec) == url
        assert [found.code for found in spec.warnings] == ["unknown-vault"]
        assert url not in str(spec.warnings)


@pytest.mark.parametrize("text", ["https://hooks.example.com/services/T0/x", "/secrets/token", "x"])
def test_other_values_are_used_without_a_warning(tmp_path: Path, text: str) -> None:
    spec = read(tmp_path, SECRET, ValueSources({"token": text}))
    assert value(spec) == text
    assert not spec.warnings


def test_the_source_of_a_value_is_not_part_of_the_digest(tmp_path: Path) -> None:
    vault = SECRET.replace("}", f", key_vault: '{VAULT}'}}")
    digests = {
        read(tmp_path, declared, sources, needs_secrets=False).digest
        for declared, sources in (
            (SECRET, ValueSources({"token": "one"})),
            (SECRET, ValueSources(environ={"BATCHSPEC_VAR_TOKEN": "two"})),
            (SECRET, ValueSources({"token": VAULT})),
            (SECRET, ValueSources()),
            (vault, ValueSources()),
            (vault, ValueSources(fetched={"token": Secret("three")})),
        )
    }
    assert len(digests) == 1


def test_config_shows_the_environment_and_no_secret(tmp_path: Path) -> None:
    path = write(tmp_path, f"{SECRET}\n  top: {{type: integer}}")
    environ = {"BATCHSPEC_VAR_TOKEN": "hunter2", "BATCHSPEC_VAR_top": "5"}
    document = expanded_document(path, sources=ValueSources(environ=environ))
    assert document["parameters"] == {
        "token": {"type": "string", "secret": True},
        "top": {"type": "integer", "default": 5},
    }
    assert "hunter2" not in dump_document(document, "yaml")
