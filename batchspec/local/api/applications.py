"""Operations on applications, and validation of application package references."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from batchspec.local.api.resources import Context
from batchspec.local.store import Application
from batchspec.local.wire import Fault, Reply, Request, list_reply, resource_reply


def list_applications(context: Context, request: Request) -> Reply:
    """``GET /applications``."""
    limit, after = request.max_results(), request.after()
    found = [item for item in context.applications.all() if item.id.lower() > after]
    link = request.next_link(found[limit - 1].id.lower()) if len(found) > limit else None
    shown = [_write(item) for item in found[:limit]]
    return list_reply(shown, "listapplicationsummariesresponses", link)


def get_application(context: Context, request: Request) -> Reply:
    """``GET /applications/{applicationId}``."""
    found = context.applications.get(request.parameters["applicationId"])
    if found is None:
        raise Fault("ApplicationNotFound")
    return resource_reply(_write(found), "getapplicationsummaryresponse/@Element")


def check_references(
    context: Context, references: Iterable[Mapping[str, Any]], *, needs_default: bool
) -> None:
    """Check that all referenced packages exist.

    A reference without a version means the default version. If the application has no default
    version, this is an error only with ``needs_default``: the REST reference requires it for pools,
    while a task fails when it runs.

    Raises:
        Fault: ``InvalidApplicationPackageReferences``, with a value for each invalid reference.
    """
    wrong = []
    for reference in references:
        name, version = reference["applicationId"], reference.get("version")
        found = context.applications.get(name)
        if found is None or (version is not None and found.package(version) is None):
            wrong.append((name, "The specified application package does not exist."))  # recorded
        elif needs_default and found.package(version) is None:
            wrong.append((name, "The specified application does not have a default version."))
    if wrong:
        raise Fault("InvalidApplicationPackageReferences", *wrong)


def _write(application: Application) -> dict[str, Any]:
    """As recorded: without the display name, which only the management plane can set."""
    return {"id": application.id, "versions": list(application.packages)}
