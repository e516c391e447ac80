"""Installation of Azurite: once, complete, and with a useful error for every failure.

npm is a fake script where the registry does not matter, and real where its messages matter.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from batchspec.local import LocalError, StartupPhase
from batchspec.local.azurite import (
    Installation,
    NodeJs,
    expected_installation,
    find_nodejs,
    install,
    is_complete,
)
from batchspec.local.azurite.installation import SHIPPED
from batchspec.local.settings import Settings

ENTRY = "node_modules/azurite/dist/src/blob"


class FakeNpm:
    """A "Node.js" that is a shell script with the effects of npm."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.calls = folder / "calls"
        cli = folder / "lib/node_modules/npm/bin/npm-cli.js"
        cli.parent.mkdir(parents=True)
        cli.touch()
        (folder / "bin").mkdir()
        self.node = NodeJs(folder / "bin/node")
        self.does(f"mkdir -p {ENTRY} && echo hello > {ENTRY}/main.js")

    def does(self, body: str) -> None:
        self.node.executable.write_text(f'#!/bin/sh\nprintf "%s\\n" "$*" >> {self.calls}\n{body}\n')
        self.node.executable.chmod(0o755)

    def install(self, cache: Path, phases: list[StartupPhase] | None = None) -> Installation:
        return install(
            self.node,
            cache,
            search_path="",
            environ={"PATH": os.environ["PATH"]},
            notify=(phases if phases is not None else []).append,
        )

    @property
    def count(self) -> int:
        return len(self.calls.read_text().splitlines()) if self.calls.exists() else 0


@pytest.fixture
def npm(tmp_path: Path) -> FakeNpm:
    return FakeNpm(tmp_path / "node")


def test_azurite_is_installed_once_and_then_works_offline(npm: FakeNpm, tmp_path: Path) -> None:
    phases: list[StartupPhase] = []
    first = npm.install(tmp_path / "cache", phases)
    assert is_complete(first)
    assert phases == [StartupPhase.INSTALLING_AZURITE]

    npm.does("exit 1")
    assert npm.install(tmp_path / "cache") == first
    assert npm.count == 1


def test_the_folder_depends_on_the_lock_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = expected_installation(tmp_path)
    changed = tmp_path / "changed"
    changed.mkdir()
    (changed / "package.json").write_text((SHIPPED / "package.json").read_text())
    (changed / "package-lock.json").write_text((SHIPPED / "package-lock.json").read_text() + " ")
    monkeypatch.setattr("batchspec.local.azurite.installation.SHIPPED", changed)
    assert expected_installation(tmp_path).folder != before.folder


def test_npm_runs_no_scripts_and_its_cache_is_removed(npm: FakeNpm, tmp_path: Path) -> None:
    npm.does(
        'case "$*" in *--ignore-scripts*) ;; *) exit 9;; esac\n'
        'for a in "$@"; do case $a in --cache=*) mkdir "${a#--cache=}";; esac; done\n'
        f"ls -A > seen && mkdir -p {ENTRY} && mv seen {ENTRY}/main.js"
    )
    installed = npm.install(tmp_path / "cache")
    seen = set(installed.entry.read_text().split())
    assert {".npmrc", "package.json", "package-lock.json", "stub"} <= seen
    assert not (installed.folder / "cache").exists()


def test_concurrent_installations_install_once(npm: FakeNpm, tmp_path: Path) -> None:
    npm.does(f"sleep 0.2; mkdir -p {ENTRY} && echo hello > {ENTRY}/main.js")
    found: list[Installation] = []
    threads = [
        threading.Thread(target=lambda: found.append(npm.install(tmp_path / "cache")))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(set(found)) == 1
    assert npm.count == 1


def test_a_failed_installation_leaves_nothing_behind(npm: FakeNpm, tmp_path: Path) -> None:
    works = npm.node.executable.read_text()
    npm.does(f"mkdir -p {ENTRY}; echo half > {ENTRY}/main.js; exit 1")
    with pytest.raises(LocalError):
        npm.install(tmp_path / "cache")
    assert not expected_installation(tmp_path / "cache").folder.exists()
    assert not list((tmp_path / "cache/azurite").glob("stage-*"))

    npm.node.executable.write_text(works)
    assert is_complete(npm.install(tmp_path / "cache"))


def test_remains_of_a_killed_installation_are_removed(npm: FakeNpm, tmp_path: Path) -> None:
    abandoned = tmp_path / "cache/azurite/stage-abandoned"
    abandoned.mkdir(parents=True)
    damaged = expected_installation(tmp_path / "cache").folder
    damaged.mkdir()
    (damaged / "half").touch()
    installed = npm.install(tmp_path / "cache")
    assert is_complete(installed)
    assert not abandoned.exists()
    assert not (installed.folder / "half").exists()


def test_success_without_azurite_is_a_failure(npm: FakeNpm, tmp_path: Path) -> None:
    npm.does("true")
    with pytest.raises(LocalError) as caught:
        npm.install(tmp_path / "cache")
    assert caught.value.code == "npm-failed"


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("npm error code EAI_AGAIN", "registry-unreachable"),
        ("npm error code ETIMEDOUT", "registry-unreachable"),
        ("npm error code SELF_SIGNED_CERT_IN_CHAIN", "registry-untrusted"),
        ("npm error code UNABLE_TO_GET_ISSUER_CERT_LOCALLY", "registry-untrusted"),
        ("npm error code E403", "registry-refused"),
        ("npm error code ENOSPC", "cache-unwritable"),
        ("npm error code EWHATEVER", "npm-failed"),
    ],
)
def test_npm_errors_become_codes(npm: FakeNpm, tmp_path: Path, said: str, code: str) -> None:
    npm.does(f"echo '{said}' >&2; exit 1")
    with pytest.raises(LocalError) as caught:
        npm.install(tmp_path / "cache")
    assert caught.value.code == code
    assert caught.value.log
    assert said in caught.value.log.read_text()


def test_an_unwritable_cache_is_reported(npm: FakeNpm, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(LocalError) as caught:
        npm.install(tmp_path / "cache")
    assert caught.value.code == "cache-unwritable"
    assert str(tmp_path / "cache") in caught.value.summary


def real_npm(tmp_path: Path, registry: str) -> LocalError:
    settings = Settings.read(os.environ)
    try:
        node = find_nodejs(settings)
        node.npm(settings.path)
    except LocalError as error:
        pytest.skip(error.summary)
    home = tmp_path / "home"
    home.mkdir()
    environ = {"PATH": settings.path, "HOME": str(home), "npm_config_registry": registry}
    with pytest.raises(LocalError) as caught:
        install(
            node,
            tmp_path / "cache",
            search_path=settings.path,
            environ=environ,
            notify=lambda _: None,
        )
    assert not list(home.iterdir()), "npm wrote into the user's home"
    assert not expected_installation(tmp_path / "cache").folder.exists()
    return caught.value


def test_the_real_npm_without_a_registry_fails_quickly(tmp_path: Path) -> None:
    error = real_npm(tmp_path, "http://127.0.0.1:9/")
    assert error.code == "registry-unreachable"
    assert "ECONNREFUSED" in error.summary


@pytest.fixture
def evil_registry() -> Iterator[str]:
    """A registry with all packages of the lock file, with other contents."""
    packages = json.loads((SHIPPED / "package-lock.json").read_text())["packages"]

    class Evil(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.removeprefix("/").replace("%2f", "/")
            body = b"not what was published"
            if not name.endswith(".tgz"):
                versions = {
                    package["version"]: {
                        "name": name,
                        "version": package["version"],
                        "dist": {"tarball": f"http://{self.headers['host']}/{name}.tgz"},
                    }
                    for path, package in packages.items()
                    if path.endswith(f"node_modules/{name}") and "version" in package
                }
                body = json.dumps({"name": name, "versions": versions}).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Evil)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


def test_a_package_with_a_wrong_hash_is_rejected_with_its_name(
    tmp_path: Path, evil_registry: str
) -> None:
    error = real_npm(tmp_path, evil_registry)
    assert error.code == "azurite-integrity"
    names = {
        path.removeprefix("node_modules/")
        for path in json.loads((SHIPPED / "package-lock.json").read_text())["packages"]
    }
    named = error.summary.partition(": ")[2].split()[0]
    assert named in names


def test_the_lock_file_names_no_host() -> None:
    lock = json.loads((SHIPPED / "package-lock.json").read_text())
    for path, package in lock["packages"].items():
        assert "://" not in package.get("resolved", ""), path
        linked = package.get("link") or not path.startswith("node_modules/")
        assert linked or package["integrity"].startswith("sha512-"), path
