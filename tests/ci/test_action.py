"""The GitHub Action: its shell steps run here, against a GitHub API on the loopback interface."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text("utf-8"))
INSTALL, RUN = ACTION["runs"]["steps"]
BOT = {"type": "Bot", "login": "github-actions[bot]"}
TOKEN = "marked-token"


@dataclass
class Api:
    """A part of the GitHub API: the comments of one pull request."""

    url: str = ""
    comments: list[dict[str, Any]] = field(default_factory=list)
    refusal: int = 0
    redirect: int = 0
    user: str = ""
    requests: list[str] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        self.requests.append(f"{method} {path}")
        if self.redirect:
            return self.redirect, {}
        if path == "/user":
            return (200, {"login": self.user}) if self.user else (403, {})
        if self.refusal:
            return self.refusal, {}
        if method == "GET":
            page = int(re.search(r"&page=(\d+)", path)[1])  # type: ignore[index]
            return 200, self.comments[(page - 1) * 100 : page * 100]
        if method == "POST":
            author = {"type": "User", "login": self.user} if self.user else BOT
            self.comments.append({"id": len(self.comments), "user": author, **body})
            return 201, self.comments[-1]
        (found,) = (c for c in self.comments if path.endswith(f"/comments/{c['id']}"))
        found.update(body)
        return 200, found


@pytest.fixture
def api() -> Iterator[Api]:
    found = Api()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            found.tokens.add(self.headers["Authorization"])
            status, result = found.answer(self.command, self.path, body)
            data = json.dumps(result).encode()
            self.send_response(status)
            if status == found.redirect:
                other = found.url.replace("127.0.0.1", "localhost")
                self.send_header("Location", f"{other}/other-host")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PATCH = answer

        def log_message(self, *_arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass
class Done:
    code: int
    text: str
    outputs: dict[str, str]
    summary: str
    called: list[str]


@dataclass
class Runner:
    """Runs the steps of the action as GitHub does: bash, and values in the environment."""

    folder: Path
    api: Api

    def batchspec(self, *, out: str = "", err: str = "", code: int = 0) -> None:
        """Replace ``batchspec`` by a program that prints a text and records its arguments."""
        (self.folder / "out").write_text(out)
        (self.folder / "err").write_text(err)
        program = self.folder / "bin" / "batchspec"
        program.parent.mkdir(exist_ok=True)
        program.write_text(
            '#!/bin/bash\nprintf "%s\\n" "$*" "origin=$BATCHSPEC_ORIGIN$INPUT_TOKEN"'
            f" >> {self.folder}/called\n"
            f"cat {self.folder}/out; cat {self.folder}/err >&2; exit {code}\n"
        )
        program.chmod(program.stat().st_mode | stat.S_IXUSR)

    def run(self, *, event: str = "pull_request", fork: bool = False, **given: str) -> Done:
        pull = event.startswith("pull_request")
        context = {
            "github.token": TOKEN,
            "github.event.pull_request.number": "7" if pull else "",
            "github.event.pull_request.head.repo.full_name": ("them" if fork else "us") + "/repo"
            if pull
            else "",
            "github.event.pull_request.head.sha": "0123456789abcdef" if pull else "",
        }
        for name, declared in ACTION["inputs"].items():
            default = evaluated(str(declared.get("default", "")), context)
            context[f"inputs.{name}"] = given.get(name.replace("-", "_"), default)
        for name in ("called", "output", "summary"):
            (self.folder / name).write_text("")
        environ = {name: evaluated(text, context) for name, text in RUN["env"].items()} | {
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "GITHUB_ACTION_PATH": str(ROOT),
            "GITHUB_API_URL": self.api.url,
            "GITHUB_EVENT_NAME": event,
            "GITHUB_OUTPUT": str(self.folder / "output"),
            "GITHUB_REPOSITORY": "us/repo",
            "GITHUB_RUN_ID": "1",
            "GITHUB_STEP_SUMMARY": str(self.folder / "summary"),
            "RUNNER_TEMP": str(self.folder / "temporary"),
        }
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", RUN["run"]],
            cwd=self.folder,
            env=environ,
            capture_output=True,
            text=True,
            check=False,
        )
        outputs = (self.folder / "output").read_text().splitlines()
        return Done(
            done.returncode,
            done.stdout + done.stderr,
            dict(line.split("=", 1) for line in outputs),
            (self.folder / "summary").read_text(),
            (self.folder / "called").read_text().splitlines(),
        )


def evaluated(text: str, context: dict[str, str]) -> str:
    """A text with its expressions replaced; only names occur in this step."""
    return re.sub(r"\$\{\{ ([\w.-]+) \}\}", lambda match: context[match[1]], text)


@pytest.fixture
def runner(tmp_path: Path, api: Api) -> Runner:
    return Runner(tmp_path, api)


PLAN = "### batchspec plan: demo\n\n**Plan: 3 to create.**\n"


def test_the_plan_is_one_comment_that_is_updated(runner: Runner, api: Api) -> None:
    marker = re.compile(r"<!-- batchspec plan [0-9a-f]{16} -->")
    # A comment of another user with the marker is not the comment of the action.
    runner.batchspec(out=PLAN, code=6)
    done = runner.run(command="plan", spec="run.yaml", var_file="a b.yaml", max_cost="25 EUR")
    assert (done.code, done.outputs) == (0, {"changes": "true", "exit-code": "6"})
    assert done.called[0] == (
        "plan run.yaml --format markdown --exit-code --var-file a b.yaml --max-cost 25 EUR"
    )
    assert done.summary.startswith(PLAN)
    (comment,) = api.comments
    first, _, rest = comment["body"].partition("\n")
    assert marker.fullmatch(first)
    assert rest == f"{PLAN}\n<sub>commit 0123456789ab</sub>\n"
    assert api.tokens == {f"Bearer {TOKEN}"}
    assert done.called[1] == "origin=", "the command does not get the token"
    assert TOKEN not in done.text + done.summary

    runner.batchspec(out="### batchspec plan: demo\n\nNothing to do.\n")
    done = runner.run(command="plan", spec="run.yaml")
    assert (done.code, done.outputs["changes"]) == (0, "false")
    assert len(api.comments) == 1
    assert "Nothing to do." in api.comments[0]["body"]
    runner.run(command="plan", spec="other.yaml")
    assert len(api.comments) == 2, "one comment for each spec"


def test_a_comment_of_another_user_is_not_updated(runner: Runner, api: Api) -> None:
    runner.batchspec(out=PLAN, code=6)
    runner.run(command="plan", spec="run.yaml")
    body = api.comments[0]["body"]
    other = {"id": 1000, "user": {"type": "User", "login": "other"}, "body": body}
    api.comments[:] = [{**other, "id": number} for number in range(1000, 1105)]
    runner.run(command="plan", spec="run.yaml")
    assert len(api.comments) == 106
    assert api.comments[-1]["user"] == BOT
    pages = [each for each in api.requests if "page=2" in each]
    assert pages, "comments are read page by page"
    api.user = "owner-of-a-token"
    runner.run(command="plan", spec="run.yaml")
    runner.run(command="plan", spec="run.yaml")
    assert [each["user"].get("login") for each in api.comments[105:]] == [
        "github-actions[bot]",
        "owner-of-a-token",
    ]


@pytest.mark.parametrize("status", [403, 404, 500])
def test_a_comment_that_cannot_be_written_is_no_failure(
    runner: Runner, api: Api, status: int
) -> None:
    runner.batchspec(out=PLAN, code=6)
    api.refusal = status
    done = runner.run(command="plan", spec="run.yaml")
    assert done.code == 0
    assert f"::warning title=batchspec::the comment is not written: {status}" in done.text
    assert ("pull-requests: write" in done.text) == (status != 500)
    assert PLAN in done.summary


@pytest.mark.parametrize("status", [302, 307])
def test_the_token_is_sent_to_no_other_host(runner: Runner, api: Api, status: int) -> None:
    runner.batchspec(out=PLAN, code=6)
    api.redirect = status
    done = runner.run(command="plan", spec="run.yaml")
    assert done.code == 0
    assert f"::warning title=batchspec::the comment is not written: {status}" in done.text
    assert api.requests == ["GET /user"]
    assert PLAN in done.summary


def test_a_failed_plan_is_shown_and_fails_the_job(runner: Runner, api: Api) -> None:
    runner.batchspec(err="error: denied\n```\n@everyone ::error::x\n", code=4)
    done = runner.run(command="plan", spec="run.yaml")
    assert (done.code, done.outputs) == (4, {"changes": "", "exit-code": "4"})
    assert "````text\nerror: denied\n```\n@everyone ::error::x\n````" in api.comments[0]["body"]
    # The runner does not read commands in the output.
    token = re.search(r"^::stop-commands::(\w+)$", done.text, re.MULTILINE)
    assert token is not None
    begin, _, end = done.text.partition("::error::x")
    assert f"::{token[1]}::" in end
    assert f"::{token[1]}::" not in begin.replace(token[0], "")


def test_a_long_plan_is_cut_at_a_line_with_a_link_to_all_of_it(runner: Runner, api: Api) -> None:
    runner.batchspec(out=PLAN + "| a row |\n" * 10_000, code=6)
    done = runner.run(command="plan", spec="run.yaml")
    body = api.comments[0]["body"]
    assert len(body) < 65_536
    assert "| a row |\n\n**The plan is longer" in body
    assert "https://github.com/us/repo/actions/runs/1" in body
    assert done.summary.count("| a row |") == 10_000


def test_a_fork_is_validated_without_an_account_and_gets_no_comment(
    runner: Runner, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    spec = runner.folder / "run.yaml"
    spec.write_text(
        "version: 1\nname: demo\npool: {existing: there}\njob: {max_wall_clock_time: 1h}\n"
        "tasks: {run: {command: echo hello}}\n"
    )
    done = runner.run(command="plan", spec="run.yaml", fork=True)
    assert done.code == 0, done.text
    assert done.outputs == {"changes": "", "exit-code": "0"}
    assert "run.yaml: ok" in done.summary
    assert "no identity" in done.summary
    spec.write_text("version: 1\nname: [x]\n")
    done = runner.run(command="plan", spec="run.yaml", fork=True)
    assert done.code == 2
    assert "error" in done.summary
    runner.batchspec(out=PLAN, code=6)
    done = runner.run(command="plan", spec="run.yaml", fork=True, target="local")
    assert (done.code, done.summary.startswith(PLAN)) == (0, True)
    assert "--target local" in done.called[0]
    assert api.requests == []


def test_apply_runs_on_push_and_not_for_a_pull_request(runner: Runner, api: Api) -> None:
    runner.batchspec(out="done\n", code=3)
    done = runner.run(command="apply", spec="run.yaml", event="push")
    assert (done.code, done.called) == (
        3,
        ["apply run.yaml -y --progress plain", "origin=us/repo"],
    )
    done = runner.run(command="apply", spec="run.yaml")
    assert (done.code, done.called) == (2, [])
    done = runner.run(command="apply", spec="run.yaml", target="local")
    assert done.called[0] == "apply run.yaml -y --progress plain --target local"
    assert api.requests == []


@pytest.mark.parametrize(
    ("given", "event", "error"),
    [
        ({"command": "plan", "spec": "x"}, "pull_request_target", "gives secrets to forks"),
        ({"command": "deploy", "spec": "x"}, "push", "must be plan or apply"),
        ({"command": "plan", "spec": " "}, "push", "`spec` is empty"),
    ],
)
def test_wrong_uses_are_refused(
    runner: Runner, given: dict[str, str], event: str, error: str
) -> None:
    runner.batchspec()
    done = runner.run(event=event, **given)
    assert (done.code, done.called) == (2, [])
    assert "::error title=batchspec::" in done.text
    assert error in done.text


def test_a_hostile_name_is_an_argument(runner: Runner) -> None:
    runner.batchspec(out=PLAN)
    name = '$(touch pwned)`touch pwned`"; touch pwned #'
    done = runner.run(command="plan", spec=name, event="push")
    assert done.called[0] == f"plan {name} --format markdown --exit-code"
    assert not (runner.folder / "pwned").exists()


def test_no_script_contains_an_expression() -> None:
    for step in ACTION["runs"]["steps"]:
        assert "${{" not in step["run"]
        assert step["shell"] == "bash"
    for workflow in (ROOT / ".github" / "workflows").glob("*.yml"):
        for job in yaml.safe_load(workflow.read_text("utf-8"))["jobs"].values():
            for step in job.get("steps", ()):
                assert "${{ github.event" not in step.get("run", ""), workflow.name


def test_the_action_installs_itself(tmp_path: Path) -> None:
    called = tmp_path / "called"
    for path in (tmp_path / "bin" / "python3", tmp_path / "batchspec" / "bin" / "python"):
        path.parent.mkdir(parents=True)
        path.write_text(f'#!/bin/bash\necho "$*" >> {called}\n')
        path.chmod(0o755)
    environ = {
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "RUNNER_TEMP": str(tmp_path),
        "GITHUB_ACTION_PATH": "/action",
        "EXTRA": "[local]",
    }
    subprocess.run(["bash", "-eo", "pipefail", "-c", INSTALL["run"]], env=environ, check=True)
    assert called.read_text().splitlines() == [
        f"-m venv {tmp_path}/batchspec",
        "-m pip install --quiet /action[local]",
    ]
