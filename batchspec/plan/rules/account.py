"""Rules about the account: resources of other specs and clients, packages, and quotas."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from batchspec.plan.managed_identity import identities
from batchspec.plan.metadata import SPEC
from batchspec.plan.observed import JobFacts, PackageFacts, PoolFacts
from batchspec.plan.rules.rule import ERROR, WARNING, Finding, RuleContext, RuleGroup
from batchspec.spec import Package, Pool, Record, Spec, Value

if TYPE_CHECKING:
    from batchspec.plan.changes import Difference

ACCOUNT = RuleGroup(
    "Account",
    "Resources that exist, and quotas of pools and jobs. Where Azure Resource Manager is not read"
    " (see *Quotas and VM sizes*), numbers are compared with Azure's default quotas.",
)
"""The embedded service has no quotas."""


@ACCOUNT.rule(
    "missing-pool",
    ERROR,
    title="A pool marked `existing` does not exist",
    why="Pools marked `existing` are never created.",
    fix="Use a pool that exists, or describe a pool to create.",
)
def missing_pool(pool: Pool) -> Iterator[Finding]:
    """The pool marked ``existing`` is not in the account."""
    yield Finding(f"the pool {pool.id!r} is marked `existing`, but does not exist", pool.where)


@ACCOUNT.check(
    "pool-lacks-identity",
    ERROR,
    title="The existing pool does not have the managed identity of `storage`",
    why="Nodes can use only the identities of their pool; their requests to Storage would fail.",
    fix="Create the pool with this identity, or name one that the pool has.",
)
def pool_lacks_identity(context: RuleContext) -> Iterator[Finding]:
    """An existing pool without ``storage.identity``; resource ids are compared without case."""
    wanted, facts = context.spec.storage_identity, context.observed.pool
    if not wanted or not context.existing or facts is None:
        return
    has = identities(facts.properties)
    if wanted.lower() not in map(str.lower, has):
        yield Finding(
            f"the pool {facts.id!r} does not have the identity of `storage`",
            context.spec.place("storage.identity", "storage"),
            f"It has {', '.join(has)}." if has else "It has no identity.",
        )


@ACCOUNT.rule(
    "pool-differs",
    ERROR,
    title="The pool id belongs to a pool that this spec did not create",
    why="Pools that another spec or client created are never changed.",
    fix="Use the pool as it is (`pool: {existing: ID}`), or change `id`.",
)
def pool_differs(
    pool: Pool, facts: PoolFacts, differences: Sequence[Difference]
) -> Iterator[Finding]:
    """A pool of another spec or client, with what differs from the spec."""
    reason = "differs from the spec" if differences else "can be replaced only by its owner"
    yield Finding(
        f"the pool {pool.id!r} {not_created(facts.metadata)} and {reason}",
        pool.where,
        _lines(differences),
        f"Use it as it is (`pool: {{existing: {pool.id}}}`), or change `id`.",
    )


@ACCOUNT.rule(
    "pool-drift",
    WARNING,
    title="Another client changed the pool after this spec created it",
    why="The spec has not changed, so the pool does not change. A different number of nodes is a"
    " step of the plan.",
    fix="`batchspec apply --replace pool` creates it again from the spec.",
)
def pool_drift(pool: Pool, differences: Sequence[Difference]) -> Iterator[Finding]:
    """The properties that another client changed."""
    if differences:
        yield Finding(
            f"another client changed the pool {pool.id!r} after this spec created it",
            pool.where,
            _lines(differences),
        )


def _lines(differences: Sequence[Difference]) -> str:
    return "\n".join(difference.words for difference in differences)


@ACCOUNT.rule(
    "job-not-ours",
    ERROR,
    title="The job id belongs to a job that this spec did not create",
    why="Its tasks belong to another client.",
    fix="Change `id`, or delete that job.",
)
def job_not_ours(spec: Spec, job: JobFacts) -> Iterator[Finding]:
    """An open job of another spec or client."""
    yield Finding(f"the job {job.id!r} {not_created(job.metadata)}", spec.job.where)


def not_created(metadata: Mapping[str, Value]) -> str:
    """Which other spec created a pool, job or schedule with these metadata, if one did."""
    owner = metadata.get(SPEC)
    return f"was created by spec {owner}" if owner else "was not created by this spec"


@ACCOUNT.check(
    "missing-package",
    ERROR,
    title="The account does not have an application package",
    why="The service rejects a pool whose packages do not exist, and a task whose packages do not"
    " exist fails.",
    fix="Upload the package, for example with `az batch application package create`, or fix"
    " `application_package_references`.",
)
def missing_package(context: RuleContext) -> Iterator[Finding]:
    """References to an application or version that the account does not have.

    The Batch service does not report whether an application has a default version.
    """
    known = context.observed.applications
    if known is None:
        return
    versions = {name.lower(): tuple(map(str.lower, found)) for name, found in known.items()}
    uploaded = {(name, each.version) for name, each in context.spec.packages.items()}
    for path, name, version in dict.fromkeys(package_references(context.spec)):
        if (name, version) in uploaded:
            continue
        found = versions.get(name.lower())
        if found is not None and (version is None or version.lower() in found):
            continue
        subject = f"application {name!r}"
        subject = subject if found is None else f"version {version!r} of the {subject}"
        available = ", ".join(found or sorted(known)) or "none"
        yield Finding(
            f"the account has no {subject}",
            context.spec.place(f"{path}.application_package_references", path),
            f"{'Applications' if found is None else 'Versions'} of the account: {available}",
        )


@ACCOUNT.rule(
    "package-differs",
    ERROR,
    title="A version of an application package is in the account with other files",
    why="A version is not replaced: nodes that have it would keep its files, and other runs may use"
    " it.",
    fix="Set another `version`.",
)
def package_differs(package: Package, facts: PackageFacts) -> Iterator[Finding]:
    """The version exists, and its files differ from those of the spec or are not known."""
    stored = facts.stored
    known = stored is not None and (stored.content or stored.md5 is not None)
    what = "has other files" if known else "is in the account, and its files are not known"
    yield Finding(
        f"version {package.version!r} of the package {package.name!r} {what}", package.where
    )


_SPECIAL_TASKS = ("jobManagerTask", "jobPreparationTask", "jobReleaseTask")


def package_references(spec: Spec) -> Iterator[tuple[str, str, str | None]]:
    """Each reference to an application package: the path in the spec, the application, the version.

    The version is ``None`` for the application's default version. References whose names differ
    between tasks are left out.
    """
    yield from _references("pool", spec.pool.properties)
    for key in _SPECIAL_TASKS:
        yield from _references("job", spec.job.properties.record(key))
    for stage in spec.stages:
        yield from _references(f"tasks.{stage.name}", stage.body)


def _references(path: str, body: Record) -> Iterator[tuple[str, str, str | None]]:
    for item in body.records("applicationPackageReferences"):
        name, version = item.get("applicationId"), item.get("version")
        if isinstance(name, str) and (version is None or isinstance(version, str)):
            yield path, name, version
