"""Lower bounds: what the work of a row costs without batchspec. ``floors.py NAME ARGUMENT ...``.

Each is a program of its own, so that whole processes are compared.
"""

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
import string
import sys
import urllib.parse
import urllib.request
from collections.abc import Awaitable, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

_AT_ONCE = 16
_PART = 1 << 20


def imports(*modules: str) -> None:
    """Import modules."""
    for module in modules:
        importlib.import_module(module)


def _walk(folder: str) -> Iterator[os.DirEntry[str]]:
    folders = [folder]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir():
                    folders.append(entry.path)
                else:
                    yield entry


def md5(folder: str) -> None:
    """Read and hash all files below a folder."""
    for entry in _walk(folder):
        with Path(entry.path).open("rb") as file:
            hashlib.md5(file.read()).digest()


def stat(folder: str) -> None:
    """Read the size and times of all files below a folder."""
    for entry in _walk(folder):
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

    _each(_walk(folder), send)


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
    """Do what a download of batchspec does, after the imports of the libraries that it uses.

    A container is listed, and each blob is one stream, 16 at a time, to a new file that gets its
    name when the MD5 is that of the listing.
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
    """Do what batchspec does at the least, with its libraries.

    Make each body in a loop, send them with the client library's own requests, 16 at a time, and
    read the ids of all tasks.
    """
    import azure.storage.blob.aio
    import typer
    import yaml
    from azure.batch.aio import BatchClient
    from azure.core.credentials import AzureNamedKeyCredential
    from azure.core.rest import HttpRequest
    from batch_requests import VERSION, task_body

    del azure, typer, yaml  # Imported for the time that it takes.
    key = AzureNamedKeyCredential(
        os.environ["AZURE_BATCH_ACCOUNT"], os.environ["AZURE_BATCH_ACCESS_KEY"]
    )
    head = {"Content-Type": "application/json; odata=minimalmetadata"}
    numbers = iter(range(int(number)))

    async def worker(client: BatchClient) -> None:
        while chunk := [task_body(each, container) for each in itertools.islice(numbers, 100)]:
            text = f'{{"value":[{",".join(map(json.dumps, chunk))}]}}'
            url = f"{{endpoint}}/jobs/{job}/addtaskcollection?{VERSION}"
            request = HttpRequest("POST", url, headers=head, content=text.encode())
            answer = await client.send_request(request)
            answer.raise_for_status()
            found = {each["taskId"] for each in answer.json()["value"] if "error" not in each}
            if found != {each["id"] for each in chunk}:
                raise SystemExit("a task was refused")

    async def run() -> None:
        async with BatchClient(os.environ["AZURE_BATCH_ENDPOINT"], key) as client:
            await asyncio.gather(*(worker(client) for _ in range(_AT_ONCE)))
            target, found = f"/jobs/{job}/tasks?$select=id&{VERSION}", 0
            while target:
                answer = await client.send_request(HttpRequest("GET", "{endpoint}" + target))
                answer.raise_for_status()
                page = answer.json()
                found += len(page["value"])
                link = urllib.parse.urlsplit(page.get("odata.nextLink", ""))
                target = f"{link.path}?{link.query}" if link.path else ""
            if found != int(number):
                raise SystemExit(f"{found} of {number} tasks")

    asyncio.run(run())


def sdk(job: str, listing: str, at_once: str) -> None:
    """Add the same tasks with the client library, with so many requests at a time."""
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
