"""The steps of ``Containerfile`` without a container engine.

They run in a new virtual environment with an empty home folder; the folders of the image are
folders of the test. Then the command of the image starts, and its service answers.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from azure.batch import BatchClient
from azure.core.credentials import AzureNamedKeyCredential
from azure.storage.blob import BlobServiceClient

pytestmark = [pytest.mark.timeout(1800), pytest.mark.foreign]

ROOT = Path(__file__).parents[2]
PATIENCE = 120.0


@dataclass(frozen=True, slots=True)
class Instruction:
    """An instruction of the file, with the folders of the image below ``image``."""

    verb: str
    text: str


def instructions(image: Path) -> list[Instruction]:
    text = (ROOT / "Containerfile").read_text("utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    below = [
        line.replace("/opt/", f"{image}/opt/").replace("/tmp/", f"{image}/tmp/") for line in lines
    ]
    return [Instruction(*line.split(maxsplit=1)) for line in below]


def test_the_image_starts_a_service(tmp_path: Path) -> None:
    steps = instructions(tmp_path)
    (tmp_path / "tmp").mkdir()
    (tmp_path / "home").mkdir()
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "python"], check=True)
    path = f"{tmp_path / 'python' / 'bin'}{os.pathsep}/usr/bin{os.pathsep}/bin"
    # The settings of the machine for its registries, and nothing else.
    kept = {
        key: value for key, value in os.environ.items() if key.lower().startswith(("pip_", "npm_"))
    }
    environ = {**kept, "PATH": path, "HOME": str(tmp_path / "home")}
    command: list[str] = []
    for step in steps:
        match step.verb:
            case "ENV":
                name, _, value = step.text.partition("=")
                environ[name] = value
            case "COPY":
                *sources, target = shlex.split(step.text)
                for source in sources:
                    copy(ROOT / source, Path(target))
            case "RUN":
                run(step.text, environ, tmp_path)
            case "CMD":
                command = json.loads(step.text)
            case verb:
                assert verb in {"FROM", "USER"}
    written = sorted((tmp_path / "opt").rglob("*"))
    service = subprocess.Popen(
        command, env=environ, cwd=tmp_path, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        until_running(environ, tmp_path, service)
        account = json.loads(run("batchspec local env --format json", environ, tmp_path))
        key = AzureNamedKeyCredential(
            account["AZURE_BATCH_ACCOUNT"], account["AZURE_BATCH_ACCESS_KEY"]
        )
        with BatchClient(account["AZURE_BATCH_ENDPOINT"], key) as batch:
            assert list(batch.list_pools()) == []
        text = account["AZURE_STORAGE_CONNECTION_STRING"]
        with BlobServiceClient.from_connection_string(text) as blobs:
            assert list(blobs.list_containers()) == []
    finally:
        service.send_signal(signal.SIGTERM)
        code = service.wait(60)
    assert code == 0
    assert sorted((tmp_path / "opt").rglob("*")) == written, "USER cannot write there"


def copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)


def run(command: str, environ: dict[str, str], folder: Path) -> str:
    done = subprocess.run(
        ["/bin/sh", "-ec", command],
        env=environ,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def until_running(environ: dict[str, str], folder: Path, service: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + PATIENCE
    while True:
        state = json.loads(run("batchspec local status --format json", environ, folder))["state"]
        if state == "running":
            return
        assert service.poll() is None, "the service has ended"
        assert time.monotonic() < end, state
