"""A situation as a YAML file: a spec, the files next to it, and the state of the account.

A case has ``about`` (a sentence) and these optional keys:

``spec``         text of the spec; by default a small one with three inputs
``change``       replacements in the text of the spec, old to new
``files``        more files next to the spec, path to text; ``null`` removes one
``containers``   key to ``{by: SPEC, users: [SPEC], blobs: {NAME: TEXT}, work: DIGEST}``;
                 ``as_uploaded`` adds the spec's files, ``work`` is the stamp of the blobs,
                 ``applied_by`` (``user@host``) is another client that used it last
``before``       ``{change, files}``: differences of the spec and its files when the pool and the
                 jobs were created
``pool``         ``{by, state, nodes, metadata, set: {REST name: value}}``: the pool as created;
                 ``set`` are later changes, ``nodes`` the current number, by default the target;
                 ``errors`` are ``[code, message]`` of its last resize; ``states`` counts the nodes
                 by state
``jobs``         a list of ``{id, state, by, scope, reason, keeps, foreign, set, tasks}``, tasks as
                 ``{STAGE: [STATE, ...]}``, the oldest first; ``applied_by`` (``user@host``) is
                 another client; ``keeps``: a retry kept tasks for the current spec; ``foreign`` is
                 the number of tasks that another client added; a state is ``active``,
                 ``running``, ``done``, ``failed``, or ``null`` (absent)
``former_pools`` the numbers of nodes of earlier pools by id
``pool_user``    ``{id, by}``: a job of another spec with open tasks on the pool
``schedule``     ``{by, state, applied_by, set}``: the job schedule as created, with later changes
``receipt``      ``{job, files, missing, paths}``
``command``      ``attach``, ``download``, ``detach``, ``retry`` or ``destroy`` instead of ``plan``
``target``       ``local`` (default) or ``azure``
``variables``    values of ``--var``
``applications`` versions of application packages, by application
``usage``        ``{pools, jobs}``: their number in the account
``capacity``     quotas as in ``AccountResource``; ``sizes`` by name as in ``VmSize``; ``used``:
                 other pools, each ``[SIZE, NOW, DEDICATED, SPOT]``; ``problem``: why unknown
``longest_sas``  the longest lifetime of a signature in hours; unlimited by default
``cost``         ``{dedicated, spot, earlier}``: prices of nodes, or why one is not known; the
                 seconds ``{tasks, task, before, after}`` of an earlier run
``occupied``     the spec whose files folders of results contain; empty: of another program
``unwritable``   the reason why no file can be created in folders of results
``options``      ``{rerun, replace: [pool, job], step}``: options of the command line;
                 ``files: false``: the files of the spec are on another machine
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from batchspec.diagnostics import Diagnostic, Diagnostics
from batchspec.observe import Spool, scan
from batchspec.plan.capacity import AccountResource, Capacity, VmSize
from batchspec.plan.ingredients import definitions
from batchspec.plan.job import job_body
from batchspec.plan.metadata import AT, BY, KEEPS, ORIGIN, OWNER, USERS, created_by, version
from batchspec.plan.observed import (
    AccountNames,
    Blob,
    ContainerFacts,
    CostFacts,
    EarlierRun,
    JobFacts,
    Observed,
    Origin,
    PackageFacts,
    PoolFacts,
    Receipt,
    ScheduleFacts,
    StoredPackage,
    SupportedImage,
    TaskFacts,
    Usage,
)
from batchspec.plan.pool import pool_body
from batchspec.plan.receipt import receipt_name
from batchspec.plan.rules.image import runs_windows
from batchspec.plan.schedule import job_manager_task, schedule_body
from batchspec.plan.task_sets import build_task_sets
from batchspec.plan.tasks import expand
from batchspec.pricing import NodePrices, NodeType, Price, Unknown
from batchspec.spec import (
    Package,
    Record,
    Rows,
    Spec,
    ValueSources,
    freeze,
    read_rows,
    read_spec,
    thaw,
)

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)

SPEC = """\
version: 1
name: demo
containers:
  application: {upload: [app/count.py]}
  input: {upload: [data/*.txt]}
  output: {}
pool:
  vm_size: standard_d2s_v5
  nodes: 2
  image: ubuntu-24.04
  start_task: {command: cp count.py "$AZ_BATCH_NODE_SHARED_DIR/", resources: [application]}
job: {max_wall_clock_time: 1h}
tasks:
  count:
    for_each: {files: input}
    command: python3 "$AZ_BATCH_NODE_SHARED_DIR/count.py" {{ file.name }}
    logs: false
results: [{container: output, to: results/}]
cleanup: {containers: on_success, job: ask, pool: ask}
"""
FILES = {
    "app/count.py": "print(1)\n",
    "data/a.txt": "a\n",
    "data/b.txt": "bb\n",
    "data/c.txt": "ccc\n",
}
IMAGES = (
    SupportedImage(
        "canonical", "ubuntu-24_04-lts", "server", "batch.node.ubuntu 24.04", False, True
    ),
    SupportedImage(
        "canonical",
        "0001-com-ubuntu-server-focal",
        "20_04-lts",
        "batch.node.ubuntu 20.04",
        False,
        True,
        end_of_life=datetime(2025, 4, 23, tzinfo=UTC),
    ),
    SupportedImage(
        "debian",
        "debian-12",
        "12",
        "batch.node.debian 12",
        False,
        True,
        end_of_life=datetime(2026, 4, 1, tzinfo=UTC),
    ),
    SupportedImage(
        "microsoft-dsvm",
        "ubuntu-hpc",
        "2204",
        "batch.node.ubuntu 22.04",
        False,
        False,
        ("DockerCompatible", "Generation2VMImage"),
    ),
    SupportedImage(
        "microsoftwindowsserver",
        "windowsserver",
        "2022-datacenter",
        "batch.node.windows amd64",
        True,
        True,
    ),
)
_STATES: Mapping[str, tuple[str, bool | None]] = {
    "active": ("active", None),
    "running": ("running", None),
    "done": ("completed", True),
    "failed": ("completed", False),
}


@dataclass(frozen=True)
class Situation:
    """The values of a case."""

    spec: Spec
    observed: Observed
    failed_nodes: tuple[str, ...] = ()


@contextmanager
def situation(case: Mapping[str, Any], folder: Path) -> Iterator[Situation]:
    """The spec and the account of a case, in ``folder``."""
    text = _changed(case.get("spec", SPEC), case.get("change", {}))
    files = {**FILES, **case.get("files", {})}
    variables = case.get("variables", {})
    with _written(text, files, folder, variables) as (spec, spool):
        if (before := case.get("before")) is None:
            failed = tuple(case.get("failed_nodes", ()))
            yield Situation(spec, _observed(case, spec, spool, None), failed)
            return
        earlier = _changed(text, before.get("change", {}))
        then = folder / "before"
        with _written(earlier, {**files, **before.get("files", {})}, then, variables) as found:
            earlier_spec, earlier_spool = found
            created = Situation(earlier_spec, _bare(case, earlier_spec, earlier_spool))
            yield Situation(spec, _observed(case, spec, spool, created))


def _changed(text: str, changes: Mapping[str, str]) -> str:
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


@contextmanager
def _written(
    text: str, files: Mapping[str, str | None], folder: Path, variables: Mapping[str, str]
) -> Iterator[tuple[Spec, Spool]]:
    """A spec with files next to it, written to ``folder`` and read."""
    folder.mkdir(exist_ok=True)
    path = folder / "demo.yaml"
    path.write_text(text, encoding="utf-8")
    for name, content in files.items():
        if content is not None:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(content, encoding="utf-8")
    spec = read_spec(path, ValueSources(variables))
    problems = Diagnostics()
    with Spool() as spool:
        packages = (package.source for package in spec.packages.values())
        scan((*spec.containers.values(), *packages), spool, problems)
        problems.raise_if_any()
        yield spec, spool


def _bare(case: Mapping[str, Any], spec: Spec, spool: Spool) -> Observed:
    """An account with containers and images only."""
    given = case.get("containers", {})
    return Observed(
        cost=_cost(case["cost"]) if "cost" in case else None,
        account=AccountNames(case.get("target", "local"), "batch", "storage"),
        now=NOW,
        origin=Origin("ada@here", "here"),
        containers={key: _container(given.get(key), key, spool) for key in spec.containers},
        images=IMAGES,
        applications=case.get("applications"),
        packages={
            name: PackageFacts(
                spool.files(package.source.key), "c0ffee", _stored(case, name, package)
            )
            for name, package in spec.packages.items()
        },
        usage=Usage(**case["usage"]) if "usage" in case else None,
        capacity=_capacity(case["capacity"]) if "capacity" in case else None,
        longest_sas=timedelta(hours=case["longest_sas"]) if "longest_sas" in case else None,
        occupied={r.to: case["occupied"] for r in spec.results if "occupied" in case},
        unwritable={r.to: case["unwritable"] for r in spec.results if "unwritable" in case},
        rows={
            stage.name: read_rows(stage.for_each.path)
            for stage in spec.stages
            if isinstance(stage.for_each, Rows)
        },
    )


def _stored(case: Mapping[str, Any], name: str, package: Package) -> StoredPackage | None:
    """The version of a package in the account: ``content`` is ``same`` or that of other files."""
    given = case.get("packages", {}).get(name)
    if given is None or given["version"] != package.version:
        return None
    content = "c0ffee" if given.get("content") == "same" else given.get("content", "")
    return StoredPackage(given.get("active", True), content)


def _observed(
    case: Mapping[str, Any], spec: Spec, spool: Spool, earlier: Situation | None
) -> Observed:
    """The account; pool, jobs and schedule were created from ``earlier``, if it is not ``None``."""
    observed = _bare(case, spec, spool)
    created = earlier or Situation(spec, observed)
    if "pool" in case:
        observed = replace(observed, pool=_pool(case["pool"], created.spec, created.observed))
    if "former_pools" in case:
        former = tuple(
            PoolFacts(name, "active", "steady", Record(), {"batchspec:spec": spec.name}, n, 0, n, 0)
            for name, n in case["former_pools"].items()
        )
        observed = replace(observed, former_pools=former)
    if "pool_user" in case:
        user, owner = case["pool_user"]["id"], case["pool_user"].get("by")
        metadata = {"batchspec:spec": owner} if owner else {}
        job = JobFacts(user, "active", NOW, Record(), metadata, pool=spec.pool.id)
        observed = replace(observed, pool_user=job)
    if "jobs" in case:
        jobs = tuple(_job(job, n, created) for n, job in enumerate(case["jobs"]))
        recorded = {KEEPS: " ".join(definitions(spec, observed).values())}
        jobs = tuple(
            replace(job, metadata={**job.metadata, **recorded}) if given.get("keeps") else job
            for job, given in zip(jobs, case["jobs"], strict=True)
        )
        observed = replace(observed, jobs=jobs)
        _put_tasks(case["jobs"], created.spec, created.observed, spool)
    if "schedule" in case:
        found = _schedule(case["schedule"], created.spec, created.observed)
        observed = replace(observed, schedule=found)
    if "receipt" in case:
        job_id = case["receipt"]["job"]
        names = {job.id: receipt_name(job.id, job.created) for job in observed.jobs}
        given = {**case["receipt"], "job": names.get(job_id, job_id)}
        given["paths"] = [("", spec.path.parent / path) for path in given.get("paths", ())]
        observed = replace(observed, receipt=Receipt(**given))
    return replace(observed, tasks=spool.tasks())


_ID = "/subscriptions/SUB/resourceGroups/rg/providers/Microsoft.Batch/batchAccounts/acct"


def _capacity(given: dict[str, Any]) -> Capacity:
    sizes = given.pop("sizes", None)
    pools = [
        PoolFacts(name, "active", "steady", Record(vmSize=size), {}, now, 0, dedicated, spot)
        for name, (size, now, dedicated, spot) in given.pop("used", {}).items()
    ]
    text = given.pop("problem", "")
    return Capacity(
        AccountResource(_ID, "westeurope", **given) if given else None,
        None if sizes is None else {name.lower(): VmSize(name, **sizes[name]) for name in sizes},
        tuple(pools),
        Diagnostic("x", text, fix="Do something") if text else None,
    )


def _cost(given: Mapping[str, Any]) -> CostFacts:
    def price(kind: str) -> Price | Unknown:
        found = given.get(kind, "no price is published")
        return Unknown(found) if isinstance(found, str) else Price(found, "USD", "price list")

    earlier = given.get("earlier")
    run = EarlierRun("demo-r2", NOW - timedelta(days=1), **earlier) if earlier else None
    node = NodeType("standard_d2s_v5", "westeurope")
    return CostFacts(NodePrices(node, price("dedicated"), price("spot")), run)


def _container(given: Mapping[str, Any] | None, key: str, spool: Spool) -> ContainerFacts:
    if given is None:
        return ContainerFacts(None, spool.files(key), spool.blobs(key))
    for name, text in given.get("blobs", {}).items():
        data = text.encode()
        md5, work = hashlib.md5(data).digest(), given.get("work", "")
        spool.add_blobs(key, [Blob(name, len(data), md5, work=work)])
    if given.get("as_uploaded"):
        for file in spool.files(key):
            spool.add_blobs(key, [Blob(file.blob, file.size, file.md5)])
    by = given.get("by", "demo")
    metadata = {OWNER: by} if by else {}
    if "users" in given:
        metadata[USERS] = ",".join(given["users"])
    if "applied_by" in given:
        applied = {BY: given["applied_by"], AT: NOW.isoformat(), ORIGIN: "elsewhere"}
        metadata.update(created_by(by, applied))
    archived = given.get("archived", ())
    first = archived[0] if archived else ""
    return ContainerFacts(metadata, spool.files(key), spool.blobs(key), len(archived), first)


def _pool(given: Mapping[str, Any], spec: Spec, observed: Observed) -> PoolFacts:
    body = pool_body(spec, observed, Diagnostics())
    metadata = {
        str(item["name"]): str(item["value"])
        for item in _records(body["metadata"])
        if given.get("by", spec.name) is not None
    }
    if given.get("by") is not None:
        metadata["batchspec:spec"] = given["by"]
    found = _as_found(body, given)
    metadata.update(given.get("metadata", {}))
    if given.get("other_digest"):
        metadata["batchspec:digest"] = "0" * 16
    count = found.get("targetDedicatedNodes")
    target = count if isinstance(count, int) else 0
    target = given.get("nodes", target) if found.get("enableAutoScale") else target
    nodes, state = given.get("nodes", target), given.get("state", "active")
    errors = tuple((code, message) for code, message in given.get("errors", ()))
    facts = PoolFacts(spec.pool.id, state, "steady", found, metadata, nodes, 0, target, 0, errors)
    return replace(facts, node_states=given.get("states", {}))


def _job(given: Mapping[str, Any], number: int, created: Situation) -> JobFacts:
    spec, observed = created.spec, created.observed
    work = build_task_sets(spec, observed, windows=runs_windows(spec, observed))
    pool = pool_body(spec, observed, Diagnostics())
    body = job_body(spec, observed, work, pool, version(spec, observed))
    state = given.get("state", "active")
    by = given.get("by", spec.name)
    pairs = {str(item["name"]): str(item["value"]) for item in _records(body["metadata"])}
    metadata = {**pairs, "batchspec:spec": by} if by else {}
    metadata["batchspec:scope"] = given.get("scope", "whole")
    if "applied_by" in given:
        metadata.update({BY: given["applied_by"], ORIGIN: "elsewhere"})
    return JobFacts(
        given["id"],
        state,
        NOW + timedelta(minutes=number),
        _as_found(body, given),
        metadata,
        terminate_reason=given.get("reason"),
    )


def _schedule(given: Mapping[str, Any], spec: Spec, observed: Observed) -> ScheduleFacts:
    windows, pool = runs_windows(spec, observed), pool_body(spec, observed, Diagnostics())
    manager = job_manager_task(spec, observed, windows=windows, problems=Diagnostics())
    assert manager is not None
    body = schedule_body(spec, observed, pool, manager)
    pairs = {str(item["name"]): str(item["value"]) for item in _records(body["metadata"])}
    by = given.get("by", spec.name)
    metadata = {**pairs, "batchspec:spec": by} if by else {}
    if "applied_by" in given:
        metadata.update({BY: given["applied_by"], ORIGIN: "elsewhere"})
    found = _as_found(body, given)
    return ScheduleFacts(spec.job.id, given.get("state", "active"), NOW, found, metadata)


def _as_found(body: Record, given: Mapping[str, Any]) -> Record:
    """A body as the account returns it: with signed URLs, and the changes of the case."""
    plain = thaw(
        body, lambda text: text.resolve(lambda u: f"http://s/{u.container}/{u.blob}?sig=x")
    )
    assert isinstance(plain, dict)
    for path, value in given.get("set", {}).items():
        *parents, last = path.split(".")
        into = plain
        for parent in parents:
            into = into[parent]
        into[last] = value
    found = freeze(plain)
    assert isinstance(found, Record)
    return found


def _put_tasks(jobs: list[Mapping[str, Any]], spec: Spec, observed: Observed, spool: Spool) -> None:
    whole = max(
        (n for n, job in enumerate(jobs) if job.get("scope", "whole") == "whole"), default=0
    )
    for age, job in enumerate(jobs):
        for stage in spec.stages:
            states = job.get("tasks", {}).get(stage.name, [])
            tasks = expand(spec, stage, observed, windows=runs_windows(spec, observed))
            for task, word in zip(tasks, states, strict=False):
                if word is not None and age >= whole:
                    state, succeeded = _STATES[word]
                    facts = TaskFacts(task.id, state, succeeded, marks=task.marks)
                    spool.add_task(job["id"], age, facts)
        for number in range(job.get("foreign", 0)):
            spool.add_task(job["id"], age, TaskFacts(f"foreign-{number}", "running"))


def _records(value: object) -> Iterator[Record]:
    assert isinstance(value, tuple)
    for item in value:
        assert isinstance(item, Record)
        yield item


def read_case(path: Path) -> Mapping[str, Any]:
    """A case file."""
    case = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert isinstance(case, dict)
    return case
