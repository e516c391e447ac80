"""The table ``certificate``: the certificates of the account, without their private keys."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable
from datetime import datetime

from batchspec.local.model import Certificate, CertificateState, Wire
from batchspec.local.store.database import (
    Database,
    from_column,
    from_json,
    from_optional,
    to_column,
    to_json,
)

THUMBPRINT_ALGORITHM = "sha1"
"""The only algorithm of thumbprints."""
NO_CERTIFICATE = "The specified certificate does not exist."
"""Recorded: the reason why a reference to a certificate is invalid."""


class Certificates:
    """The certificates of the account by thumbprint, in lower case."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def get(self, thumbprint: str) -> Certificate | None:
        """The certificate with this thumbprint."""
        row = self._db.one("SELECT * FROM certificate WHERE thumbprint = ?", (thumbprint,))
        return None if row is None else _read(row)

    def all(self) -> list[Certificate]:
        """All certificates, by thumbprint."""
        return [_read(row) for row in self._db.all("SELECT * FROM certificate ORDER BY thumbprint")]

    def add(self, thumbprint: str, public_data: str, now: datetime) -> None:
        """Add an active certificate, which must not exist."""
        self._db.insert(
            "certificate",
            {
                "thumbprint": thumbprint,
                "public_data": public_data,
                "state": CertificateState.ACTIVE,
                "state_since": to_column(now),
            },
        )

    def set_state(
        self,
        certificate: Certificate,
        state: CertificateState,
        now: datetime,
        error: Wire | None = None,
    ) -> None:
        """Bring a certificate to ``state``; ``error`` is that of a deletion."""
        values: dict[str, object] = {
            "state": state,
            "state_since": to_column(now),
            "previous_state": certificate.state,
            "previous_since": to_column(certificate.state_since),
            "error": None if error is None else to_json(error),
        }
        self._db.update("certificate", values, "seq = ?", (certificate.seq,))

    def delete(self, certificate: Certificate) -> None:
        """Delete a certificate."""
        self._db.write("DELETE FROM certificate WHERE seq = ?", (certificate.seq,))

    def missing(self, references: Iterable[Wire]) -> list[str]:
        """The references, in wire form, to certificates that do not exist.

        Each is ``ALGORITHM-THUMBPRINT`` in lower case, as recorded in errors.
        """
        keys = [
            (one["thumbprintAlgorithm"].lower(), one["thumbprint"].replace(" ", "").lower())
            for one in references
        ]
        return [
            f"{algorithm}-{thumbprint}"
            for algorithm, thumbprint in keys
            if algorithm != THUMBPRINT_ALGORITHM or self.get(thumbprint) is None
        ]

    def users(self, thumbprint: str) -> Collection[str]:
        """The ids of the pools that reference a certificate, by id."""
        rows = self._db.all(
            "SELECT DISTINCT pool.id FROM pool, json_each(pool.body, '$.certificateReferences') "
            "WHERE lower(json_extract(value, '$.thumbprint')) = ? ORDER BY pool.key",
            (thumbprint,),
        )
        return [row["id"] for row in rows]


def _read(row: sqlite3.Row) -> Certificate:
    return Certificate(
        seq=row["seq"],
        thumbprint=row["thumbprint"],
        public_data=row["public_data"],
        state=CertificateState(row["state"]),
        state_since=from_column(row["state_since"]),
        previous_state=None
        if row["previous_state"] is None
        else CertificateState(row["previous_state"]),
        previous_since=from_optional(row["previous_since"]),
        error=from_json(row["error"]),
    )
