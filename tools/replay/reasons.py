"""Reasons why a recorded exchange does not apply, or why its replay differs.

A difference that could be fixed in the service must not be listed here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from replay.recordings import Exchange

_GONE = {
    "lifetimejobstats": "lifetime statistics are retired",
    "lifetimepoolstats": "lifetime statistics are retired",
}


_CLOUD_SERVICES = "Cloud Services pools are retired and also rejected by the real service"


def setup_failed(why: str) -> str:
    """The reason why an exchange does not apply whose precondition failed with ``why``."""
    return _CLOUD_SERVICES if "CloudServiceConfigurationRetired" in why else f"not set up: {why}"


def does_not_apply(exchange: Exchange) -> str:
    """The reason why an exchange cannot be replayed; empty if it can."""
    kind = exchange.parts[0].partition("(")[0]
    if kind in _GONE:
        return _GONE[kind]
    if exchange.parts[-1] == "rdp":
        return "remote desktop files are for Windows nodes"
    text = json.dumps([exchange.body, exchange.reply])
    if "cloudServiceConfiguration" in text or "Microsoft.WindowsAzure.Plugins" in text:
        return _CLOUD_SERVICES
    if exchange.parts == ("poolusagemetrics",) and exchange.status == 200:
        return "pool usage metrics are retired and also rejected by the real service"
    if exchange.mangled:
        return "the recording does not contain the request body"
    if exchange.status >= 500:
        return "a transient server error"
    return ""


@dataclass(frozen=True, slots=True)
class Reason:
    """Explains an exchange for which ``holds`` is true and all differences match ``pattern``."""

    text: str
    pattern: re.Pattern[str]
    holds: Callable[[Exchange], bool] = lambda _: True


def _reason(text: str, pattern: str, holds: Callable[[Exchange], bool] = lambda _: True) -> Reason:
    return Reason(text, re.compile(pattern), holds)


_REASONS = (
    _reason(
        "recorded on a Windows node, which has creation times and no file modes",
        r"- header ocp-creation-time|\+ header ocp-batch-file-mode"
        r"|- body value\[\]\.properties\.creationTime.*|\+ body value\[\]\.properties\.fileMode.*",
    ),
    _reason(
        "the real service did not always return both the address and the name of a node",
        r"\+ body (value\[\]\.)?endpointConfiguration\.inboundEndpoints"
        r"(: list|\[\]\..*)",
    ),
    _reason(
        "recorded during a state transition: the task is active, and so is its previous state",
        r"- body (value\[\]\.)?previousState(TransitionTime)?: str",
        lambda exchange: '"previousState": "active"' in json.dumps(exchange.reply),
    ),
    _reason(
        "recorded while a task started, before its directory was known",
        r"\+ body value\[\]\.nodeInfo\.taskRootDirectory(Url)?: str",
    ),
    _reason(
        "a task of another test had run on the node and was no longer among its recent tasks",
        r"\+ body value\[\]\.recentTasks\[\]\.executionInfo\.failureInfo\..*",
    ),
    _reason(
        "an annotation of older api-versions that no API description contains",
        r"- body value\[\]\.error@odata\.navigationLinkUrl: str",
    ),
)


def why(exchange: Exchange, found: Sequence[str]) -> str:
    """The reason of the differences ``found``; empty if none is known."""
    for reason in _REASONS:
        if reason.holds(exchange) and all(reason.pattern.fullmatch(one) for one in found):
            return reason.text
    return ""
