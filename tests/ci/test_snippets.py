"""The action, workflows and snippets of the documentation match the schemas of their services."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "how-to" / "ci.md").read_text("utf-8")
BIN = Path(sys.executable).parent
HOOK = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text("utf-8"))[0]

SPEC = """\
version: 1
name: demo
pool: {existing: there}
job: {max_wall_clock_time: 1h}
tasks: {run: {command: echo hello}}
"""


def snippet(heading: str) -> str:
    """The block of YAML below a heading of the page."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    found = re.search(r"^```yaml\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
    assert found is not None, heading
    return found[1]


def check(schema: str, *paths: Path) -> None:
    # The schema of Azure Pipelines has expressions that the mode for Unicode does not allow.
    options = ("--builtin-schema", f"vendor.{schema}", "--regex-variant", "nonunicode")
    done = subprocess.run(
        [BIN / "check-jsonschema", *options, *paths],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("heading", "schema"),
    [
        ("GitHub Actions", "github-workflows"),
        ("Azure Pipelines", "azure-pipelines"),
        ("GitLab", "gitlab-ci"),
    ],
)
def test_a_snippet_matches_the_schema_of_its_service(
    tmp_path: Path, heading: str, schema: str
) -> None:
    path = tmp_path / "pipeline.yml"
    path.write_text(snippet(heading))
    check(schema, path)


def test_the_action_and_the_workflows_match_their_schemas() -> None:
    check("github-actions", ROOT / "action.yml")
    check("github-workflows", *sorted((ROOT / ".github" / "workflows").glob("*.yml")))


def test_the_snippet_and_the_page_name_inputs_of_the_action() -> None:
    declared = yaml.safe_load((ROOT / "action.yml").read_text("utf-8"))["inputs"]
    jobs = yaml.safe_load(snippet("GitHub Actions"))["jobs"]
    for name, job in jobs.items():
        step = job["steps"][-1]
        assert step["uses"].startswith("OWNER/batchspec@v")
        assert step["with"] == {"command": name, "spec": "run.yaml"}
    section = PAGE.partition("\n## GitHub Actions\n")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `([a-z-]+)` \|", section, re.MULTILINE) == list(declared)
    # Only the job with an identity that can change something gets secrets.
    assert "secrets." not in str(jobs["plan"])
    assert "pull-requests" not in jobs["apply"]["permissions"]


def test_the_hook_checks_specs_and_no_other_yaml(tmp_path: Path) -> None:
    (tmp_path / "run.batchspec.yaml").write_text(SPEC)
    (tmp_path / "compose.yaml").write_text("services: {}\n")
    # As the hook, except that this environment has batchspec already.
    hook = {**HOOK, "language": "system", "entry": f"{BIN}/{HOOK['entry']}"}
    config = {"repos": [{"repo": "local", "hooks": [hook]}]}
    (tmp_path / ".pre-commit-config.yaml").write_text(yaml.safe_dump(config))

    (tmp_path / "batchspec.yaml").write_text(SPEC.replace("name: demo", "nmae: demo"))
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    subprocess.run(["git", "add", "."], cwd=tmp_path, check=True)
    done = subprocess.run(
        [BIN / "pre-commit", "run", "--all-files"],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "PRE_COMMIT_HOME": str(tmp_path.parent / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "batchspec.yaml:2:1: error" in done.stdout
    assert "run.batchspec.yaml: ok" in done.stdout
    assert "compose.yaml" not in done.stdout


def test_the_hook_of_the_page_exists() -> None:
    (repository,) = yaml.safe_load(snippet("pre-commit"))["repos"]
    assert [hook["id"] for hook in repository["hooks"]] == [HOOK["id"]]
    assert re.fullmatch(repository["hooks"][0]["files"], "specs/topn.yaml")
    names = ("batchspec.yaml", "a/batchspec.yml", "my.batchspec.yaml", "a/b.batchspec.yml")
    assert all(re.search(HOOK["files"], name) for name in names)
    assert not any(re.search(HOOK["files"], name) for name in ("run.yaml", "mybatchspec.yaml"))
