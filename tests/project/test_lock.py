"""requirements.lock contains every dependency, pinned and hashed, without an index address."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


PINS = re.findall(r"^([A-Za-z0-9._-]+)==([^\s;]+)", LOCK, re.MULTILINE)
"""Names and versions. A package is in it once for each version of Python that needs another."""


def locked() -> dict[str, str]:
    """Versions by name."""
    return {canonicalize_name(name): version for name, version in PINS}


def test_the_lock_contains_all_dependencies() -> None:
    project = PROJECT["project"]
    asked = [
        *project["dependencies"],
        *project["optional-dependencies"]["local"],
        *PROJECT["dependency-groups"]["dev"],
        *PROJECT["build-system"]["requires"],
    ]
    pins = locked()
    for requirement in map(Requirement, asked):
        version = pins.get(canonicalize_name(requirement.name))
        assert version, f"{requirement.name} is not locked: make lock"
        assert requirement.specifier.contains(version), f"{requirement.name}: make lock"


def test_every_pin_has_a_hash() -> None:
    blocks = re.split(r"^(?=[A-Za-z0-9])", LOCK, flags=re.MULTILINE)[1:]
    assert len(blocks) == len(PINS)
    assert [block for block in blocks if "--hash=sha256:" not in block] == []


def test_the_lock_names_no_index() -> None:
    lines = [line for line in LOCK.splitlines() if not line.lstrip().startswith("#")]
    options = [
        line for line in lines if line.startswith("-") or "://" in line or re.search(r"\s@\s", line)
    ]
    assert options == []
    assert "://" not in LOCK
    assert str(ROOT) not in LOCK
