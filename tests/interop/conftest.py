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
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])


PYTHON_SDKS = ("8.0.0", "11.0.0", "12.0.0", "14.1.0", "14.2.0")
"""The versions of azure-batch that ``python/client.py`` runs with; each speaks another api-version.

The current version is the one of the project's own environment.
"""

JAVASCRIPT_SDKS = ("8.0.0", "10.2.0")
"""The versions of @azure/batch that ``javascript/client.cjs`` runs with."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip the tests of clients that take long to install, unless ``-m foreign`` selects them."""
    if "foreign" in config.option.markexpr:
        return
    skip = pytest.mark.skip(reason="the client takes long to install: pytest -m foreign")
    for item in items:
        if "foreign" in item.keywords:
            item.add_marker(skip)


def python_environment(name: str, *pins: str, hashes: bool = True) -> Path:
    """The Python of a separate virtual environment with the packages of the files ``pins``."""
    files = [HERE / "python" / "pins" / f"{pin}.txt" for pin in pins]

    def fill(folder: Path) -> None:
        _run([sys.executable, "-m", "venv", "--without-pip", str(folder)], folder)
        pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python")]
        options = ["--no-deps", "--retries=1", *(["--require-hashes"] if hashes else [])]
        listed = [part for file in files for part in ("-r", str(file))]
        _run([*pip, "--quiet", "install", *options, *listed], folder)

    contents = b"".join(file.read_bytes() for file in files)
    return installed(name, contents, fill) / "bin" / "python"


def python_client(version: str) -> OtherClient:
    """``python/client.py`` with azure-batch of a version of :data:`PYTHON_SDKS`."""
    python = python_environment(f"azure-batch-{version}", "common", f"azure-batch-{version}")
    return OtherClient((str(python), str(HERE / "python" / "client.py")))


def npm_packages(name: str) -> Path:
    """The folder ``node_modules`` with the packages that ``javascript/NAME`` pins."""
    settings = Settings.read(os.environ)
    node = find_nodejs(settings)
    pins = HERE / "javascript" / name

    def fill(folder: Path) -> None:
        for file in ("package.json", "package-lock.json", ".npmrc"):
            shutil.copyfile(pins / file, folder / file)
        npm = [str(node.executable), str(node.npm(settings.path))]
        options = ["--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1"]
        _run([*npm, "ci", *options, f"--cache={folder / 'cache'}"], folder)
        shutil.rmtree(folder / "cache")

    lock = (pins / "package-lock.json").read_bytes()
    return installed(f"javascript-{name}", lock, fill) / "node_modules"


def javascript_client(version: str) -> OtherClient:
    """``javascript/client.cjs`` with @azure/batch of a version, on the blob store's Node.js."""
    node = find_nodejs(Settings.read(os.environ))
    return OtherClient(
        (str(node.executable), str(HERE / "javascript" / "client.cjs")),
        (("NODE_PATH", str(npm_packages(version))),),
    )


@pytest.fixture
def javascript(azurite_installed: Path) -> OtherClient:
    """The newest JavaScript client."""
    return javascript_client(JAVASCRIPT_SDKS[-1])


class InstallError(Exception):
    """An installer failed; the text is its output."""


def installed(name: str, pins: bytes, fill: Callable[[Path], None]) -> Path:
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
        except InstallError as error:
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
        timeout=1200,
        check=False,
    )
    if done.returncode != 0:
        raise InstallError(done.stdout)
