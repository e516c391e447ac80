"""The GitHub Action: ``batchspec plan`` with a comment on the pull request, or ``batchspec apply``.

Everything comes from environment variables: the inputs of the action (``INPUT_NAME``), the pull
request, and the variables of the runner. Only the standard library is imported: the script also
runs where another Python has batchspec.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_CHANGES = 6
"""The exit code of ``plan --exit-code`` for a plan with steps."""
_USAGE = 2

_LONGEST = 60_000
"""Characters of a comment. GitHub accepts 65,536."""
_PAGE, _PAGES = 100, 50
_TOKEN = "INPUT_TOKEN"


@dataclass(frozen=True, slots=True)
class Settings:
    """The inputs of the action and the pull request, which is empty for other events."""

    command: str
    spec: str
    target: str
    options: tuple[str, ...]
    comments: bool
    token: str
    event: str
    repository: str
    api: str
    run_url: str
    pull_request: str
    head_repository: str
    head_commit: str

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Settings:
        """From the environment of the step."""

        def given(name: str) -> str:
            return environ.get(name, "").strip()

        options = [
            word
            for option, name in (
                ("--target", "INPUT_TARGET"),
                ("--var-file", "INPUT_VAR_FILE"),
                ("--max-cost", "INPUT_MAX_COST"),
            )
            if given(name)
            for word in (option, given(name))
        ]
        repository = given("GITHUB_REPOSITORY")
        server = given("GITHUB_SERVER_URL") or "https://github.com"
        return cls(
            command=given("INPUT_COMMAND"),
            spec=given("INPUT_SPEC"),
            target=given("INPUT_TARGET") or given("BATCHSPEC_TARGET"),
            options=tuple(options),
            comments=given("INPUT_COMMENT") != "false",
            token=given(_TOKEN),
            event=given("GITHUB_EVENT_NAME"),
            repository=repository,
            api=given("GITHUB_API_URL") or "https://api.github.com",
            run_url=f"{server}/{repository}/actions/runs/{given('GITHUB_RUN_ID')}",
            pull_request=given("PULL_REQUEST"),
            head_repository=given("HEAD_REPOSITORY"),
            head_commit=given("HEAD_COMMIT"),
        )

    @property
    def from_fork(self) -> bool:
        """Whether the pull request comes from another repository, or from one that was deleted."""
        return bool(self.pull_request) and self.head_repository != self.repository

    @property
    def marker(self) -> str:
        """The first line of the comment, which identifies it: one comment for each spec."""
        return f"<!-- batchspec plan {hashlib.sha256(self.spec.encode()).hexdigest()[:16]} -->"


def main(environ: Mapping[str, str]) -> int:
    """Run the command of the action; the exit code."""
    settings = Settings.of(environ)
    if settings.event == "pull_request_target":
        # The code of the pull request would run with the secrets of the repository.
        return _error("the event pull_request_target gives secrets to forks; use pull_request")
    if not settings.spec:
        return _error("the input `spec` is empty")
    match settings.command:
        case "plan":
            return _plan(settings, environ)
        case "apply":
            return _apply(settings, environ)
    return _error(f"the input `command` must be plan or apply, not {settings.command!r}")


def _apply(settings: Settings, environ: Mapping[str, str]) -> int:
    if settings.event.startswith("pull_request") and settings.target != "local":
        return _error("apply on Azure does not run for a pull request; run it on push")
    command = ["batchspec", "apply", settings.spec, "-y", "--progress", "plain", *settings.options]
    # Runs of a workflow are on other machines each time, and work for the same repository.
    origin = {"BATCHSPEC_ORIGIN": settings.repository} if settings.repository else {}
    # Signals of the runner have to reach the command, hence no child process.
    print(f"::stop-commands::{secrets.token_hex(16)}", flush=True)
    return os.execvpe("batchspec", command, {**origin, **_without_token(environ)})


def _plan(settings: Settings, environ: Mapping[str, str]) -> int:
    if settings.from_fork and settings.target != "local":
        code, text = _validate(settings)
        _write(environ, "GITHUB_OUTPUT", f"changes=\nexit-code={code}\n")
        _write(environ, "GITHUB_STEP_SUMMARY", text)
        return code
    words = ("plan", settings.spec, "--format", "markdown", "--exit-code", *settings.options)
    code, out, err = _batchspec(*words)
    planned = code in {0, _CHANGES}
    changes = {0: "false", _CHANGES: "true"}.get(code, "")
    _write(environ, "GITHUB_OUTPUT", f"changes={changes}\nexit-code={code}\n")
    # Errors of the spec are in the output, too; others are on standard error alone.
    text = out if out.strip() else f"### batchspec plan: no plan\n\n{_fenced(err)}\n"
    if settings.head_commit:
        text = f"{text.rstrip()}\n\n<sub>commit {settings.head_commit[:12]}</sub>\n"
    _write(environ, "GITHUB_STEP_SUMMARY", text)
    if settings.pull_request and settings.comments:
        if settings.from_fork:
            _notice("pull requests from forks get no comment; the plan is in the summary")
        else:
            _comment(settings, text)
    return 0 if planned else code


def _validate(settings: Settings) -> tuple[int, str]:
    """The exit code and the result of ``validate``, which needs no account and no secret."""
    paired = zip(settings.options[::2], settings.options[1::2], strict=True)
    options = [word for pair in paired if pair[0] == "--var-file" for word in pair]
    code, out, err = _batchspec("validate", settings.spec, *options)
    _notice("pull requests from forks have no identity: the spec is validated, without a plan")
    return code, (
        "### batchspec validate\n\nGitHub gives no identity to pull requests from forks, so there"
        f" is no plan.\n\n{_fenced(out + err)}\n"
    )


def _batchspec(*words: str) -> tuple[int, str, str]:
    """Run a command, show its output in the log, and return it with the exit code.

    The runner reads commands in the log; the output, which quotes the spec, contains none.
    """
    done = subprocess.run(
        ["batchspec", *words],
        env=_without_token(os.environ),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    token = secrets.token_hex(16)
    print(f"::stop-commands::{token}\n{done.stdout}{done.stderr}\n::{token}::", flush=True)
    return done.returncode, done.stdout, done.stderr


def _without_token(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of a command, which needs no access to the repository."""
    return {name: value for name, value in environ.items() if name != _TOKEN}


def _fenced(text: str) -> str:
    """A text as a code block that it cannot end itself."""
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}text\n{text.strip()}\n{fence}"


def _comment(settings: Settings, text: str) -> None:
    """Create the comment, or update it. A token without the permission is not an error."""
    body = _shortened(f"{settings.marker}\n{text}", settings.run_url)
    comments = f"{settings.api}/repos/{settings.repository}/issues"
    try:
        found = next(_own_comments(settings), None)
        if found is None:
            url = f"{comments}/{settings.pull_request}/comments"
            _request(settings, "POST", url, {"body": body})
        else:
            _request(settings, "PATCH", f"{comments}/comments/{found}", {"body": body})
    except urllib.error.HTTPError as error:
        reason = f"{error.code} {error.reason}"
        if error.code in {403, 404}:
            reason += "; give the job `permissions: {pull-requests: write}`"
        _notice(f"the comment is not written: {reason}; the plan is in the summary", "warning")
    except (OSError, ValueError) as error:
        _notice(f"the comment is not written: {error}; the plan is in the summary", "warning")


def _own_comments(settings: Settings) -> Iterator[int]:
    """The ids of comments with the marker that this action wrote.

    A comment of another user with the marker is not updated: its author could change it later.
    """
    login = None
    try:
        login = _request(settings, "GET", f"{settings.api}/user").get("login")
    except urllib.error.HTTPError as error:
        # The token of a workflow belongs to no user.
        if error.code not in {401, 403, 404}:
            raise
    issue = f"{settings.api}/repos/{settings.repository}/issues/{settings.pull_request}"
    for page in range(1, _PAGES + 1):
        found = _request(settings, "GET", f"{issue}/comments?per_page={_PAGE}&page={page}")
        for comment in found:
            author = comment.get("user") or {}
            own = author.get("login") == login if login else author.get("type") == "Bot"
            if own and str(comment.get("body")).startswith(settings.marker):
                yield int(comment["id"])
        if len(found) < _PAGE:
            return


def _request(settings: Settings, method: str, url: str, body: object = None) -> Any:
    request = urllib.request.Request(
        url,
        data=None if body is None else json.dumps(body).encode(),
        method=method,
        headers={
            "Accept": "application/vnd.github+json",
            "Authorization": f"Bearer {settings.token}",
            "Content-Type": "application/json",
            "User-Agent": "batchspec-action",
            "X-GitHub-Api-Version": "2022-11-28",
        },
    )
    with _OPENER.open(request, timeout=30) as answer:
        return json.load(answer)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Makes a redirect an error: urllib would send the token to the other host, too."""

    def redirect_request(self, *_arguments: object) -> None:
        """Follow none."""


_OPENER = urllib.request.build_opener(_NoRedirect)


def _shortened(text: str, url: str) -> str:
    if len(text) <= _LONGEST:
        return text
    kept = text[:_LONGEST].rpartition("\n")[0]
    return (
        f"{kept}\n\n**The plan is longer than a comment**: [all of it]({url}) is in the summary.\n"
    )


def _write(environ: Mapping[str, str], variable: str, text: str) -> None:
    """Append a text to the file that a variable of the runner names."""
    if path := environ.get(variable):
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(text)


def _notice(text: str, level: str = "notice") -> None:
    """Show a line in the summary of the workflow run."""
    escaped = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    print(f"::{level} title=batchspec::{escaped}", flush=True)


def _error(text: str) -> int:
    _notice(text, "error")
    return _USAGE


if __name__ == "__main__":
    sys.exit(main(os.environ))
