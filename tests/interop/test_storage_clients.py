"""The recipes of ``docs/how-to/storage-clients.md`` run as written.

Tools that take long to install run with ``pytest -m foreign``. rclone is used if it is installed.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import platformdirs
import pytest

from batchspec import local
from tests.docs.pages import DOCS, Block, blocks, commands, elided
from tests.interop.conftest import npm_packages, python_environment

pytestmark = pytest.mark.timeout(1800)

PAGE = DOCS / "how-to" / "storage-clients.md"
RUN_HERE = "tests/interop/test_storage_clients.py"
_HEADING = "\n## "

# Not every machine resolves names below localhost.
_RESOLVER = """\
import socket

_resolve = socket.getaddrinfo


def getaddrinfo(host, *rest, **options):
    below = isinstance(host, str) and host.endswith(".localhost")
    return _resolve("127.0.0.1" if below else host, *rest, **options)


socket.getaddrinfo = getaddrinfo
"""


def recipes() -> dict[str, list[Block]]:
    """The blocks that run, by the heading of their section; the first section has none."""
    text = PAGE.read_text("utf-8")
    found: dict[str, list[Block]] = {}
    for block in blocks(PAGE):
        if block.kind == "not run" and block.value.startswith(RUN_HERE):
            before = text[: block.start]
            heading = (
                before.rpartition(_HEADING)[2].partition("\n")[0] if _HEADING in before else ""
            )
            found.setdefault(heading, []).append(block)
    return found


def program(folder: Path, name: str, *command: str) -> str:
    """A folder with a program that runs a command."""
    script = folder / name
    script.write_text(f'#!/bin/sh\nexec {" ".join(command)} "$@"\n')
    script.chmod(0o755)
    return str(folder)


def azure_cli(folder: Path) -> str:
    """The folder of ``az``."""
    name = "azure-cli-2.91.0"
    python = python_environment(name, name, hashes=False)
    return program(folder, "az", str(python), "-m", "azure.cli")


def blobxfer(folder: Path) -> str:
    """The folder of ``blobxfer``."""
    python = python_environment("blobxfer", "blobxfer")
    return program(folder, "blobxfer", str(python), "-m", "blobxfer_cli.cli")


def azcopy(folder: Path) -> str:
    """The folder of ``azcopy``; the program of the package is not executable."""
    package = npm_packages("azcopy") / "@azure-tools" / "azcopy-linux"
    program = folder / "azcopy"
    shutil.copyfile(package / "dist" / "bin" / "azcopy_linux_amd64", program)
    program.chmod(0o755)
    missing = "libsecret-1.so.0 => not found"
    linked = subprocess.run(["ldd", program], capture_output=True, text=True, check=False)
    if missing in linked.stdout:
        pytest.skip("azcopy needs libsecret: apt-get install libsecret-1-0")
    return str(folder)


def installed_program(name: str) -> str:
    """The folder of a program of the machine."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed: apt-get install {name}")
    return str(Path(found).parent)


def python_libraries() -> str:
    """The folder of the Python that has adlfs and Polars."""
    return str(python_environment("adlfs-polars", "adlfs-polars").parent)


PROGRAMS = {
    "Azure CLI": azure_cli,
    "rclone": lambda _: installed_program("rclone"),
    "azcopy": azcopy,
    "curl": lambda _: installed_program("curl"),
    "fsspec and adlfs": lambda _: python_libraries(),
    "Polars, Delta Lake": lambda _: python_libraries(),
    "blobxfer": blobxfer,
}
"""Returns the folder with the program of a recipe, by heading; takes a folder for it."""

FAST = {"rclone", "curl"}
OUTPUTS = {
    "fsspec and adlfs": ["['letters/a.txt', 'letters/b.txt']", "beta", ""],
    "Polars, Delta Lake": ["6"],
}
"""What the Python programs print, in lines."""


def test_each_recipe_is_run() -> None:
    sections = recipes()
    assert set(sections) - {""} == set(PROGRAMS)
    shown = [block for block in blocks(PAGE) if block.language in {"console", "python"}]
    assert shown == [block for listed in sections.values() for block in listed]


@pytest.mark.parametrize(
    "heading",
    [
        pytest.param(name, marks=() if name in FAST else pytest.mark.foreign, id=name.split()[0])
        for name in PROGRAMS
    ],
)
def test_the_recipe_works(heading: str, local_home: local.Endpoints, tmp_path: Path) -> None:
    sections = recipes()
    for name in ("bin", "work", "site", "home"):
        (tmp_path / name).mkdir()
    folder = PROGRAMS[heading](tmp_path / "bin")
    environ = {
        "PATH": os.pathsep.join([folder, str(Path(sys.executable).parent), os.environ["PATH"]]),
        "HOME": str(tmp_path / "home"),
        "XDG_CACHE_HOME": str(platformdirs.user_cache_path()),
        "BATCHSPEC_LOCAL_HOME": str(local_home.data),
        "AZURE_CORE_COLLECT_TELEMETRY": "0",
        "AZCOPY_DISABLE_SYSLOG": "true",
    }
    if not resolves_below_localhost():
        (tmp_path / "site" / "sitecustomize.py").write_text(_RESOLVER)
        environ["PYTHONPATH"] = str(tmp_path / "site")
    expected = []
    script = ["set -eu"]
    for block in (*sections[""], *sections[heading]):
        if block.language == "python":
            (tmp_path / "work" / "recipe.py").write_text(block.text)
            steps = [("python recipe.py", OUTPUTS[heading])]
        else:
            steps = list(commands(block.text))
        for command, output in steps:
            script += [f"echo '%% {len(expected)}'", command]
            expected.append((command, output))
    done = subprocess.run(
        ["/bin/sh", "-c", "\n".join(script)],
        cwd=tmp_path / "work",
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    printed = [part.partition("\n")[2] for part in done.stdout.split("%% ")[1:]]
    for (command, output), text in zip(expected, printed, strict=True):
        if output:
            assert elided(text, output).splitlines() == [line for line in output if line], command


def resolves_below_localhost() -> bool:
    """Whether this machine resolves the names of the recipes."""
    try:
        return bool(socket.getaddrinfo("batchspeclocal.blob.core.localhost", 443))
    except socket.gaierror:
        return False
