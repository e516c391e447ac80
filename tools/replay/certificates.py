"""Certificates as preconditions of recorded requests."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from batchspec.local.model import CertificateState
from batchspec.local.store import Store
from replay.recordings import Exchange


def ensure_certificates(store: Store, exchange: Exchange) -> None:
    """Give the certificates of a recorded request the states that its reply shows."""
    for thumbprint, state, data in _needed(exchange):
        now = datetime.now(UTC)
        if store.certificates.get(thumbprint) is None:
            store.certificates.add(thumbprint, data, now)
        found = store.certificates.get(thumbprint)
        if found is not None and found.state is not state:
            store.certificates.set_state(found, state, now)


def _needed(exchange: Exchange) -> Iterable[tuple[str, CertificateState, str]]:
    reply: Mapping[str, Any] = exchange.reply or {}
    for shown in (reply, *reply.get("value", ())):
        if "publicData" in shown:
            yield shown["thumbprint"], CertificateState(shown["state"]), shown["publicData"]
    named = re.search(r"thumbprint=([0-9a-f]+)", exchange.parts[0])
    if named and exchange.status != 404 and "publicData" not in reply:
        deleting = reply.get("code") == "CertificateBeingDeleted"
        yield named[1], CertificateState.DELETING if deleting else CertificateState.ACTIVE, ""
