"""The application packages of a spec: which of them to upload."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from batchspec.diagnostics import Diagnostic
from batchspec.plan.actions import UploadPackage
from batchspec.plan.observed import Observed, PackageFacts, totals
from batchspec.plan.plan import Step, Verb
from batchspec.plan.rules.account import package_differs
from batchspec.spec import Package, Spec


def changed_packages(spec: Spec, packages: Mapping[str, PackageFacts]) -> Iterator[Diagnostic]:
    """Versions in the account with other files: also of a finished run, whose tasks used them."""
    for name, facts in packages.items():
        stored = facts.stored
        if stored is not None and stored.active and not _is_same(spec.packages[name], facts):
            yield from package_differs(spec.packages[name], facts)


def package_steps(spec: Spec, observed: Observed) -> Iterator[Step]:
    """For each package a step that uploads it, or that keeps its version in the account."""
    for name, facts in observed.packages.items():
        yield package_step(spec.packages[name], facts)


def package_step(package: Package, facts: PackageFacts) -> Step:
    """The step that uploads a package, or that keeps its version in the account."""
    name = package.name
    step_id, subject = f"package:{name}", f"package {name} {package.version}"
    reason = _why(facts)
    if not reason:
        return Step(step_id, None, Verb.KEEP, subject, "up to date", items=len(facts.files))
    count, size = totals(facts.files)
    upload = UploadPackage(
        name, package.version, facts.files, size, facts.content, package.is_archive
    )
    return Step(step_id, upload, Verb.UPLOAD, subject, reason, items=count)


def _why(facts: PackageFacts) -> str:
    """Why the package is uploaded; empty if its version is in the account."""
    if facts.stored is None:
        return "new"
    return "" if facts.stored.active else "an earlier upload was not completed"


def _is_same(package: Package, facts: PackageFacts) -> bool:
    """Whether the version in the account has the content of the spec."""
    stored = facts.stored
    if stored is None or stored.content:
        return stored is not None and stored.content == facts.content
    archives = [file.md5 for file in facts.files] if package.is_archive else []
    return stored.md5 is not None and archives == [stored.md5]
