"""No secret is in any output, saved file, run folder, log or exception.

Commands run with marked keys and a marked secret, and all bytes that were written are searched.
The search excludes what contains secrets by purpose: ``account.json`` and ``token`` (readable by
their owner only), the state of the service, and the output of ``batchspec local env``.
"""

from __future__ import annotations

import base64
import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from batchspec import local
from batchspec.cli.main import app
from tests.e2e.conftest import Done, Workplace, clean_environ
from tests.fault_injection.cli import run
from tests.key_vault import fake_vault

BATCH_KEY = "MarkedBatchKey".ljust(86, "0") + "=="
BLOB_KEY = "MarkedBlobKey".ljust(86, "1") + "=="
WRONG_KEY = "MarkedWrongKey".ljust(86, "2") + "=="
SECRET = "Marked-Secret-4711"
ROTATED = "Rotated-Marked-Secret"
TOKEN = "MarkedLocalToken".ljust(64, "3")

MARKS = [
    b"MarkedBatchKey",
    b"MarkedBlobKey",
    b"MarkedWrongKey",
    b"MarkedLocalToken",
    b"Marked-Secret",
    *(base64.b64decode(key)[:12] for key in (BATCH_KEY, BLOB_KEY, WRONG_KEY)),
    base64.b64encode(SECRET.encode())[:20],
]
PATTERNS = [
    re.compile(rb"(?i)\bsig(=|%3d|\\u003d|&#x3d;)[a-z0-9%+/]{8,}"),
    re.compile(rb"(?i)sharedkey(lite)? [^\s:]+:[a-z0-9+/]{8,}"),
]

SPEC = """\
version: 1
name: marked
parameters:
  token: {type: string, secret: true}
  round: {type: integer, default: 0}
  ending: {type: string, default: "true"}
containers:
  input: {id: marked-input, upload: [data/*.txt]}
  output: {id: marked-output}
pool:
  id: marked
  vm_size: standard_d2s_v5
  nodes: 1
  image: ubuntu-24.04
  start_task: {command: test -s a.txt, resources: [input], env: {A: "{{ token }}"}}
job: {id: marked, max_wall_clock_time: 5m, env: {TOKEN: "{{ token }}"}}
tasks:
  work:
    for_each: {files: input}
    env: {TASK_TOKEN: "{{ token }}", URL: "{{ containers.output.write_url }}"}
    command: >-
      test -n {{ token }} && echo {{ round }} > {{ file.stem }}.out && {{ ending | raw }}
    outputs: [{files: "*.out", container: output}]
  program:
    command:
      - "{{ 'true' if ending == 'true' else 'no-such-program' }}"
      - "{{ token }}"
      - "{{ containers.output.read_url }}"
results: [{container: output, to: results}]
cleanup: {containers: never, pool: never, job: never}
notify:
  command: echo {{ token }}; exit 1
  webhook: {url: "http://127.0.0.1:9/{{ token }}", headers: {Authorization: "Bearer {{ token }}"}}
  timeout: 1s
"""


@dataclass
class Marked:
    """A project whose secrets are marked, and the output of all commands in it."""

    place: Workplace
    said: dict[str, str] = field(default_factory=dict)

    @property
    def spec(self) -> Path:
        return self.place.folder / "run.yaml"

    def run(self, *arguments: str, code: int | tuple[int, ...] = 0, given: str = SECRET) -> Done:
        """Run a command and keep its output."""
        words = [str(self.spec) if word == "SPEC" else word for word in arguments]
        if "SPEC" in arguments and given:
            words += ["--var", f"token={given}"]
        done = run(words, folder=self.place.folder, environ=self.place.environ)
        self.said[f"{len(self.said)}: batchspec {' '.join(arguments)}"] = done.text
        allowed = code if isinstance(code, tuple) else (code,)
        assert done.code in allowed, f"{arguments} ended with {done.code}: {done.text}"
        return done

    def elsewhere(self, **environ: str) -> Marked:
        """The same project with another environment."""
        place = Workplace(self.place.folder, self.place.home, {**self.place.environ, **environ})
        return Marked(place, self.said)

    def written(self) -> Iterator[tuple[str, bytes]]:
        """All output, and every file that was written."""
        for name, text in self.said.items():
            yield name, text.encode()
        for path in sorted(self.place.folder.rglob("*")):
            if path.is_file() and not path.is_symlink():
                yield str(path), path.read_bytes()
                yield f"the name of {path}", os.fsencode(path)
        home = self.place.home
        kept = {home / "account.json", home / "token", home / "batch", home / "blobs"}
        for path in sorted(home.rglob("*")):
            if path.is_file() and not kept & {path, *path.parents}:
                yield str(path), path.read_bytes()


@pytest.fixture
def marked(azurite_installed: Path, tmp_path: Path) -> Iterator[Marked]:
    folder, home = tmp_path / "project", tmp_path / "home"
    (folder / "data").mkdir(parents=True)
    (folder / "tmp").mkdir()
    for name in ("a", "b"):
        (folder / "data" / f"{name}.txt").write_text(name)
    home.mkdir(mode=0o700)
    names = {"batch_account": "batchspeclocal", "blob_account": "batchspeclocal"}
    account = home / "account.json"
    account.touch(mode=0o600)
    account.write_text(json.dumps({**names, "batch_key": BATCH_KEY, "blob_key": BLOB_KEY}))
    token = home / "token"
    token.touch(mode=0o600)
    token.write_text(TOKEN)
    # Temporary folders are searched, too.
    environ = {
        "BATCHSPEC_LOCAL_HOME": str(home),
        "TMPDIR": str(folder / "tmp"),
        "BATCHSPEC_LOG": "debug",
    }
    here = Marked(Workplace(folder, home, clean_environ(environ)))
    here.spec.write_text(SPEC)
    try:
        yield here
    finally:
        local.stop(home)


@pytest.mark.timeout(600)
def test_no_byte_that_is_written_holds_a_secret(marked: Marked) -> None:
    look(marked)
    runs(marked)
    failures(marked)
    rotated(marked)
    azure(marked)
    wrong(marked)
    bug(marked)
    destroy(marked)
    assert (marked.place.folder / ".batchspec" / "marked" / "requests.log").stat().st_size
    names = {name.split()[2] for name in marked.said if "batchspec" in name}
    assert names >= {*app.functions, "local"}, "the output of a command is not searched"
    found = [
        f"{where}: {match.group()!r}"
        for where, data in marked.written()
        for match in filter(None, (pattern.search(data) for pattern in [*MARKERS, *PATTERNS]))
    ]
    assert found == []
    mode = stat.S_IMODE((marked.place.home / "account.json").stat().st_mode)
    assert mode == stat.S_IRUSR | stat.S_IWUSR


MARKERS = [re.compile(re.escape(mark)) for mark in MARKS]


def look(marked: Marked) -> None:
    """Commands that change nothing."""
    marked.run("validate", "SPEC")
    marked.run("validate", "SPEC", "--var", "round=no number", code=2)
    marked.run("validate", "SPEC", "--format", "json")
    marked.run("config", "SPEC")
    marked.run("config", "SPEC", "--format", "json")
    marked.run("schema")
    marked.run("init", str(marked.place.folder / "tmp" / "new"))
    marked.run("local", "start")
    marked.run("local", "status")
    marked.run("plan", "SPEC", "-v")
    marked.run("plan", "SPEC", "--format", "json")
    marked.run("plan", "SPEC", "--format", "markdown", "-v")


def runs(marked: Marked) -> None:
    """A run in each form of progress, and all commands that report on it."""
    file = marked.place.home.parent / "token.txt"
    file.write_text(f"{SECRET}\n")
    with fake_vault() as vault:
        url = vault.add("token", SECRET)
        ways = (SECRET, f"@{file}", url, SECRET, SECRET)
        for number, progress in enumerate(("auto", "live", "plain", "json", "quiet")):
            options = ("--progress", progress, "-v", "--var", f"round={number}")
            marked.run("apply", "SPEC", *options, given=ways[number])
        assert len(vault.requests) == 1
        marked.run("plan", "SPEC", given=url)
        assert len(vault.requests) == 1, "a plan needs no value"
        marked.run("apply", "SPEC", "-v", given=vault.refuse("denied", 403, "Forbidden"), code=4)
    marked.run("apply", "SPEC", "--var", "round=4")
    marked.run("apply", "SPEC", "-v", given=f"@{SECRET}", code=2)
    inherited = marked.elsewhere(BATCHSPEC_VAR_TOKEN=SECRET, BATCHSPEC_VAR_ROUND="7")
    inherited.run("plan", "SPEC", "--out", "saved.json", "-v", given="")
    marked.run("apply", "saved.json", "-v", code=2)
    marked.elsewhere(BATCHSPEC_VAR_TOKEN=SECRET).run("apply", "saved.json", "-v")
    assert "Nothing to do" in marked.run("plan", "SPEC", "--var", "round=7").text
    inherited.run("config", "SPEC", given="")
    marked.run("status", "SPEC", "--format", "json")
    marked.run("import", "--pool", "marked", "--job", "marked")
    marked.run("ls", "SPEC", "output")
    marked.run("cat", "SPEC", "output/a.out")
    marked.run("cat", "SPEC", "output", code=2)
    marked.run("cost", "SPEC")
    marked.run("download", "SPEC", "--var", "round=7")
    marked.run("attach", "SPEC", "--var", "round=7")
    marked.run("download", "SPEC", code=2)
    marked.run("download", "SPEC", "-y")
    marked.run("stop", "SPEC", "-y")
    marked.run("report", "SPEC", "--out", "report.html")
    marked.run("list")
    marked.run("package", "list")
    marked.run("package", "upload", "SPEC", code=2)
    marked.run("package", "delete", "tools", "1.0", "-y", code=2)
    marked.run("list", "--orphans", "--format", "json")
    marked.run("doctor", code=(0, 4))
    marked.run("explain", "secret-in-clear")


def failures(marked: Marked) -> None:
    """Tasks that fail, and one whose program does not exist."""
    bad = ("--var", "ending=false")
    marked.run("apply", "SPEC", *bad, "-v", code=3)
    marked.run("failures", "SPEC", *bad)
    marked.run("retry", "SPEC", *bad, "-v", code=3)
    marked.run("logs", "SPEC", "work-a", *bad, "--stderr")
    marked.run("report", "SPEC", *bad, "--out", "failed.html")


def rotated(marked: Marked) -> None:
    """Another secret is given; the account still has the previous one."""
    text = marked.spec.read_text()
    more = text.replace("standard_d2s_v5", "standard_d4s_v5").replace("env: {A:", "env: {B: b, A:")
    marked.spec.write_text(more)
    for form in ("text", "json", "markdown"):
        marked.run("plan", "SPEC", "--format", form, given=ROTATED)
    marked.run("plan", "SPEC", "-v", given=ROTATED)
    other = marked.place.folder / "tmp" / "other.yaml"
    other.write_text(text.replace("name: marked", "name: other").replace("../", ""))
    (marked.place.folder / "tmp" / "data").symlink_to(marked.place.folder / "data")
    other.write_text(other.read_text().replace("test -s a.txt", "test -s b.txt"))
    marked.run("plan", str(other), "--var", f"token={ROTATED}", "--var", "round=9", code=2)
    marked.spec.write_text(text)


def azure(marked: Marked) -> None:
    """The same service, addressed as an account on Azure."""
    ends = local.start(marked.place.home)
    there = marked.elsewhere(
        AZURE_BATCH_ACCOUNT=ends.batch_account,
        AZURE_BATCH_ENDPOINT=ends.batch_url,
        AZURE_BATCH_ACCESS_KEY=BATCH_KEY,
        AZURE_STORAGE_CONNECTION_STRING=ends.connection_string,
    )
    there.run("plan", "SPEC", "-v")
    there.run("doctor", "--format", "json", code=(0, 4))
    there.run("apply", "SPEC", code=2)
    off = there.elsewhere(AZURE_BATCH_ACCESS_KEY=WRONG_KEY)
    off.run("plan", "SPEC", "-v", code=4)
    off.run("apply", "SPEC", "-v", "-y", code=4)
    off.run("doctor", code=4)
    off = there.elsewhere(
        AZURE_STORAGE_CONNECTION_STRING=ends.connection_string.replace(BLOB_KEY, WRONG_KEY)
    )
    off.run("plan", "SPEC", "-v", code=4)
    off = there.elsewhere(AZURE_STORAGE_CONNECTION_STRING=f"AccountKey={WRONG_KEY};AccountName")
    off.run("plan", "SPEC", "-v", code=2)
    off = there.elsewhere(AZURE_BATCH_ENDPOINT=f"http://batch/?sig={WRONG_KEY}")
    off.run("plan", "SPEC", "-v", code=2)


def wrong(marked: Marked) -> None:
    """Secrets where they do not belong."""
    marked.run("validate", "SPEC", "--var", "round=1", given="")
    text = marked.spec.read_text()
    for old, new in (
        ("secret: true}", f"secret: true, default: {SECRET}}}"),
        ("max_wall_clock_time: 5m", 'max_wall_clock_time: "{{ token }}"'),
        ("secret: true}", "secret: true, maxLength: 3}"),
        ("{{ round }} >", "{{ token | no_such_filter }} >"),
        ("{{ round }} >", "{{ 1 / (token | length - 18) }} >"),
    ):
        assert old in text
        bad = marked.place.folder / "tmp" / "bad.yaml"
        bad.write_text(text.replace(old, new))
        marked.run("plan", str(bad), "--var", f"token={SECRET}", "-v", code=(0, 2))
        # The file belongs to the user; the output about it is searched.
        bad.unlink()


def bug(marked: Marked) -> None:
    """An unexpected exception with all available values in it."""
    code = (
        "import sys\n"
        "from importlib import import_module\n"
        "p = import_module('batchspec.plan.build')\n"
        "def build(spec, observed, **options):\n"
        "    url = 'http://x/c?sv=2&sig=c2lnbmF0dXJlMTIz'\n"
        f"    raise RuntimeError(spec, spec.parameters, observed, url, 'AccountKey={BLOB_KEY};')\n"
        "p.build_plan = build\n"
        "from batchspec.cli.main import main\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "plan", marked.spec, "-v", "--var", f"token={SECRET}"],
        cwd=marked.place.folder,
        env=marked.place.environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert list((marked.place.folder / "tmp").glob("batchspec-*.log")), "what happened is in a log"
    marked.said["a bug"] = done.stdout + done.stderr


def destroy(marked: Marked) -> None:
    """The end of the project."""
    marked.run("destroy", "SPEC", "-y", "--force")
    marked.run("local", "stop")
