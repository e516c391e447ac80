"""Secrets in the Python interface: from values, the environment and a key vault."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import batchspec
from batchspec.api import load_spec, saved_options
from batchspec.diagnostics import KeyVaultSecret
from batchspec.plan import PlanOptions, SavedPlan
from tests.key_vault import FakeVault, fake_vault

SPEC = """\
version: 1
name: demo
parameters:
  token: {type: string, secret: true}
  top: {type: integer, default: 1}
pool: {existing: there}
job: {max_wall_clock_time: 1h}
tasks: {run: {command: echo hello, env: {T: "{{ token }}"}}}
"""


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "spec.yaml"
    path.write_text(SPEC)
    return path


@pytest.fixture
def vault() -> Iterator[FakeVault]:
    with fake_vault() as started:
        yield started


def secret(value: object) -> str:
    assert isinstance(value, batchspec.Secret)
    return value.reveal()


def test_a_value_precedes_the_environment_and_texts_are_values(spec: Path) -> None:
    environ = {"BATCHSPEC_VAR_TOKEN": "inherited", "BATCHSPEC_VAR_TOP": "5"}
    found = batchspec.load(spec, environ=environ)
    assert (secret(found.parameters["token"]), found.parameters["top"]) == ("inherited", 5)
    for text in ("@file", "-"):
        given = batchspec.load(spec, variables={"token": text, "top": 2}, environ=environ)
        assert (secret(given.parameters["token"]), given.parameters["top"]) == (text, 2)
    assert "inherited" not in repr((found, found.options))


def test_a_key_vault_is_read_once_and_only_where_the_value_is_needed(
    spec: Path, vault: FakeVault
) -> None:
    url = vault.add("token", "Marked-Secret")
    found = batchspec.load(spec, variables={"token": url}, environ={})
    assert isinstance(found.parameters["token"], KeyVaultSecret)
    assert vault.requests == []
    options = found.options
    assert secret(load_spec(options, needs_secrets=True).parameters["token"]) == "Marked-Secret"
    assert len(vault.requests) == 1
    # The value of a broken spec is not read.
    spec.write_text(SPEC.replace("echo hello", "echo {{ nothing }}"))
    with pytest.raises(batchspec.SpecError):
        load_spec(options, needs_secrets=True)
    assert len(vault.requests) == 1


def test_a_saved_plan_takes_only_secrets_from_the_environment(spec: Path) -> None:
    environ = {
        "BATCHSPEC_VAR_TOKEN": "inherited",
        "BATCHSPEC_VAR_top": "5",
        "AZURE_BATCH_ACCOUNT": "name",
    }
    given = batchspec.load(spec, environ=environ).options
    saved = SavedPlan(spec, {"top": "3"}, (), ("token",), PlanOptions(), "local", "", {}, {})
    options = saved_options(saved, replace(given, read_value=lambda _name, text: text))
    assert options.environ == {"BATCHSPEC_VAR_TOKEN": "inherited", "AZURE_BATCH_ACCOUNT": "name"}
    assert options.read_value is not None
    found = load_spec(options, needs_secrets=True).parameters
    assert (secret(found["token"]), found["top"]) == ("inherited", 3)


def test_the_text_of_an_exception_is_what_happened_why_and_what_to_do(spec: Path) -> None:
    spec.write_text(SPEC.replace("name: demo", "nmae: demo"))
    with pytest.raises(batchspec.SpecError) as caught:
        batchspec.load(spec, environ={})
    text = str(caught.value)
    assert f"{spec}:2:1: " in text
    assert "[unknown-key]\n" in text
    assert "\n  fix: Did you mean `name`?" in text
    error = batchspec.ServiceError(
        batchspec.Diagnostic("x", "it failed", "because\nof ?sv=1&sig=abcdefgh", fix="Do it."),
        code="x",
    )
    assert str(error) == "it failed [x]\n  because\n  of ?sv=1&sig=***\n  fix: Do it."
