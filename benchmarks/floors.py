"""Lower bounds: the work of a row without batchspec. ``floors.py NAME ARGUMENT ...``.

Each bound is a separate program, so that whole processes are compared.
"""

# pathlib takes longer:
# ruff: noqa: PTH102, PTH103, PTH123
from __future__ import annotations

import asyncio
import base64
import collections
import csv
import hashlib
import importlib
import io
import itertools
import json
import os
import sqlite3
import string
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Awaitable, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

_AT_ONCE = 16
_PART = 1 << 20
_RANGE = 800


def imports(*modules: str) -> None:
    """Import modules."""
    for module in modules:
        importlib.import_module(module)


def walk(folder: str) -> Iterator[os.DirEntry[str]]:
    """The files below a folder."""
    folders = [folder]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir():
                    folders.append(entry.path)
                else:
                    yield entry


def md5(folder: str, *modules: str) -> None:
    """Read and hash all files below a folder, after the import of modules."""
    imports(*modules)
    for entry in walk(folder):
        with Path(entry.path).open("rb") as file:
            hashlib.md5(file.read()).digest()


def stat(folder: str, *modules: str) -> None:
    """Read the size and times of all files below a folder, after the import of modules."""
    imports(*modules)
    for entry in walk(folder):
        entry.stat()


def render(path: str) -> None:
    """Fill in a command for each row of a CSV file."""
    from jinja2 import Environment

    text = "score --sample {{ sample }} --seed {{ seed }} URL"
    template = Environment(autoescape=False).from_string(text)
    with Path(path).open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            template.render(row)


def words(path: str) -> None:
    """Count the lines of a text that has a line feed in the place of all but letters and digits."""
    kept = bytes(range(0x80, 0x100)) + (string.digits + string.ascii_letters).encode()
    table = bytes(byte if byte in kept else ord("\n") for byte in range(0x100)).lower()
    counts: collections.Counter[bytes] = collections.Counter()
    with Path(path).open("rb") as file:
        while block := file.read(1 << 16):
            counts.update(io.BytesIO(block.translate(table)))


def put(folder: str) -> None:
    """Send each file below a folder in one request, 16 at a time."""
    base, _, signature = os.environ["BENCH_URL"].partition("?")

    async def send(session: Any, entry: os.DirEntry[str]) -> None:
        with Path(entry.path).open("rb") as file:
            data = file.read()
        digest = base64.b64encode(hashlib.md5(data).digest()).decode()
        headers = {"x-ms-blob-type": "BlockBlob", "Content-MD5": digest}
        url = f"{base}/{os.path.relpath(entry.path, folder)}?{signature}"
        async with session.put(url, data=data, headers=headers) as answer:
            answer.raise_for_status()
            await answer.read()

    _each(walk(folder), send)


def upload(folder: str) -> None:
    """Do the work of an upload of batchspec, with the imports of its libraries.

    The program computes the MD5 of each file, as a plan does, and then sends the files.
    """
    imports("typer", "yaml", "azure.batch.aio", "azure.storage.blob.aio", "aiohttp")
    md5(folder)
    put(folder)


def get(listing: str, target: str) -> None:
    """Write each blob of a list of names to a file, as one stream, 16 at a time."""
    base, _, signature = os.environ["BENCH_URL"].partition("?")
    names = Path(listing).read_text(encoding="utf-8").splitlines()

    async def fetch(session: Any, name: str) -> None:
        path = Path(target, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        async with session.get(f"{base}/{name}?{signature}") as answer:
            answer.raise_for_status()
            with path.open("wb", buffering=0) as file:
                async for data in answer.content.iter_any():
                    file.write(data)

    _each(names, fetch)


def download(target: str) -> None:
    """Do the work of a download of batchspec, with the imports of its libraries.

    The program lists a container and streams each blob to a new file, 16 at a time. A file gets its
    name when its MD5 is that of the listing.
    """
    imports("typer", "yaml", "azure.batch.aio", "azure.storage.blob.aio", "aiohttp")
    base, _, signature = os.environ["BENCH_URL"].partition("?")
    with urllib.request.urlopen(f"{base}?restype=container&comp=list&{signature}") as answer:
        listing = ElementTree.fromstring(answer.read())
    blobs = (
        (blob.findtext("Name", ""), blob.findtext("Properties/Content-MD5", ""))
        for blob in listing.iterfind("Blobs/Blob")
    )

    async def fetch(session: Any, blob: tuple[str, str]) -> None:
        name, expected = blob
        path = Path(target, name)
        part = path.with_name(f".{path.name}.part")
        digest = hashlib.md5()
        writing: asyncio.Future[None] | None = None
        waiting: list[bytes] = []

        def write(pieces: list[bytes]) -> None:
            for piece in pieces:
                digest.update(piece)
                file.write(piece)

        async with session.get(f"{base}/{name}?{signature}") as answer:
            answer.raise_for_status()
            with part.open("wb", buffering=0) as file:
                async for data in answer.content.iter_any():
                    waiting.append(data)
                    if sum(map(len, waiting)) >= _PART:
                        if writing is not None:
                            await writing
                        # In a thread, while the next part arrives.
                        writing = asyncio.ensure_future(asyncio.to_thread(write, waiting))
                        waiting = []
                if writing is not None:
                    await writing
                write(waiting)
        if base64.b64encode(digest.digest()).decode() != expected:
            raise SystemExit(f"{name} is damaged")
        part.replace(path)

    _each(blobs, fetch)


def job(name: str) -> None:
    """Create a job without nodes; not measured."""
    from batch_requests import VERSION, signed_headers

    body = json.dumps({"id": name, "poolInfo": {"poolId": "bench-submit"}}).encode()
    url = f"{os.environ['AZURE_BATCH_ENDPOINT']}/jobs?{VERSION}"
    headers = signed_headers("POST", "/jobs", body)
    with urllib.request.urlopen(urllib.request.Request(url, body, headers, method="POST")):
        pass


def post(job: str, listing: str) -> None:
    """Send bodies of Add Task Collection, one in a line, 16 at a time."""
    from batch_requests import VERSION, signed_headers

    url = os.environ["AZURE_BATCH_ENDPOINT"]

    async def send(session: Any, body: bytes) -> None:
        path = f"/jobs/{job}/addtaskcollection"
        headers = signed_headers("POST", path, body)
        target = f"{url}{path}?{VERSION}"
        async with session.post(target, data=body, headers=headers) as answer:
            answer.raise_for_status()
            await answer.read()

    with Path(listing).open("rb") as file:
        _each((line.rstrip(b"\n") for line in file), send)


def submit(job: str, number: str, container: str) -> None:
    """Do the minimum work of batchspec, with its libraries.

    Read a pool and create the job, as an ``apply`` must. Make each body in a loop, send them with
    the client library's own requests, 16 at a time, and read the ids of all tasks, in ranges of
    800, 16 at a time. Let the job end with its last task.
    """
    import azure.storage.blob.aio
    import typer
    import yaml
    from azure.batch.aio import BatchClient
    from azure.core.credentials import AzureNamedKeyCredential
    from azure.core.rest import HttpRequest
    from batch_requests import VERSION, task_body

    del azure, typer, yaml  # The module is imported only for the time that its import takes.
    key = AzureNamedKeyCredential(
        os.environ["AZURE_BATCH_ACCOUNT"], os.environ["AZURE_BATCH_ACCESS_KEY"]
    )
    head = {"Content-Type": "application/json; odata=minimalmetadata"}
    numbers = iter(range(int(number)))
    sent: list[str] = []
    found: list[str] = []

    async def ask(client: BatchClient, method: str, path: str, **body: object) -> None:
        url = f"{{endpoint}}/{path}?{VERSION}"
        content = json.dumps(body).encode() if body else None
        answer = await client.send_request(HttpRequest(method, url, headers=head, content=content))
        answer.raise_for_status()

    async def worker(client: BatchClient) -> None:
        while chunk := [task_body(each, container) for each in itertools.islice(numbers, 100)]:
            text = f'{{"value":[{",".join(map(json.dumps, chunk))}]}}'
            url = f"{{endpoint}}/jobs/{job}/addtaskcollection?{VERSION}"
            request = HttpRequest("POST", url, headers=head, content=text.encode())
            answer = await client.send_request(request)
            answer.raise_for_status()
            added = {each["taskId"] for each in answer.json()["value"] if "error" not in each}
            if added != {each["id"] for each in chunk}:
                raise SystemExit("a task was refused")
            sent.extend(added)

    async def reader(client: BatchClient, ranges: Iterator[tuple[str, str]]) -> None:
        for first, before in ranges:
            where = urllib.parse.quote(f"id ge '{first}' and id lt '{before}'")
            target = f"/jobs/{job}/tasks?$select=id&$filter={where}&{VERSION}"
            while target:
                answer = await client.send_request(HttpRequest("GET", "{endpoint}" + target))
                answer.raise_for_status()
                page = answer.json()
                found.extend(each["id"] for each in page["value"])
                link = urllib.parse.urlsplit(page.get("odata.nextLink", ""))
                target = f"{link.path}?{link.query}" if link.path else ""

    async def run() -> None:
        async with BatchClient(os.environ["AZURE_BATCH_ENDPOINT"], key) as client:
            await ask(client, "GET", "pools/bench-submit")
            await ask(client, "POST", "jobs", id=job, poolInfo={"poolId": "bench-submit"})
            await asyncio.gather(*(worker(client) for _ in range(_AT_ONCE)))
            limits = [*sorted(sent)[::_RANGE], "~"]
            ranges = itertools.pairwise(limits)
            await asyncio.gather(*(reader(client, ranges) for _ in range(_AT_ONCE)))
            if sorted(found) != sorted(sent):
                raise SystemExit(f"{len(found)} of {number} tasks")
            await ask(client, "PATCH", f"jobs/{job}", onAllTasksComplete="terminatejob")

    asyncio.run(run())


def sdk(job: str, listing: str, at_once: str) -> None:
    """Add the same tasks with the client library, with this number of concurrent requests."""
    from azure.batch import BatchClient
    from azure.batch.models import BatchTaskCreateOptions
    from azure.core.credentials import AzureNamedKeyCredential

    key = AzureNamedKeyCredential(
        os.environ["AZURE_BATCH_ACCOUNT"], os.environ["AZURE_BATCH_ACCESS_KEY"]
    )
    client = BatchClient(os.environ["AZURE_BATCH_ENDPOINT"], key)
    with Path(listing).open("rb") as file:
        bodies = (body for line in file for body in json.loads(line)["value"])
        tasks = [BatchTaskCreateOptions(body) for body in bodies]
    client.create_tasks(job, tasks, max_concurrency=int(at_once))


def run(number: str, container: str = "") -> None:
    """Do what a node must do for tasks that run ``true``, two at a time, with nothing else.

    For each task: three directories, two files for its output, a shell with the variables of Batch,
    and its state in a database that survives a SIGKILL, in one transaction with the start of the
    next task. With a container, both files are uploaded before the task ends, and the uploads are
    logged in two more files. There is no client, no API, no scheduling, and nothing that ends the
    processes of a task.
    """
    node = _Node(int(number))
    if container:
        import uvloop

        uvloop.run(_run_with_logs(node, container))
        node.check()
        return
    running = {node.start(index): index for _ in range(2) if (index := node.begin()) is not None}
    while running:
        pid, status = os.wait()
        following = node.begin(running.pop(pid), status)
        if following is not None:
            running[node.start(following)] = following
    node.check()


class _Node:
    """The tasks of a job, in a database, and their directories, in a new folder."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.root = tempfile.mkdtemp(dir=Path.cwd())
        self._job = f"{self.root}/workitems/bench/job-1"
        os.makedirs(self._job)
        self._store = sqlite3.connect(f"{self.root}/tasks.db", isolation_level=None)
        for line in (
            "PRAGMA journal_mode = WAL",
            "PRAGMA synchronous = NORMAL",
            "CREATE TABLE task (seq INTEGER PRIMARY KEY, body TEXT, state TEXT, started REAL, "
            "ended REAL, exit_code INTEGER)",
            "BEGIN",
        ):
            self._store.execute(line)
        bodies = (
            (json.dumps({"id": f"work-{each}", "commandLine": "true"}),) for each in range(number)
        )
        self._store.executemany("INSERT INTO task (body, state) VALUES (?, 'active')", bodies)
        self._store.execute("COMMIT")
        self._left = iter(range(1, number + 1))
        names = ("ACCOUNT_NAME", "ACCOUNT_URL", "POOL_ID", "NODE_ID", "NODE_IS_DEDICATED", "JOB_ID")
        self._environ = {
            **{f"AZ_BATCH_{name}": "bench" for name in names},
            **dict.fromkeys(("USER", "LOGNAME"), "_azbatch"),
            **{
                f"AZ_BATCH_NODE_{name}_DIR": f"{self.root}/{name.lower()}"
                for name in ("ROOT", "SHARED", "STARTUP", "MOUNTS")
            },
            "PATH": os.defpath,
            "LANG": "C.UTF-8",
            "SHELL": "/bin/sh",
        }

    def directory(self, index: int) -> str:
        """The directory of a task."""
        return f"{self._job}/work-{index}"

    def begin(self, ended: int | None = None, status: int = 0) -> int | None:
        """Record the end of a task and the start of the next one, which is returned, if any."""
        now = time.time()
        following = next(self._left, None)
        execute = self._store.execute
        execute("BEGIN IMMEDIATE")
        if ended is not None:
            code = os.waitstatus_to_exitcode(status)
            execute(
                "UPDATE task SET state = 'completed', ended = ?, exit_code = ? WHERE seq = ?",
                (now, code, ended),
            )
        if following is not None:
            execute(
                "UPDATE task SET state = 'running', started = ? WHERE seq = ?", (now, following)
            )
        execute("COMMIT")
        return following

    def start(self, index: int) -> int:
        """Start the process of a task; its pid."""
        directory = self.directory(index)
        work = f"{directory}/wd"
        for path in (directory, work, f"{directory}/certs"):
            os.mkdir(path)
        os.chdir(work)
        environ = {
            **self._environ,
            "HOME": work,
            "PWD": work,
            "AZ_BATCH_TASK_ID": f"work-{index}",
            "AZ_BATCH_TASK_DIR": directory,
            "AZ_BATCH_TASK_WORKING_DIR": work,
            "AZ_BATCH_CERTIFICATES_DIR": f"{directory}/certs",
        }
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, f"{directory}/stdout.txt", flags, 0o644),
            (os.POSIX_SPAWN_OPEN, 2, f"{directory}/stderr.txt", flags, 0o644),
        ]
        command = ["/bin/sh", "-c", "true"]
        return os.posix_spawn("/bin/sh", command, environ, file_actions=actions, setsid=True)

    def check(self) -> None:
        """Check that all tasks have succeeded."""
        query = "SELECT count(*) FROM task WHERE state = 'completed' AND exit_code = 0"
        if self._store.execute(query).fetchone() != (self.number,):
            raise SystemExit("a task failed")


async def _run_with_logs(node: _Node, container: str) -> None:
    import aiohttp
    from yarl import URL

    base, _, signature = container.partition("?")
    headers = {"x-ms-blob-type": "BlockBlob", "x-ms-version": "2023-11-03"}
    loop = asyncio.get_running_loop()

    async def end(pid: int) -> int:
        """Wait for a process; its status."""
        ended = loop.create_future()
        descriptor = os.pidfd_open(pid)
        loop.add_reader(descriptor, ended.set_result, None)
        await ended
        loop.remove_reader(descriptor)
        os.close(descriptor)
        return os.waitpid(pid, 0)[1]

    async def send(session: aiohttp.ClientSession, index: int, name: str) -> None:
        with open(f"{node.directory(index)}/{name}", "rb") as file:
            data = file.read()
        url = URL(f"{base}/{node.root.rpartition('/')[2]}/{index}/{name}?{signature}", encoded=True)
        async with session.put(url, data=data, headers=headers) as answer:
            answer.raise_for_status()

    async def slot(session: aiohttp.ClientSession) -> None:
        index = node.begin()
        while index is not None:
            status = await end(node.start(index))
            names = ("stdout.txt", "stderr.txt")
            await asyncio.gather(*(send(session, index, name) for name in names))
            for name in ("fileuploadout.txt", "fileuploaderr.txt"):
                with open(f"{node.directory(index)}/{name}", "w", encoding="utf-8") as log:
                    log.write("stdout.txt, stderr.txt\n")
            index = node.begin(index, status)

    async with aiohttp.ClientSession() as session:
        await asyncio.gather(slot(session), slot(session))


def tasks(job: str, select: str = "") -> None:
    """Read the list of a job's tasks, all pages."""
    from batch_requests import VERSION, signed_headers

    path = f"/jobs/{job}/tasks"
    base = os.environ["AZURE_BATCH_ENDPOINT"]
    query = f"$select={select}&{VERSION}" if select else VERSION
    while query:
        headers = signed_headers("GET", path, b"", query=query)
        request = urllib.request.Request(f"{base}{path}?{query}", headers=headers)
        with urllib.request.urlopen(request) as answer:
            page = json.load(answer)
        query = urllib.parse.urlsplit(page.get("odata.nextLink", "")).query


def _each(items: Iterable[Any], work: Callable[[Any, Any], Awaitable[None]]) -> None:
    """Call a function for each item, 16 at a time, with one pool of connections."""
    import aiohttp

    source = iter(items)

    async def worker(session: aiohttp.ClientSession) -> None:
        for item in source:
            await work(session, item)

    async def run() -> None:
        async with aiohttp.ClientSession() as session:
            await asyncio.gather(*(worker(session) for _ in range(_AT_ONCE)))

    asyncio.run(run())


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
