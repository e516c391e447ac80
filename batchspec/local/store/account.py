"""The resources of the account itself: application packages and certificates.

``applications/<id>/<version>.zip`` is an application package, and ``applications/<id>/default`` a
text file with the default version. Users can write both. ``applications/<id>/application.json``
contains the data of the control plane: properties, versions without a package, and times; without
this file an application has the defaults. Each call reads the files again. Ids and versions are
case-insensitive.

The table ``certificate`` contains certificates, without their private keys.
"""

from __future__ import annotations

import json
import re
import shutil
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from batchspec.local.model import Certificate, CertificateState, Wire
from batchspec.local.store.database import (
    Database,
    record_reader,
    to_column,
    to_json,
)

_APPLICATION_ID = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_PACKAGE_VERSION = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}", re.ASCII)
# New clients reference an application by its resource id.
_RESOURCE_ID = re.compile(
    r"/subscriptions/[^/]+/resourceGroups/[^/]+/providers/Microsoft\.Batch"
    r"/batchAccounts/[^/]+/applications/([^/]+)",
    re.IGNORECASE,
)
_RECORD, _DEFAULT = "application.json", "default"


@dataclass(frozen=True, slots=True)
class Application:
    """An application: its packages by version (sorted), and its default version."""

    id: str
    packages: dict[str, Path]
    default: str | None

    def package(self, version: str | None) -> tuple[str, Path] | None:
        """The version as it is spelled in the folder, and its zip file; ``None`` if missing."""
        chosen = self.default if version is None else version
        for name, path in self.packages.items():
            if chosen is not None and name.lower() == chosen.lower():
                return name, path
        return None


@dataclass(frozen=True, slots=True)
class ApplicationVersion:
    """A version of an application. ``activated`` is ``None`` until the package is activated."""

    name: str
    modified: datetime
    activated: datetime | None


@dataclass(frozen=True, slots=True)
class ApplicationRecord:
    """An application of the control plane; ``container`` is the container of its packages."""

    id: str
    modified: datetime
    display_name: str | None
    allow_updates: bool
    default: str | None
    container: str | None
    versions: tuple[ApplicationVersion, ...]

    def version(self, name: str) -> ApplicationVersion | None:
        """The version with this name, in any case."""
        return next((one for one in self.versions if one.name.lower() == name.lower()), None)


class Applications:
    """The applications in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writing = threading.Lock()

    # --- packages that nodes can use

    def all(self) -> list[Application]:
        """All applications that have a package, by id."""
        found = [self._read(folder) for folder in self._folders()]
        return [application for application in found if application.packages]

    def get(self, reference: str) -> Application | None:
        """The application with this id or resource id, if it has a package."""
        name = application_id(reference).lower()
        return next((found for found in self.all() if found.id.lower() == name), None)

    # --- the control plane's side

    def records(self) -> list[ApplicationRecord]:
        """All applications, by id."""
        return [_record(folder, self._read(folder)) for folder in self._folders()]

    def record(self, name: str) -> ApplicationRecord | None:
        """The application with this id, in any case."""
        return next((found for found in self.records() if found.id.lower() == name.lower()), None)

    def save(self, name: str, now: datetime, properties: Mapping[str, Any]) -> ApplicationRecord:
        """Create an application, or set its ``displayName``, ``allowUpdates`` or container."""
        with self._changed_content(name) as content:
            content |= {**properties, "modified": _write_time(now)}
        return self._found(name)

    def set_default(self, name: str, version: str) -> None:
        """Set the default version of an application."""
        _write(self._application_folder(name) / _DEFAULT, version + "\n")

    def save_version(
        self, name: str, version: str, now: datetime, *, activated: bool
    ) -> ApplicationRecord:
        """Record the creation, or the activation, of a version."""
        with self._changed_content(name) as content:
            known = content.setdefault("versions", {})
            spelled = next((one for one in known if one.lower() == version.lower()), version)
            before = known.get(spelled, {})
            stamp = _write_time(now)
            known[spelled] = {**before, "modified": stamp} | (
                {"activated": stamp} if activated else {}
            )
        return self._found(name)

    def package_path(self, name: str, version: str) -> Path:
        """The path of the package of a version."""
        return self._application_folder(name) / f"{version}.zip"

    def delete_version(self, name: str, version: str) -> None:
        """Delete a version with its package. Without its default version, an application has no
        default version.
        """
        application = self._read(self._application_folder(name))
        with self._changed_content(name) as content:
            known = content.get("versions", {})
            content["versions"] = {
                one: value for one, value in known.items() if one.lower() != version.lower()
            }
        found = application.package(version)
        if found is not None:
            found[1].unlink(missing_ok=True)
        if (application.default or "").lower() == version.lower():
            (self._application_folder(name) / _DEFAULT).unlink(missing_ok=True)

    def delete(self, name: str) -> None:
        """Delete an application with all its versions."""
        shutil.rmtree(self._application_folder(name))

    def _folders(self) -> list[Path]:
        found = self._folder.iterdir() if self._folder.is_dir() else ()
        named = [path for path in found if _APPLICATION_ID.fullmatch(path.name) and path.is_dir()]
        return sorted(named, key=lambda path: path.name.lower())

    def _application_folder(self, name: str) -> Path:
        """The folder of an application, as an existing folder is spelled."""
        named = (path for path in self._folders() if path.name.lower() == name.lower())
        return next(named, self._folder / name)

    def _read(self, folder: Path) -> Application:
        zips = sorted(path for path in folder.glob("*.zip") if path.is_file())
        packages = {path.stem: path for path in zips if _PACKAGE_VERSION.fullmatch(path.stem)}
        return Application(folder.name, packages, _default_version(folder / _DEFAULT))

    def _found(self, name: str) -> ApplicationRecord:
        folder = self._application_folder(name)
        return _record(folder, self._read(folder))

    @contextmanager
    def _changed_content(self, name: str) -> Iterator[dict[str, Any]]:
        """The content of the file of an application, which is written on exit."""
        with self._writing:
            folder = self._application_folder(name)
            folder.mkdir(parents=True, exist_ok=True)
            content = _content(folder)
            yield content
            _write(folder / _RECORD, json.dumps(content, indent=2) + "\n")


def application_id(reference: str) -> str:
    """The id of an application, from its id or its resource id."""
    found = _RESOURCE_ID.fullmatch(reference)
    return reference if found is None else found[1]


def is_application_id(text: str) -> bool:
    """Whether a text is a valid application id."""
    return _APPLICATION_ID.fullmatch(text) is not None


def is_package_version(text: str) -> bool:
    """Whether a text is a valid version of an application."""
    return _PACKAGE_VERSION.fullmatch(text) is not None


def _record(folder: Path, application: Application) -> ApplicationRecord:
    content = _content(folder)
    noted = content.get("versions", {})
    names = {name.lower(): name for name in (*noted, *application.packages)}
    versions = (
        _version(names[key], noted.get(names[key], {}), application) for key in sorted(names)
    )
    return ApplicationRecord(
        application.id,
        _read_time(content.get("modified"), folder),
        content.get("displayName"),
        content.get("allowUpdates", True),
        application.default,
        content.get("container"),
        tuple(versions),
    )


def _version(name: str, noted: Mapping[str, str], application: Application) -> ApplicationVersion:
    package = application.package(name)
    if package is None:
        return ApplicationVersion(name, datetime.fromisoformat(noted["modified"]), None)
    modified = _read_time(noted.get("modified"), package[1])
    return ApplicationVersion(name, modified, _read_time(noted.get("activated"), package[1]))


def _content(folder: Path) -> dict[str, Any]:
    path = folder / _RECORD
    found: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    return found


def _default_version(path: Path) -> str | None:
    return path.read_text(encoding="utf-8").strip() if path.is_file() else None


def _read_time(text: str | None, path: Path) -> datetime:
    """A time of a record; for a file of a user, the time of its last change."""
    if text is None:
        return datetime.fromtimestamp(path.stat().st_mtime, UTC)
    return datetime.fromisoformat(text)


def _write_time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat()


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


THUMBPRINT_ALGORITHM = "sha1"
"""The only algorithm of thumbprints."""
NO_CERTIFICATE = "The specified certificate does not exist."
"""The recorded reason of an invalid reference to a certificate."""


class Certificates:
    """The certificates of the account by thumbprint, in lower case."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def get(self, thumbprint: str) -> Certificate | None:
        """The certificate with this thumbprint."""
        row = self._db.one("SELECT * FROM certificate WHERE thumbprint = ?", (thumbprint,))
        return None if row is None else _read_certificate(row)

    def all(self) -> list[Certificate]:
        """All certificates, by thumbprint."""
        return [
            _read_certificate(row)
            for row in self._db.all("SELECT * FROM certificate ORDER BY thumbprint")
        ]

    def add(self, thumbprint: str, public_data: str, now: datetime) -> None:
        """Add an active certificate, which must be new."""
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
        """Change the state of a certificate; ``error`` is the error of a deletion."""
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


_read_certificate = record_reader(Certificate)
