"""The parts of the daemon: keys, folders, variables, readiness."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path

import pytest
from dotenv import dotenv_values

from batchspec import local
from batchspec.local import Endpoints, Format, LocalError
from batchspec.local.daemon import (
    Account,
    Home,
    HttpsEndpoints,
    ReadinessReporter,
    await_readiness,
)
from batchspec.local.daemon.home import write_private
from batchspec.local.settings import Settings, TrustFiles

ENDPOINTS = Endpoints(
    batch_url="http://127.0.0.1:1",
    batch_account="batch",
    batch_key="b'k==",
    blob_url="http://127.0.0.1:2/blob",
    blob_account="blob",
    blob_key="c2Vj/+==",
    pid=1,
    data=Path("/data"),
    token="t0ken",
)
"""The key of the Batch account contains a special character of shells."""


# -- the folder and the keys


def test_a_folder_with_other_files_is_neither_used_nor_deleted(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "thesis.tex").touch()
    (tmp_path / "batch").mkdir()
    for use in (local.start, local.reset):
        with pytest.raises(LocalError) as caught:
            use(tmp_path)
        assert caught.value.code == "data-foreign"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["batch", "thesis.tex"]
    assert tmp_path.stat().st_mode & 0o777 == 0o755


def test_a_folder_that_cannot_be_created_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LocalError) as caught:
        local.start(tmp_path / "file/local")
    assert caught.value.code == "data-unwritable"
    assert str(tmp_path / "file/local") in caught.value.summary


def test_a_path_that_is_too_long_for_sqlite_is_named(
    azurite_installed: Path, tmp_path: Path
) -> None:
    data = tmp_path.joinpath(*["n" * 200] * 3)
    with pytest.raises(LocalError, match="its path is too long for SQLite") as caught:
        local.start(data)
    assert caught.value.fix == "Use another folder: `export BATCHSPEC_LOCAL_HOME=FOLDER`"


def test_the_fix_of_a_path_that_is_too_long_is_another_folder(tmp_path: Path) -> None:
    for use in (local.start, local.stop, local.reset, local.status):
        with pytest.raises(LocalError, match="File name too long") as caught:
            use(tmp_path / ("n" * 256))
        assert caught.value.fix == "Use another folder: `export BATCHSPEC_LOCAL_HOME=FOLDER`"


def test_a_check_finds_what_a_start_would_refuse(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.check()
    Account.open(home)
    home.check()
    home.account.write_bytes(b"{")
    with pytest.raises(LocalError, match="is damaged"):
        home.check()
    home.account.unlink()
    home.token.unlink()
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(LocalError, match="was not created by the embedded service"):
        home.check()


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_folder_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(LocalError) as caught:
            local.start(tmp_path / "local")
    finally:
        tmp_path.chmod(0o700)
    assert caught.value.code == "data-unwritable"


def test_status_and_stop_create_nothing(tmp_path: Path) -> None:
    assert local.status(tmp_path / "none").state is local.State.STOPPED
    assert local.stop(tmp_path / "none") is False
    local.reset(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_keys_are_random_and_persistent_and_as_long_as_in_azure(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert Account.read(home) is None
    made = Account.open(home)
    assert Account.read(home) == made == Account.open(home)
    home.account.unlink()
    assert len({made.batch_key, made.blob_key, Account.open(home).batch_key}) == 3
    assert len(base64.b64decode(made.batch_key)) == 64
    assert home.account.stat().st_mode & 0o777 == 0o600


def test_the_token_differs_from_the_keys_and_is_replaced_after_its_deletion(tmp_path: Path) -> None:
    home = Home(tmp_path)
    made = Account.open(home)
    assert home.token.read_text() == f"{made.token}\n"
    assert home.token.stat().st_mode & 0o777 == 0o600
    assert made.token not in home.account.read_text()
    home.token.unlink()  # as in a folder of a version without tokens
    read = Account.read(home)
    assert read is not None and read.token == ""
    new = Account.open(home)
    assert (new.batch_key, new.blob_key) == (made.batch_key, made.blob_key)
    assert len(new.token) >= 64 and new.token != made.token


@pytest.mark.parametrize("name", ["account.json", "token"])
def test_a_credential_readable_by_other_users_is_rejected(tmp_path: Path, name: str) -> None:
    home = Home(tmp_path)
    Account.open(home)
    (tmp_path / name).chmod(0o640)
    with pytest.raises(LocalError) as caught:
        Account.read(home)
    assert caught.value.code == "account-exposed"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs the rights of root")
def test_the_fix_for_a_key_of_another_user_does_not_delete_it(tmp_path: Path) -> None:
    home = Home(tmp_path)
    Account.open(home)
    os.chown(home.account, 65534, 65534)
    with pytest.raises(LocalError, match="belongs to another user") as caught:
        Account.read(home)
    assert caught.value.code == "data-foreign"
    assert "rm" not in caught.value.fix.split()


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"batch_key": "secret"}', b"\xff\x00"])
def test_a_damaged_account_is_reported_without_its_content(tmp_path: Path, data: bytes) -> None:
    home = Home(tmp_path)
    write_private(home.account, "")
    home.account.write_bytes(data)
    with pytest.raises(LocalError) as caught:
        Account.read(home)
    assert caught.value.code == "account-damaged"
    assert "secret" not in caught.value.summary
    assert caught.value.__cause__ is None


def test_a_private_file_is_replaced_atomically(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_private(path, "old")
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_private(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_order_in_which_the_data_folder_is_chosen(tmp_path: Path) -> None:
    environ = {"BATCHSPEC_LOCAL_HOME": str(tmp_path / "named")}
    assert Settings.read(environ, data=tmp_path / "given").data == tmp_path / "given"
    assert Settings.read(environ).data == tmp_path / "named"
    assert Settings.read({}).data.parts[-2:] == ("batchspec", "local")


# -- reports


def test_the_repr_of_endpoints_contains_no_key() -> None:
    text = f"{ENDPOINTS!r} {ENDPOINTS}"
    assert ENDPOINTS.batch_key not in text
    assert ENDPOINTS.blob_key not in text
    assert ENDPOINTS.token not in text


NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_a_shell_reads_the_output_of_env() -> None:
    script = (
        local.env(ENDPOINTS, "sh", now=NOW)
        + 'printf "%s\\n" "$AZURE_STORAGE_CONNECTION_STRING"; env'
    )
    shell = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, check=True)
    assert shell.stdout.splitlines()[0] == ENDPOINTS.connection_string
    for name, value in local.variables(ENDPOINTS, now=NOW).items():
        assert f"{name}={value}" in shell.stdout.splitlines()


def test_other_formats_of_env_can_be_parsed() -> None:
    expected = local.variables(ENDPOINTS, now=NOW)
    assert json.loads(local.env(ENDPOINTS, "json", now=NOW)) == expected
    text = local.env(ENDPOINTS, "dotenv", now=NOW)
    dotenv = dotenv_values(stream=StringIO(text), interpolate=False)
    assert dotenv == expected
    assert expected["BATCHSPEC_LOCAL_TOKEN_FILE"] == "/data/token"
    assert ENDPOINTS.token not in text
    assert "$env:AZURE_BATCH_ACCESS_KEY = 'b''k=='" in local.env(ENDPOINTS, "powershell")


def test_the_variables_have_https_addresses_if_the_service_has_https(tmp_path: Path) -> None:
    trust = TrustFiles(tmp_path / "authority", tmp_path / "bundle")
    https = HttpsEndpoints("https://127.0.0.1:3", "https://127.0.0.1:4/blob", trust)
    plain, secure = (
        local.variables(replace(ENDPOINTS, https=given), now=NOW) for given in (None, https)
    )
    assert secure["AZURE_BATCH_ENDPOINT"] == https.batch_url
    assert "AZURE_ALLOW_HTTP" in plain
    assert not [name for name, value in secure.items() if "http:" in value or "ALLOW" in name]
    assert set(secure) - set(plain) == set(trust.variables())
    assert {secure[name] for name in trust.variables()} == {str(trust.bundle)}
    assert replace(ENDPOINTS, https=https).blob_host_url == "https://blob.blob.localhost:4"
    assert ENDPOINTS.blob_host_url == "http://blob.blob.localhost:2"


@pytest.mark.parametrize("format_", ["sh", "powershell", "dotenv", "json"])
def test_every_format_contains_the_variables_of_the_azure_cli(format_: Format) -> None:
    text = local.env(ENDPOINTS, format_)
    for name in ("AZURE_BATCH_ACCOUNT", "AZURE_BATCH_ENDPOINT", "AZURE_BATCH_ACCESS_KEY"):
        assert name in text
    assert text.endswith("\n")


def test_a_daemon_reports_readiness_or_an_error(tmp_path: Path) -> None:
    error = LocalError("code", "What.", fix="Do.", log=tmp_path / "log", lines=["a", "b"])
    listen, report = os.pipe()
    ReadinessReporter(report).ready()
    assert await_readiness(listen, 5) is True
    os.close(listen)

    listen, report = os.pipe()
    reporter = ReadinessReporter(report)
    reporter.failed(error)
    reporter.failed(error)  # the second report has no reader
    with pytest.raises(LocalError) as caught:
        await_readiness(listen, 5)
    os.close(listen)
    assert caught.value.to_json() == error.to_json()


def test_a_daemon_that_ends_or_hangs_is_detected() -> None:
    listen, report = os.pipe()
    with pytest.raises(TimeoutError):
        await_readiness(listen, 0.05)
    os.close(report)
    assert await_readiness(listen, 5) is False
    os.close(listen)


def test_the_daemon_continues_without_its_starter() -> None:
    listen, report = os.pipe()
    os.close(listen)
    ReadinessReporter(report).ready()


def test_importing_the_package_loads_no_server() -> None:
    code = (
        "import sys, batchspec.local; "
        "print([m for m in ('uvicorn', 'aiohttp', 'asyncio', 'sqlite3', 'azure') "
        "if m in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout == "[]\n"
