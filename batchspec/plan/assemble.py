"""Steps → :class:`Plan`: links between steps, a part of a plan, and the snapshot it is based on.

The snapshot contains facts by name, without secrets, and their digest. Two plans with equal
snapshots are equal. Progress of tasks and the number of nodes of a pool that scales are not part of
it: they change all the time, and their effect on a plan shows in its steps. Large collections are a
count and a digest; members are listed only for small ones.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, islice
from typing import TypeAlias

from batchspec.diagnostics import (
    Diagnostic,
    Diagnostics,
    Secret,
    UsageError,
    counted,
    did_you_mean,
    redact,
)
from batchspec.plan.actions import DeletePool, DownloadResults, WaitForPool, WaitForTasks
from batchspec.plan.changes import HIDDEN, JOB, POOL, SCHEDULE
from batchspec.plan.identity import digest, rows_digest
from batchspec.plan.metadata import input_containers
from batchspec.plan.observed import (
    Blob,
    ContainerFacts,
    JobFacts,
    LocalFile,
    Observed,
    PoolFacts,
    ScheduleFacts,
    Stream,
    TaskIndex,
)
from batchspec.plan.options import PlanOptions
from batchspec.plan.plan import Fact, Gate, Plan, Step, Verb
from batchspec.plan.pool import released_nodes
from batchspec.plan.rules.image import resolve_image
from batchspec.plan.rules.pool import pool_stays
from batchspec.plan.rules.run import part_of_plan
from batchspec.spec import ImageAlias, Record, Rows, Spec, Value, thaw

SINGLY = 500
"""Larger collections are compared only by count, size and digest."""


def snapshot(spec: Spec, observed: Observed, steps: Iterable[Step]) -> Mapping[str, Fact]:
    """The snapshot of a plan, by the names of the facts in messages."""
    return dict(_facts(spec, observed, steps))


def _facts(spec: Spec, observed: Observed, steps: Iterable[Step]) -> Iterator[tuple[str, Fact]]:
    account = observed.account
    yield "the account", Fact(f"{account.target}: {account.batch}, {account.storage}")
    yield "the spec", Fact(f"#{spec.digest}")
    for name, value in spec.parameters.items():
        if not isinstance(value, Secret):
            yield f"parameter {name}", Fact(value_text(value))
    yield from _data_facts(spec, observed)
    if isinstance(spec.pool.image, ImageAlias):
        size = spec.pool.properties.get("vmSize")
        yield f"image {spec.pool.image.name}", _image_fact(spec.pool.image, observed, size)
    yield f"pool {spec.pool.id}", pool_fact(observed.pool)
    if observed.schedule is not None:
        yield f"schedule {observed.schedule.id}", schedule_fact(observed.schedule)
    if spec.job.schedule is None:
        yield from _job_facts(spec, observed)
    yield (
        "the steps",
        Fact("#" + digest(tuple((s.id, s.verb, s.reason, s.items) for s in steps))),
    )


def _job_facts(spec: Spec, observed: Observed) -> Iterator[tuple[str, Fact]]:
    """Jobs, tasks and results; those of a schedule change without a client."""
    names = ", ".join(job.id for job in observed.jobs)
    yield f"the jobs of {spec.job.id}", Fact(names or ABSENT)
    for job in observed.jobs:
        yield f"job {job.id}", job_fact(job)
    if observed.tasks is not None:
        yield f"the tasks of {spec.job.id}", _task_fact(observed.tasks)
    yield "the results on this disk", _results_fact(observed)


def _data_facts(spec: Spec, observed: Observed) -> Iterator[tuple[str, Fact]]:
    """The facts about containers, files, blobs, packages and rows, by name."""
    inputs = input_containers(spec)
    for key, container in spec.containers.items():
        facts = observed.containers[key]
        yield f"container {container.id}", _container_fact(facts)
        if container.upload:
            yield f"the files for {container.id}", _listing("file", map(_file, facts.files))
        if facts.exists and key in inputs:
            # The outputs of tasks change while the tasks run.
            blobs = (blob for blob in facts.blobs if not blob.work)
            yield f"the blobs of {container.id}", _listing("blob", map(_blob, blobs))
    for name, package in observed.packages.items():
        stored = package.stored
        there = ABSENT if stored is None else f"#{digest((stored.active, stored.content))}"
        yield f"package {name}", Fact(there)
        yield f"the files of package {name}", Fact(f"#{package.content}")
    for stage in spec.stages:
        if isinstance(stage.for_each, Rows) and stage.name in observed.rows:
            name = f"the rows of {stage.for_each.path.name} (stage {stage.name})"
            yield name, _rows_fact(observed.rows[stage.name])


def _container_fact(facts: ContainerFacts) -> Fact:
    if facts.metadata is None:
        return Fact(ABSENT)
    pairs = sorted(facts.metadata.items())
    return Fact("there", tuple((f"metadata.{name}", value_text(text)) for name, text in pairs))


def _image_fact(alias: ImageAlias, observed: Observed, size: Value) -> Fact:
    found = resolve_image(alias, observed.images, observed.now, Diagnostics(), size)
    words = [*found.record("imageReference").values(), found.get("nodeAgentSKUId", ABSENT)]
    return Fact(":".join(map(str, words)))


def _results_fact(observed: Observed) -> Fact:
    receipt = observed.receipt
    if receipt is None:
        return Fact(ABSENT)
    return Fact(f"{receipt.files} of job {receipt.job}, {receipt.missing} gone or changed")


def _file(file: LocalFile) -> _Member:
    blob, _, size, md5, content_type = file
    return blob, size, f"{md5.hex()} {content_type}".strip() if content_type else md5.hex()


def _blob(blob: Blob) -> _Member:
    return blob.name, blob.size, blob.content.hex()


def _task_fact(index: TaskIndex) -> Fact:
    """The tasks of the jobs, and which of them failed."""

    def members() -> Iterator[_Member]:
        for name, job, succeeded in index.ends():
            yield name, None, f"{'failed' if succeeded is False else 'there'} in {job}"

    return _listing("task", members())


def _rows_fact(rows: Stream[Record]) -> Fact:
    return Fact(f"{counted(len(rows), 'row')} #{rows_digest(rows)[:16]}")


_Member: TypeAlias = tuple[str, int | None, str]
"""The name of a file, a blob or a task, its size in bytes if it has one, and a text that identifies
its content. A plain tuple, because there may be millions."""
_BATCH = 1000
"""Members that are hashed together, which takes less time than one at a time."""


def _listing(noun: str, members: Iterable[_Member]) -> Fact:
    """The number and total size of the members, and each member if there are few."""
    count, total, hasher = 0, 0, hashlib.sha256()
    sized = False
    singly: list[_Member] = []
    rest = iter(members)
    while some := list(islice(rest, _BATCH)):
        count += len(some)
        sizes = [size for _, size, _ in some if size is not None]
        sized = sized or bool(sizes)
        total += sum(sizes)
        text = "".join([f"{name}\0{size}\0{content}\n" for name, size, content in some])
        hasher.update(text.encode())
        singly += some[: SINGLY + 1 - len(singly)]
    size_text = f", {total} bytes" if sized else ""
    return Fact(
        f"{counted(count, noun)}{size_text} #{hasher.hexdigest()[:16]}",
        tuple((name, _words(size, content)) for name, size, content in singly)
        if count <= SINGLY
        else (),
    )


def _words(size: int | None, content: str) -> str:
    return content if size is None else f"{size} bytes #{content}"


ABSENT = "absent"
_SIZES = frozenset({"targetDedicatedNodes", "targetLowPriorityNodes"})
"""The properties that a pool with a formula changes without a request."""
_SETTING = frozenset({"name", "value"})
_WORD = re.compile(r"[^\s\"']+")
_SIGNATURE = re.compile(r"\bsig=")
_LONGEST = 60
"""Characters of a value that are shown; a longer value has a digest."""


def pool_fact(pool: PoolFacts | None) -> Fact:
    """The facts about a pool in a snapshot."""
    if pool is None:
        return Fact(ABSENT)
    scales = pool.properties.get("enableAutoScale") is True
    keys = [key for key in POOL if not (scales and key in _SIZES)]
    return Fact(pool.state, tuple(_parts(pool.properties, keys, pool.metadata)))


def job_fact(job: JobFacts) -> Fact:
    """The facts about a job in a snapshot."""
    return Fact(job.state, tuple(_parts(job.properties, JOB, job.metadata)))


def schedule_fact(schedule: ScheduleFacts) -> Fact:
    """The facts about a job schedule in a snapshot."""
    return Fact(schedule.state, tuple(_parts(schedule.properties, SCHEDULE, schedule.metadata)))


def value_text(value: Value) -> str:
    """A value in the form of messages: a short value, otherwise ``#`` and a digest."""
    match _without_secrets(value):
        case None:
            return "unset"
        case bool(truth):
            return str(truth).lower()
        case str() | int() | float() as plain:
            text = redact(str(plain))
            return f"#{digest(text)}" if len(text) > _LONGEST or "#" in text else text
        case plain:
            return f"#{digest(redact(json.dumps(plain, sort_keys=True)))}"


def _without_secrets(value: Value) -> object:
    """A value without secrets."""
    match value:
        case Record():
            return {key: _without_secrets(item) for key, item in value.items() if key not in HIDDEN}
        case tuple() if all(isinstance(item, Record) and set(item) <= _SETTING for item in value):
            # The values of environment settings may be secrets.
            return [item.get("name") for item in value if isinstance(item, Record)]
        case tuple():
            return [_without_secrets(item) for item in value]
        case str():
            return _WORD.sub(_without_query, value)
    return thaw(value, lambda text: text.shown)


def _without_query(word: re.Match[str]) -> str:
    """A URL without the query of its signature: each plan renews its permissions and expiry."""
    url, _, query = word[0].partition("?")
    return f"{url}?..." if _SIGNATURE.search(query) else word[0]


def _parts(
    properties: Record, keys: Iterable[str], metadata: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    for key in keys:
        if key not in {"id", "metadata"}:
            yield from _flattened(key, properties.get(key))
    # An object that is deleted and created again with the same name is a different object.
    yield from _flattened("creationTime", properties.get("creationTime"))
    for name, text in sorted(metadata.items()):
        yield f"metadata.{name}", value_text(text)


def _flattened(path: str, value: Value) -> Iterator[tuple[str, str]]:
    """A property with all its members, by dotted paths."""
    if isinstance(value, Record):
        for key, item in sorted(value.items()):
            if key not in HIDDEN:
                yield from _flattened(f"{path}.{key}", item)
    elif value is not None and value != ():
        yield path, value_text(value)


def assemble(
    spec: Spec,
    observed: Observed,
    steps: list[Step],
    kept: list[Step],
    *,
    problems: Diagnostics,
    options: PlanOptions,
    scheduled: bool = False,
    stays: tuple[Step, ...] = (),
) -> Plan:
    """The plan of these steps, or of the step that ``options`` select and the steps it needs.

    Raises:
        UsageError: there is no step with that id.
    """
    if options.step:
        steps, kept, note = only_step(options.step, steps, kept)
        problems.add(note)
        scheduled = scheduled and options.step.startswith("schedule:")
    facts = snapshot(spec, observed, steps)
    return Plan(
        account=observed.account,
        name=spec.name,
        description=spec.description,
        digest=spec.digest,
        steps=_linked(steps),
        kept=tuple(kept),
        findings=problems.found,
        fingerprint=digest(tuple(facts.items())),
        snapshot=facts,
        scheduled=scheduled,
        stays=() if options.step else stays,
        places=spec.places,
    )


def _linked(steps: Sequence[Step]) -> tuple[Step, ...]:
    """The steps, with only the ids of existing steps in ``after``.

    A step may name a step that this plan does not need.

    All other objects of the plan wait for the first object that it creates: of two runs with one
    name that start at once, the run that creates this object continues and the other run stops.
    Without this order, each run can create an object that the other run needs, and both stop.
    """
    existing = {step.id for step in steps}
    first = next((step.id for step in steps if step.verb is Verb.CREATE), None)
    linked = []
    for step in steps:
        after = [name for name in step.after if name in existing]
        if step.verb is Verb.CREATE and step.id != first and first is not None:
            after.append(first)
        linked.append(replace(step, after=tuple(dict.fromkeys(after))))
    return tuple(linked)


PARTIAL_PLAN = "part-of-plan"
"""The code of the note that only a part of a plan is carried out."""
NO_SUCH_STEP = "no-such-step"
"""The code of the error that the plan has no step with the requested id."""


def only_step(
    name: str, steps: Sequence[Step], kept: Sequence[Step]
) -> tuple[list[Step], list[Step], Diagnostic]:
    """The step with this id after the steps that it needs, the kept resource, and a note.

    The note counts the steps that are left out.

    A step that keeps an existing resource needs no other step: only this resource is kept.

    Raises:
        UsageError: the plan has no step with this id.
    """
    by_id = {step.id: step for step in steps}
    if name not in by_id and name not in {step.id for step in kept}:
        raise UsageError(_no_such_step(name, [*by_id, *(step.id for step in kept)]))
    needed: set[str] = set()
    ahead = [name] if name in by_id else []
    while ahead:
        step = by_id[ahead.pop()]
        if step.id not in needed:
            needed.add(step.id)
            ahead += [before for before in step.after if before in by_id]
    chosen = [step for step in steps if step.id in needed]
    kept = [step for step in kept if step.id == name]
    (note,) = part_of_plan(name, len(steps) - len(chosen))
    return chosen, kept, note


def _no_such_step(name: str, names: list[str]) -> Diagnostic:
    return Diagnostic(
        NO_SUCH_STEP,
        f"the plan has no step {name!r}",
        detail="Steps: " + ", ".join(names),
        fix=did_you_mean(name, names),
    )


def detached(plan: Plan, spec: Spec) -> Plan:
    """The plan without the steps after the submission: wait, download, clean up."""
    steps = tuple(step for step in plan.steps if not _is_after_submission(step))
    steps = _linked(steps)
    pools = [step.action.pool for step in plan.steps if isinstance(step.action, DeletePool)]
    findings = plan.findings
    if steps and released_nodes(spec.pool.properties) is None:
        findings = (*findings, *chain.from_iterable(map(pool_stays, pools)))
    return replace(plan, steps=steps, findings=findings, detached=True)


def _is_after_submission(step: Step) -> bool:
    waits = isinstance(step.action, WaitForPool | WaitForTasks | DownloadResults)
    return waits or step.gate is not Gate.FLOW
