"""Other clients of Azure Batch, each installed once in a separate environment.

Installations are in the user's cache, in folders named after the pinned versions. They are created
in a temporary folder and renamed, so that they are always complete. Without a network the tests are
skipped with the reason; with ``CI`` set they fail.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs
import pytest
from filelock import FileLock

from batchspec import local
from batchspec.local.azurite import find_nodejs
from batchspec.local.settings import Settings
from tests.e2e.conftest import place

__all__ = ["place"]

HERE = Path(__file__).parent
_OFFLINE = re.compile(
    r"NewConnectionError|NameResolutionError|ConnectTimeout|No matching distribution found"
    r"|EAI_AGAIN|ENOTFOUND|ECONNREFUSED|ETIMEDOUT|ENETUNREACH|EIDLETIMEOUT"
)


@dataclass(frozen=True, slots=True)
class OtherClient:
    """A program that uses another client and prints JSON."""

    command: tuple[str, ...]
    environ: tuple[tuple[str, str], ...] = ()

    def ask(self, ends: local.Endpoints, *arguments: str) -> Any:
        """Run the program on the account and return its output."""
        done = subprocess.run(
            [*self.command, *arguments],
            env={
                "PATH": os.environ["PATH"],
                "AZURE_BATCH_URL": ends.batch_url,
                "AZURE_BATCH_ACCOUNT": ends.batch_account,
                "AZURE_BATCH_KEY": ends.batch_key,
                **dict(self.environ),
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture(scope="session")
def former_sdk() -> OtherClient:
    """azure-batch 14.2 (api-version 2024-02-01.19.0) in a separate virtual environment."""
    pins = HERE / "former_sdk" / "requirements.txt"

    def fill(folder: Path) -> None:
        _run([sys.executable, "-m", "venv", "--without-pip", str(folder)], folder)
        pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python")]
        options = ["--require-hashes", "--no-deps", "--only-binary=:all:", "--retries=1"]
        _run([*pip, "--quiet", "install", *options, "-r", str(pins)], folder)

    installed = _installed("former_sdk", pins.read_bytes(), fill)
    return OtherClient((str(installed / "bin" / "python"), str(HERE / "former_sdk" / "client.py")))


@pytest.fixture(scope="session")
def javascript(azurite_installed: Path) -> OtherClient:
    """@azure/batch 10.2 (api-version 2022-10-01.16.0) on the Node.js that runs the blob store."""
    settings = Settings.read(os.environ)
    node = find_nodejs(settings)
    lock = HERE / "javascript" / "package-lock.json"

    def fill(folder: Path) -> None:
        for name in ("package.json", "package-lock.json", ".npmrc"):
            shutil.copyfile(lock.with_name(name), folder / name)
        npm = [str(node.executable), str(node.npm(settings.path))]
        options = ["--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1"]
        _run([*npm, "ci", *options, f"--cache={folder / 'cache'}"], folder)
        shutil.rmtree(folder / "cache")

    installed = _installed("javascript", lock.read_bytes(), fill)
    return OtherClient(
        (str(node.executable), str(lock.with_name("client.cjs"))),
        (("NODE_PATH", str(installed / "node_modules")),),
    )


class _InstallError(Exception):
    """An installer failed; the text is its output."""


def _installed(name: str, pins: bytes, fill: Callable[[Path], None]) -> Path:
    """The folder of an installation; ``fill`` creates it if it does not exist."""
    parent = platformdirs.user_cache_path("batchspec") / "interop"
    folder = parent / f"{name}-{hashlib.sha256(pins).hexdigest()[:16]}"
    parent.mkdir(parents=True, exist_ok=True)
    with FileLock(parent / f"{name}.lock"):
        if folder.exists():
            return folder
        stage = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=parent))
        try:
            fill(stage)
            stage.rename(folder)
        except _InstallError as error:
            if _OFFLINE.search(str(error)) and not os.environ.get("CI"):
                pytest.skip(f"{name} is not installed yet, and its registry cannot be reached")
            raise
        finally:
            shutil.rmtree(stage, ignore_errors=True)
    return folder


def _run(command: list[str], folder: Path) -> None:
    done = subprocess.run(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    if done.returncode != 0:
        raise _InstallError(done.stdout)
