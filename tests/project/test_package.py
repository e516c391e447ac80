"""The wheel and the sdist are complete, and the embedded service needs no part of the client."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from tools import check_package

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the sdist of the source as it is."""
    folder = tmp_path_factory.mktemp("dist")
    line = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    subprocess.run(line, cwd=ROOT, check=True, capture_output=True)
    return folder


def files() -> set[str]:
    try:
        return check_package.tracked()
    except subprocess.CalledProcessError:
        pytest.skip("not a git work tree")


def test_the_wheel_contains_the_package_and_the_schema(dist: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    check_package.check_wheel(wheel, files())


def test_the_sdist_contains_the_repository(dist: Path) -> None:
    (sdist,) = dist.glob("*.tar.gz")
    check_package.check_sdist(sdist, files())


def test_a_missing_file_is_reported(dist: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    with pytest.raises(check_package.PackageError, match=r"lacks \['batchspec/new.py'\]"):
        check_package.check_wheel(wheel, files() | {"batchspec/new.py"})


def test_every_supported_python_is_declared_and_checked_by_the_workflows() -> None:
    declared = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
    assert PROJECT["requires-python"] == f">={declared[0]}"
    for name in ("ci", "release"):
        text = (ROOT / ".github" / "workflows" / f"{name}.yml").read_text(encoding="utf-8")
        job = yaml.safe_load(text)["jobs"]["package"]
        assert job["strategy"]["matrix"]["python"] == declared, name
        assert any("check_package.py" in step.get("run", "") for step in job["steps"]), name


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_gives_write_permissions_to_single_jobs_only(workflow: Path) -> None:
    content = yaml.safe_load(workflow.read_text(encoding="utf-8"))
    assert content["permissions"] == {"contents": "read"}
    for name, job in content["jobs"].items():
        assert "timeout-minutes" in job, name


def test_a_release_has_the_version_of_its_tag_and_attestations() -> None:
    jobs = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text("utf-8"))["jobs"]
    steps = [step for job in jobs.values() for step in job["steps"]]
    assert any("GITHUB_REF_NAME" in step.get("run", "") for step in jobs["build"]["steps"])
    assert [step for step in steps if "attest-build-provenance" in step.get("uses", "")]
    (publish,) = [step for step in steps if "gh-action-pypi-publish" in step.get("uses", "")]
    assert "password" not in publish.get("with", {}), "trusted publishing needs no token"
    assert jobs["publish"]["permissions"] == {"id-token": "write"}


REFUSING = """
import sys
from importlib.abc import MetaPathFinder

class Refuse(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in REFUSED:
            raise ModuleNotFoundError(f"the service imports {name}")

sys.meta_path.insert(0, Refuse())
import batchspec.local
import batchspec.local.__main__
import batchspec.local.service
"""
MODULES = {
    "azure-batch": "azure",
    "azure-identity": "azure",
    "azure-storage-blob": "azure",
    "jsonschema-rs": "jsonschema_rs",
    "pyyaml": "yaml",
}
"""The modules of distributions, where the names differ."""


def test_the_service_imports_no_dependency_of_the_client() -> None:
    needed = {re.split(r"[\[<>=]", each)[0] for each in check_package.SERVICE}
    names = {re.split(r"[\[<>=]", each)[0] for each in PROJECT["dependencies"]}
    extra = {re.split(r"[<>=]", each)[0] for each in PROJECT["optional-dependencies"]["local"]}
    assert needed - names == extra
    refused = {MODULES.get(name, name) for name in names - needed}
    assert {"azure", "jinja2", "rich", "typer", "yaml"} <= refused
    line = [sys.executable, "-c", f"REFUSED = {refused!r}{REFUSING}"]
    done = subprocess.run(line, cwd=ROOT, text=True, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_packages_of_the_service_are_documented() -> None:
    page = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    section = page.partition("## The embedded service alone")[2].partition("\n## ")[0]
    (line,) = re.findall(r"^\$ python3 -m pip install (aiohttp .*)$", section, re.MULTILINE)
    assert line.split() == [
        f"'{each}'" if re.search(r"[\[<>]", each) else each for each in check_package.SERVICE
    ]
