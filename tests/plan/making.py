"""Specs and observed facts that tests create directly, without the text of a spec."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from batchspec.diagnostics import Place
from batchspec.plan.observed import AccountNames, Blob, ContainerFacts, LocalFile, Observed, Stream
from batchspec.spec import (
    Command,
    Container,
    ForEach,
    ImageAlias,
    Job,
    Once,
    Pool,
    PoolKind,
    Record,
    Shell,
    Spec,
    Stage,
    Template,
    UploadGlob,
    Value,
)

WHERE = Place("spec.yaml", 1, 1)
NOW = datetime(2026, 3, 1, tzinfo=UTC)


def template(text: str) -> Template:
    return Template(text, Place("spec.yaml", 5, 12, f"  command: {text}"))


def local_file(name: str, content: str = "", path: Path = Path("data")) -> LocalFile:
    data = (content or name).encode()
    return LocalFile(name, str(path / name), len(data), hashlib.md5(data).digest())


def blob(name: str, content: str | None = "x", modified: datetime | None = None) -> Blob:
    md5 = None if content is None else hashlib.md5(content.encode()).digest()
    return Blob(name, len(content or ""), md5, modified)


def stage(
    command: str | tuple[str, ...] = "run",
    for_each: ForEach | None = None,
    *,
    name: str = "count",
    task_id: str | None = None,
    body: Record | None = None,
    resources: tuple[str, ...] | None = None,
    needs: tuple[str, ...] = (),
    shell: Shell = Shell.DEFAULT,
) -> Stage:
    made = (
        Command(shell, template=template(command))
        if isinstance(command, str)
        else Command(shell, arguments=tuple(map(template, command)))
    )
    return Stage(
        name,
        WHERE,
        made,
        for_each or Once(),
        None if task_id is None else template(task_id),
        body or Record(),
        resources,
        needs,
    )


def spec(
    *stages: Stage,
    parameters: Mapping[str, Value] | None = None,
    job: Record | None = None,
    image: str = "ubuntu-24.04",
    container: str = "input",
    start: tuple[str, ...] = ("app",),
) -> Spec:
    glob = (UploadGlob("*", Path(), WHERE),)
    containers = {
        "input": Container("input", container, WHERE, upload=glob),
        "app": Container("app", "app", WHERE, upload=glob),
        "there": Container("there", "there", WHERE, existing=True),
        "output": Container("output", "output", WHERE),
    }
    return Spec(
        Path("spec.yaml"),
        "demo",
        "digest",
        parameters or {},
        containers,
        Pool("pool-1", PoolKind.OWN, WHERE, image=ImageAlias(image, WHERE), start_containers=start),
        Job("job-1", WHERE, timedelta(hours=1), job or Record()),
        stages,
    )


def observed(
    files: Iterable[LocalFile] = (),
    *,
    blobs: Iterable[Blob] = (),
    app: Iterable[LocalFile] = (local_file("app.py"),),
    rows: Mapping[str, Stream[Record]] | None = None,
    account: str = "one",
) -> Observed:
    return Observed(
        AccountNames("local", account, account),
        NOW,
        {
            "input": ContainerFacts(None, files=tuple(files)),
            "app": ContainerFacts(None, files=tuple(app)),
            "there": ContainerFacts({}, blobs=tuple(blobs)),
            "output": ContainerFacts(None),
        },
        rows=rows or {},
    )
