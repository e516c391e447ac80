"""Notifications: a real command, and a real server on this machine that receives the webhook."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import batchspec
from batchspec.api.notification import Notifier
from batchspec.apply.events import Outcome, TaskFailed
from batchspec.diagnostics import Diagnostic, Secret, conceal
from batchspec.render import Report
from batchspec.render.report import TaskTally
from batchspec.spec import Notify, NotifyWhen, ValueSources, Webhook, read_spec
from tests.e2e.conftest import Workplace

TOKEN = "Marked-Secret-4711"
DONE = Report(name="topn", outcome=Outcome.DONE, seconds=80, tasks=TaskTally(3, succeeded=3))
FAILED = Report(
    name="topn",
    outcome=Outcome.TASKS_FAILED,
    exit=3,
    seconds=80,
    tasks=TaskTally(3, succeeded=2, failed=1),
    failures=(TaskFailed("topn", "count-b", 3, "FailureExitCode", "", "boom", None),),
)


@dataclass
class Receiver:
    """A server that answers with ``statuses``, and repeats the last one."""

    url: str = ""
    statuses: list[int] = field(default_factory=lambda: [200])
    answers: dict[str, str] = field(default_factory=dict)
    paths: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    @property
    def values(self) -> list[dict[str, object]]:
        return [json.loads(body) for body in self.bodies]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            found.paths.append(self.path)
            found.headers.append(dict(self.headers))
            found.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            status = found.statuses[0] if len(found.statuses) == 1 else found.statuses.pop(0)
            self.send_response(status)
            for name, value in found.answers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield found
        finally:
            server.shutdown()
            thread.join()


def shell(command: str) -> Secret:
    return Secret(f"/bin/sh -c {shlex.quote(command)}")


@dataclass
class Sent:
    """The result of a notification, and how long it waited between attempts."""

    found: list[Diagnostic]
    pauses: list[float]

    @property
    def texts(self) -> list[str]:
        return [f"{each.severity.value} {each.code}: {each.summary}" for each in self.found]


def send(
    folder: Path,
    report: Report = DONE,
    *,
    command: Secret | None = None,
    webhook: Webhook | None = None,
    timeout: float = 30,
) -> Sent:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    notify = Notify(timedelta(seconds=timeout), command, webhook)
    found = asyncio.run(Notifier(notify, folder, os.environ, sleep).send(report))
    assert all(TOKEN not in f"{each.summary}{each.detail}{each.fix}" for each in found)
    return Sent(found, pauses)


def test_a_command_runs_in_the_folder_of_the_spec_with_the_summary(tmp_path: Path) -> None:
    command = shell(
        'cat > stdin.json; cp "$BATCHSPEC_SUMMARY" file.json; '
        'echo "$BATCHSPEC_OUTCOME|$BATCHSPEC_TEXT|$BATCHSPEC_SUMMARY" > words'
    )
    sent = send(tmp_path, FAILED, command=command)
    assert not sent.found
    given = json.loads((tmp_path / "stdin.json").read_text())
    assert given == json.loads((tmp_path / "file.json").read_text())
    assert (given["version"], given["outcome"], given["exit"]) == (1, "tasks_failed", 3)
    assert given["tasks"]["failed"] == 1
    outcome, text, file = (tmp_path / "words").read_text().strip().split("|")
    assert (outcome, text) == ("tasks_failed", given["text"])
    assert text == (
        "topn: ended in 1m 20s: tasks failed; tasks: 2 succeeded, 1 failed; count-b: exit code 3"
    )
    assert not Path(file).exists(), "the file is deleted after the command"


def test_a_list_is_started_without_a_shell(tmp_path: Path) -> None:
    program = "import json, sys; open('a b', 'w').write(json.load(sys.stdin)['name'])"
    send(tmp_path, command=Secret(shlex.join([sys.executable, "-c", program])))
    assert (tmp_path / "a b").read_text() == "topn"


def test_the_output_of_a_failed_command_is_shown(tmp_path: Path) -> None:
    sent = send(tmp_path, command=shell("seq 1 9; echo no such channel >&2; exit 7"))
    assert sent.texts == [
        "warning notify-command-failed: the command of `notify` ended with exit code 7"
    ]
    assert sent.found[0].detail == "6\n7\n8\n9\nno such channel"
    sent = send(tmp_path, command=Secret("./no-such-program"))
    assert "cannot be started: ./no-such-program: No such file" in sent.texts[0]


def test_a_secret_in_long_output_is_removed_wherever_the_output_is_cut(tmp_path: Path) -> None:
    conceal(Secret("Secret-of-this-test"))
    write = shlex.quote("print('x' * 9000 + 'Secret-of-this-test' + 'y' * 4087, end=''); exit(1)")
    sent = send(tmp_path, command=Secret(f"{sys.executable} -c {write}"))
    assert set(sent.found[0].detail) <= {"*", "y"}


def test_a_command_that_does_not_end_is_killed_with_its_processes(tmp_path: Path) -> None:
    # Both processes of the command hold a lock of the file until they end.
    lock = tmp_path / "lock"
    command = f"exec 9> {lock}; flock -s 9; sleep 600 & sleep 600"
    sent = send(tmp_path, command=shell(command), timeout=0.3)
    assert "has not ended after 0.3 s and was killed" in sent.texts[0]
    assert subprocess.run(["flock", "-w", "60", str(lock), "true"], check=False).returncode == 0


def test_a_notification_that_is_interrupted_kills_its_command(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    command = f"exec 9> {lock}; flock -s 9; touch begun; sleep 600"
    notifier = Notifier(Notify(timedelta(minutes=5), shell(command)), tmp_path, os.environ)

    async def interrupted() -> None:
        sending = asyncio.create_task(notifier.send(DONE))
        while not (tmp_path / "begun").exists():
            await asyncio.sleep(0.01)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending

    asyncio.run(interrupted())
    assert subprocess.run(["flock", "-w", "60", str(lock), "true"], check=False).returncode == 0


def test_a_command_that_leaves_a_process_running_does_not_delay_the_run(tmp_path: Path) -> None:
    command = "(until test -e go; do sleep 0.05; done; touch gone) & true"
    assert not send(tmp_path, command=shell(command)).found
    (tmp_path / "go").touch()


def test_a_webhook_receives_the_summary_with_its_headers(
    receiver: Receiver, tmp_path: Path
) -> None:
    webhook = Webhook(
        Secret(f"{receiver.url}/run?key={TOKEN}"), receiver.url, {"X-Token": Secret(TOKEN)}
    )
    sent = send(tmp_path, webhook=webhook)
    assert not sent.found
    assert receiver.paths == [f"/run?key={TOKEN}"]
    headers = receiver.headers[0]
    assert headers["X-Token"] == TOKEN
    assert headers["Content-Type"] == "application/json; charset=utf-8"
    assert headers["User-Agent"].startswith("batchspec/")
    assert receiver.values[0]["text"] == "topn: done in 1m 20s; tasks: 3 succeeded"


@pytest.mark.parametrize(
    ("statuses", "requests", "ends"),
    [
        ([503, 429, 204], 3, ""),
        ([503], 3, "HTTP status 503 (3 attempts)"),
        ([404], 1, "HTTP status 404"),
        ([302], 1, "HTTP status 302"),
    ],
)
def test_a_busy_receiver_gets_the_summary_again_and_others_do_not(
    receiver: Receiver, tmp_path: Path, statuses: list[int], requests: int, ends: str
) -> None:
    receiver.statuses, receiver.answers = statuses, {"Location": f"{receiver.url}/{TOKEN}"}
    sent = send(tmp_path, webhook=Webhook(Secret(f"{receiver.url}/{TOKEN}"), receiver.url))
    assert len(receiver.bodies) == requests
    assert sent.pauses == [1.0, 2.0][: requests - 1]
    failed = f"warning webhook-failed: {receiver.url} did not accept the summary of the run: {ends}"
    assert sent.texts == ([failed] if ends else [])


def test_no_second_request_if_the_receiver_requests_a_wait_beyond_the_timeout(
    receiver: Receiver, tmp_path: Path
) -> None:
    receiver.statuses, receiver.answers = [429], {"Retry-After": "3600"}
    sent = send(tmp_path, webhook=Webhook(Secret(receiver.url)))
    assert (len(receiver.bodies), sent.pauses) == (1, [])
    assert sent.texts == [
        "warning webhook-failed: the webhook of `notify` did not accept the summary of the run:"
        " HTTP status 429 (1 attempt)"
    ]


def test_an_unreachable_receiver_is_no_error(tmp_path: Path) -> None:
    sent = send(tmp_path, webhook=Webhook(Secret(f"http://127.0.0.1:9/{TOKEN}")))
    assert sent.texts[0].endswith("it cannot be reached (Connection refused) (3 attempts)")
    assert sent.pauses == [1.0, 2.0]
    sent = send(tmp_path, webhook=Webhook(Secret(f"https://no-such-host.invalid/{TOKEN}")))
    assert "it cannot be reached (" in sent.texts[0]
    assert "invalid" not in sent.texts[0]


def test_a_receiver_that_does_not_answer_is_waited_for_until_the_timeout(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/{TOKEN}"
        sent = send(tmp_path, webhook=Webhook(Secret(url)), timeout=0.2)
    assert "no response within 0.2 s" in sent.texts[0]


@pytest.mark.parametrize(
    ("when", "outcomes"),
    [
        (NotifyWhen.ALWAYS, {"done", "scheduled", "tasks_failed", "time_limit", "failed"}),
        (NotifyWhen.ON_SUCCESS, {"done", "scheduled"}),
        (NotifyWhen.ON_FAILURE, {"tasks_failed", "time_limit", "failed"}),
    ],
)
def test_only_a_run_that_has_ended_is_notified(when: NotifyWhen, outcomes: set[str]) -> None:
    notifier = Notifier(Notify(timedelta(seconds=1), when=when), Path(), {})
    assert {each.value for each in Outcome if notifier.wanted(each)} == outcomes


SPEC = """\
version: 1
name: told
parameters:
  chat: {type: string, secret: true, default: ""}
  folder: {type: string, default: it's here}
pool: {vm_size: standard_d2s_v5, nodes: 1, image: ubuntu-24.04}
job: {max_wall_clock_time: 1h}
tasks: {one: {command: "true"}}
"""


def test_the_values_of_the_section(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    plain = SPEC.replace(', default: ""', "")

    def read(section: str) -> Notify:
        path.write_text(plain + section)
        spec = read_spec(path, ValueSources({"chat": f"https://example.com/{TOKEN}"}))
        assert spec.notify is not None
        assert TOKEN not in repr(spec)
        return spec.notify

    notify = read("notify: {command: 'echo {{ folder }} \"$HOME\"'}\n")
    assert notify.command is not None
    assert notify.command.reveal() == (
        "/bin/sh -c 'echo '\"'\"'it'\"'\"'\"'\"'\"'\"'\"'\"'s here'\"'\"' \"$HOME\"'"
        if os.name != "nt"
        else 'cmd /c "echo "it\'s here" "$HOME""'
    )
    assert (notify.timeout, notify.when) == (timedelta(seconds=30), NotifyWhen.ALWAYS)
    webhook = read('notify: {webhook: "{{ chat }}"}\n').webhook
    assert webhook is not None
    assert (webhook.url.reveal(), webhook.server) == (f"https://example.com/{TOKEN}", "")
    webhook = read(
        "notify:\n  webhook: {url: 'https://example.org:8443/a/{{ name }}', headers: "
        "{command: '{{ chat }}'}}\n  timeout: 2m\n  when: on_failure\n"
    ).webhook
    assert webhook is not None
    assert webhook.url.reveal() == "https://example.org:8443/a/told"
    assert webhook.server == "https://example.org:8443"
    assert webhook.headers["command"].reveal() == f"https://example.com/{TOKEN}"


def test_an_edit_of_the_section_changes_no_work(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    plain = SPEC.replace('  chat: {type: string, secret: true, default: ""}\n', "")
    digests = set()
    for section in ("", "notify: {command: a}\n", "notify: {webhook: 'https://example.com'}\n"):
        path.write_text(plain + section)
        digests.add(read_spec(path).digest)
    assert len(digests) == 1


def test_a_run_notifies_at_its_end_and_an_interrupted_or_empty_one_does_not(
    place: Workplace, receiver: Receiver
) -> None:
    place.edit("  top: {", "  chat: {type: string, secret: true}\n  top: {")
    section = """
notify:
  command: cat > told.json; exit 5
  webhook: {url: "{{ chat }}", headers: {Authorization: "Bearer {{ chat }}"}}
"""
    place.spec.write_text(place.spec.read_text() + section)
    spec = batchspec.load(place.spec, variables={"chat": f"{receiver.url}/{TOKEN}"})
    place.hold()
    assert batchspec.apply(spec, detach=True).outcome is Outcome.DETACHED
    assert not receiver.bodies
    place.let_go()

    seen: list[batchspec.Stamped] = []
    report = batchspec.apply(spec, on_event=seen.append)

    assert report.good, "a notification that fails does not change the outcome"
    assert report.problems[-1].code == "notify-command-failed"
    assert type(seen[-1].event).__name__ == "RunEnded", "the end comes after the notification"
    (value,) = receiver.values
    assert (value["outcome"], value["name"]) == ("done", "topn")
    told = (place.spec.parent / "told.json").read_bytes()
    assert told == receiver.bodies[0]
    for path in place.folder.rglob(".batchspec/**/*"):
        assert path.is_dir() or TOKEN.encode() not in path.read_bytes(), path

    place.spec.write_text(place.spec.read_text().replace("exit 5", "exit 6"))
    assert batchspec.apply(spec).outcome is Outcome.NOTHING_TO_DO, "no work has changed"
    assert batchspec.destroy(spec).good
    assert len(receiver.bodies) == 1
