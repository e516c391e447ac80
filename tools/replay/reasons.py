"""Why an exchange does not apply, and why one that applies may differ: each with its reason.

What may not live here: a reason for what could be mended.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from replay.reading import Exchange

_GONE = {
    "certificates": "certificates are retired and not in api-version 2025-06-01",
    "lifetimejobstats": "lifetime statistics are retired and not in api-version 2025-06-01",
    "lifetimepoolstats": "lifetime statistics are retired and not in api-version 2025-06-01",
    "nodeagentskus": "replaced by supportedimages",
}


_CLOUD_SERVICES = "pools of cloud services are retired and refused by the real service too"


def unbuilt(why: str) -> str:
    """Why an exchange does not apply for which ``why`` something could not be made."""
    if "mountConfiguration" in why:
        return "of a pool that mounts something, which cannot be made here"
    return _CLOUD_SERVICES if "CloudServiceConfigurationRetired" in why else f"not built: {why}"


def does_not_apply(exchange: Exchange) -> str:
    """Why an exchange cannot be replayed; empty when it can."""
    kind = exchange.parts[0].partition("(")[0]
    if kind in _GONE:
        return _GONE[kind]
    if exchange.parts[-1] == "rdp":
        return "remote desktop files are retired and not in api-version 2025-06-01"
    text = json.dumps([exchange.body, exchange.reply])
    if "cloudServiceConfiguration" in text or "Microsoft.WindowsAzure.Plugins" in text:
        return _CLOUD_SERVICES
    if exchange.parts == ("poolusagemetrics",) and exchange.status == 200:
        return "pool usage metrics are retired and refused by the real service too"
    if exchange.mangled:
        return "the recorder did not keep the request's body"
    if exchange.status >= 500:
        return "a fault of that moment"
    return ""


@dataclass(frozen=True, slots=True)
class Reason:
    """Explains an exchange all of whose differences match ``pattern``, where it ``holds``."""

    text: str
    pattern: re.Pattern[str]
    holds: Callable[[Exchange], bool] = lambda _: True


def _reason(text: str, pattern: str, holds: Callable[[Exchange], bool] = lambda _: True) -> Reason:
    return Reason(text, re.compile(pattern), holds)


_REASONS = (
    _reason(
        "nodes have no logs that could be uploaded, which is said (501)",
        r"status 501 NotImplemented for 200",
        lambda exchange: exchange.parts[-1] == "uploadbatchservicelogs",
    ),
    _reason(
        "nothing is mounted on nodes, which is said (501)",
        r"status 501 NotImplemented for 201",
        lambda exchange: "mountConfiguration" in json.dumps(exchange.body),
    ),
    _reason(
        "recorded on a Windows node, which keeps creation times and has no modes of files",
        r"- header ocp-creation-time|\+ header ocp-batch-file-mode"
        r"|- body value\[\]\.properties\.creationTime.*|\+ body value\[\]\.properties\.fileMode.*",
    ),
    _reason(
        "the real service showed a node's address or its name, not always both",
        r"\+ body (value\[\]\.)?endpointConfiguration\.inboundEndpoints"
        r"(: list|\[\]\..*)",
    ),
    _reason(
        "the real service knows the account's subscription, and refuses networks and images of "
        "others; here there is none",
        r"status 201 for 400 InvalidPropertyValue",
        lambda exchange: "different subscription" in json.dumps(exchange.reply),
    ),
    _reason(
        "recorded between two states of a task: shown as active, with an earlier active before it",
        r"- body (value\[\]\.)?previousState(TransitionTime)?: str",
        lambda exchange: '"previousState": "active"' in json.dumps(exchange.reply),
    ),
    _reason(
        "recorded in the moment in which a task began, before its directory was known",
        r"\+ body value\[\]\.nodeInfo\.taskRootDirectory(Url)?: str",
    ),
    _reason(
        "another test's task had run on the node, and was gone from its recent tasks",
        r"\+ body value\[\]\.recentTasks\[\]\.executionInfo\.failureInfo\..*",
    ),
    _reason(
        "an annotation that older api-versions gave a refused task, and no description has",
        r"- body value\[\]\.error@odata\.navigationLinkUrl: str",
    ),
    _reason(
        "nodes of virtual machines could not be reimaged then; now they can",
        r"status 202 for 409 OperationNotValidOnNode",
    ),
)


def why(exchange: Exchange, found: Sequence[str]) -> str:
    """The reason of a difference; empty when there is none."""
    for reason in _REASONS:
        if reason.holds(exchange) and all(reason.pattern.fullmatch(one) for one in found):
            return reason.text
    return ""
