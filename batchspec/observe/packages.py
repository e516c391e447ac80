"""The application packages of a spec: a digest of their files, and what the account has."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import AsyncIterator, Iterator

from batchspec.account import Account
from batchspec.diagnostics import Diagnostic
from batchspec.observe.spool import Spool, Working
from batchspec.plan import OPEN
from batchspec.plan.observed import PackageFacts
from batchspec.spec import Package, Record, Spec, Value


async def packages_of(
    spec: Spec, account: Account, spool: Spool, working: Working
) -> dict[str, PackageFacts]:
    """The packages by name.

    Raises:
        ServiceError: the account refused, or could not be reached.
    """
    found = {}
    for name, package in spec.packages.items():
        working(f"reading package {name}")
        files = spool.files(package.source.key)
        stored = await account.applications.get_package(name, package.version)
        found[name] = PackageFacts(files, _content(package, spool), stored)
    return found


def bad_archives(spec: Spec, spool: Spool) -> Iterator[Diagnostic]:
    """Archives that nodes could not unpack; the service accepts them. Reads only their end."""
    for package in spec.packages.values():
        for file in spool.files(package.source.key) if package.is_archive else ():
            if not zipfile.is_zipfile(file.path):
                yield Diagnostic(
                    "bad-package",
                    f"the file {str(file.path)!r} of the package `{package.name}` is not a zip"
                    " archive",
                    where=package.where,
                    fix="Create it again, or let batchspec build the archive: `files: [PATTERN]`.",
                )


def _content(package: Package, spool: Spool) -> str:
    """A digest of the paths, contents and modes of the files; of an archive its content."""
    digest = hashlib.sha256(b"archive" if package.is_archive else b"files")
    for file in spool.files(package.source.key):
        name = b"" if package.is_archive else os.fsencode(file.blob)
        mode = b"x" if not package.is_archive and os.access(file.path, os.X_OK) else b"-"
        digest.update(b"%d:%s%s%s" % (len(name), name, mode, file.md5))
    return digest.hexdigest()


async def package_users(account: Account, name: str, version: str) -> AsyncIterator[str]:
    """The pools, open jobs and their tasks that refer to a version of an application package.

    A reference without a version is one to the default version, and counts.

    Raises:
        ServiceError: the account refused, or could not be reached.
    """

    def refers(body: Value) -> bool:
        return any(_is_reference(each, name, version) for each in _references(body))

    async for pool in account.pools.list():
        if pool.state != "deleting" and refers(pool.properties):
            yield f"pool {pool.id}"
    async for job in account.jobs.list():
        if job.state not in OPEN:
            continue
        if refers(job.properties):
            yield f"job {job.id}"
            continue
        async for task in account.tasks.list_bodies(job.id):
            if task.get("state") != "completed" and refers(task):
                yield f"task {task['id']} of job {job.id}"
                break


def _references(body: Value) -> Iterator[Record]:
    """Each reference to an application package in a body, also in tasks within it."""
    if isinstance(body, Record):
        for key, value in body.items():
            if key == "applicationPackageReferences" and isinstance(value, tuple):
                yield from (each for each in value if isinstance(each, Record))
            else:
                yield from _references(value)


def _is_reference(reference: Record, name: str, version: str) -> bool:
    # Clients may refer to an application by its resource id.
    application = str(reference.get("applicationId", "")).rpartition("/")[2]
    found = reference.get("version")
    same = found is None or str(found).lower() == version.lower()
    return same and application.lower() == name.lower()
