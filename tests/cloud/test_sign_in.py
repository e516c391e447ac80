"""Wrong and incomplete settings of azure-identity name their variable before any request."""

from __future__ import annotations

from pathlib import Path

import pytest
from azure.identity.aio import _credentials as identity

from batchspec.cloud.account import PUBLIC
from batchspec.cloud.sign_in import check_sign_in, create_credential, is_readable_file
from batchspec.diagnostics import Diagnostic, SignInError
from batchspec.exit_codes import Exit

PRINCIPAL = {"AZURE_CLIENT_ID": "app", "AZURE_TENANT_ID": "contoso.com"}


def problems(settings: dict[str, str]) -> tuple[Diagnostic, ...]:
    with pytest.raises(SignInError) as caught:
        check_sign_in(settings, is_readable_file)
    assert caught.value.exit is Exit.SERVICE
    return caught.value.problems


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"AZURE_CLIENT_ID": "of-a-managed-identity"},
        {"AZURE_TOKEN_CREDENTIALS": "prod", "AZURE_AUTHORITY_HOST": "login.microsoftonline.us"},
        {"AZURE_TOKEN_CREDENTIALS": " AzureCLICredential "},
        {"AZURE_AUTHORITY_HOST": "https://login.microsoftonline.com/"},
        {**PRINCIPAL, "AZURE_CLIENT_SECRET": "hunter2"},
    ],
)
def test_complete_settings_are_accepted(settings: dict[str, str]) -> None:
    check_sign_in(settings, is_readable_file)


@pytest.mark.parametrize(
    ("settings", "name", "fix"),
    [
        (
            {"AZURE_TOKEN_CREDENTIALS": "AzureCliCredentials"},
            "AZURE_TOKEN_CREDENTIALS",
            "Did you mean AzureCliCredential?",
        ),
        ({"AZURE_TOKEN_CREDENTIALS": "x"}, "AZURE_TOKEN_CREDENTIALS", "Unset it"),
        (
            {"AZURE_TOKEN_CREDENTIALS": "InteractiveBrowserCredential"},
            "AZURE_TOKEN_CREDENTIALS",
            "Run `az login`",
        ),
        ({"AZURE_AUTHORITY_HOST": "http://login.example"}, "AZURE_AUTHORITY_HOST", "Unset it"),
        ({"AZURE_AUTHORITY_HOST": ""}, "AZURE_AUTHORITY_HOST", "Unset it"),
        ({"AZURE_TENANT_ID": "my tenant"}, "AZURE_TENANT_ID", "az account show"),
        (
            {"AZURE_CLIENT_SECRET": "hunter2", "AZURE_CLIENT_ID": "app"},
            "AZURE_TENANT_ID is not set, which AZURE_CLIENT_SECRET requires",
            "Set AZURE_TENANT_ID",
        ),
        ({**PRINCIPAL, "AZURE_CLIENT_SECRET": " "}, "AZURE_CLIENT_SECRET is empty", "set"),
        (
            {**PRINCIPAL, "AZURE_CLIENT_CERTIFICATE_PATH": "/nowhere/cert.pem"},
            "AZURE_CLIENT_CERTIFICATE_PATH",
            "Fix the path",
        ),
        (
            {**PRINCIPAL, "AZURE_FEDERATED_TOKEN_FILE": "/nowhere/token"},
            "AZURE_FEDERATED_TOKEN_FILE",
            "Fix the path",
        ),
    ],
)
def test_a_wrong_setting_is_named(settings: dict[str, str], name: str, fix: str) -> None:
    (problem,) = problems(settings)
    assert problem.code == "bad-sign-in"
    assert name in problem.summary
    assert fix in problem.fix
    assert "hunter2" not in f"{problem}"


def test_all_wrong_settings_are_reported_together() -> None:
    found = problems({"AZURE_CLIENT_SECRET": "x", "AZURE_TOKEN_CREDENTIALS": "x"})
    assert len(found) == 3


def test_the_names_are_those_of_azure_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK's own message lists the credentials of its asynchronous form."""
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "x")
    with pytest.raises(ValueError, match="Valid values are") as caught:
        identity.default.DefaultAzureCredential()
    names = str(caught.value).partition("Valid values are: ")[2].rstrip(".").split(", ")
    for name in names:
        check_sign_in({"AZURE_TOKEN_CREDENTIALS": name}, is_readable_file)


def test_a_damaged_certificate_is_a_diagnostic(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Only azure-identity can read a certificate."""
    path = tmp_path / "cert.pem"
    path.write_text("not a certificate")
    settings = {**PRINCIPAL, "AZURE_CLIENT_CERTIFICATE_PATH": str(path)}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    check_sign_in(settings, is_readable_file)
    with pytest.raises(SignInError) as caught:
        create_credential(PUBLIC)
    (problem,) = caught.value.problems
    assert (problem.code, caught.value.exit) == ("bad-sign-in", Exit.SERVICE)
    assert "AZURE_CLIENT_CERTIFICATE_PATH" in problem.fix
