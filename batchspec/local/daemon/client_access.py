"""Environment variables by which clients find the service, and the certificate of https."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal, Self

from batchspec.local.daemon.home import Home, is_private, write_private
from batchspec.local.daemon.status import Endpoints, connection_string
from batchspec.local.sas import account_sas, sas_time
from batchspec.local.settings import RESOURCE_GROUP, SUBSCRIPTION, TrustFiles
from batchspec.local.startup import LocalError

Format = Literal["sh", "powershell", "dotenv", "json"]

SAS_LIFETIME = timedelta(days=30)
"""The validity of the SAS of :func:`variables`, in real time."""

_ALL_PERMISSIONS = "rwdlacuptf"


def variables(endpoints: Endpoints, now: datetime) -> dict[str, str]:
    """Environment variables for clients, with the names that they read.

    The addresses use https, if the service has https ports. Keys and the SAS are omitted if the
    accounts refuse keys. The SAS is valid from ``now`` for :data:`SAS_LIFETIME`. Sources of the
    names: the documentation of the Azure CLI, blobxfer and rclone, and the sources of adlfs and of
    the Rust crate object_store (Polars, Delta Lake).
    """
    https = endpoints.https
    batch_url = https.batch_url if https else endpoints.batch_url
    blob_url = https.blob_url if https else endpoints.blob_url
    name = endpoints.blob_account
    return {
        # The Azure CLI, programs of the Azure SDKs, batchspec
        "AZURE_BATCH_ACCOUNT": endpoints.batch_account,
        "AZURE_BATCH_ENDPOINT": batch_url,
        "AZURE_STORAGE_ACCOUNT": name,
        "AZURE_STORAGE_SERVICE_ENDPOINT": blob_url,
        # Programs of the Azure SDK for the control plane
        "AZURE_SUBSCRIPTION_ID": SUBSCRIPTION,
        "AZURE_RESOURCE_GROUP": RESOURCE_GROUP,
        "AZURE_RESOURCE_MANAGER_ENDPOINT": batch_url,
        "BATCHSPEC_LOCAL_TOKEN_FILE": str(endpoints.token_file),
        # adlfs, object_store
        "AZURE_STORAGE_ACCOUNT_NAME": name,
        # object_store
        "AZURE_STORAGE_ENDPOINT": blob_url,
        **({} if https else {"AZURE_ALLOW_HTTP": "true"}),
        **({} if endpoints.simulation.entra_only else _keys(endpoints, blob_url, now)),
        **(https.trust.variables() if https else {}),
    }


def _keys(endpoints: Endpoints, blob_url: str, now: datetime) -> dict[str, str]:
    """The variables with keys, and the variables with a SAS, which is signed with a key."""
    name, key = endpoints.blob_account, endpoints.blob_key
    expiry = sas_time(now + SAS_LIFETIME)
    sas_url = f"{blob_url}?{account_sas(name, key, _ALL_PERMISSIONS, 'sco', expiry)}"
    return {
        "AZURE_BATCH_ACCESS_KEY": endpoints.batch_key,
        "AZURE_STORAGE_KEY": key,
        "AZURE_STORAGE_CONNECTION_STRING": connection_string(blob_url, name, key),
        "AZURE_STORAGE_ACCOUNT_KEY": key,
        # azcopy and Storage Explorer, as an argument
        "AZURE_STORAGE_SAS_URL": sas_url,
        # rclone: the remote `batchspec:`. rclone 1.60 accepts this form of address only with a SAS.
        "RCLONE_CONFIG_BATCHSPEC_TYPE": "azureblob",
        "RCLONE_CONFIG_BATCHSPEC_SAS_URL": sas_url,
        "BLOBXFER_STORAGE_ACCOUNT": name,
        "BLOBXFER_STORAGE_ACCOUNT_KEY": key,
    }


def env(endpoints: Endpoints, format: Format, now: datetime) -> str:  # noqa: A002  the option's name
    """:func:`variables` as text in ``format``, one variable per line, including the keys."""
    pairs = variables(endpoints, now)
    match format:
        case "sh":
            lines = [f"export {name}={shlex.quote(value)}" for name, value in pairs.items()]
        case "powershell":
            lines = [
                f"$env:{name} = '{value.replace(chr(39), chr(39) * 2)}'"
                for name, value in pairs.items()
            ]
        case "dotenv":
            # Quoted, since a connection string contains semicolons. No value needs escapes.
            lines = [f'{name}="{value}"' for name, value in pairs.items()]
        case "json":
            lines = [json.dumps(pairs, indent=2)]
    return "\n".join(lines) + "\n"


_AUTHORITY = "authority.pem"
_CERTIFICATE = "certificate.pem"
_KEY = "key.pem"
_BUNDLE = "bundle.pem"


@dataclass(frozen=True, slots=True)
class Certificate:
    """The certificate of the services and its private key: files in PEM format."""

    certificate: Path
    key: Path
    trust: TrustFiles

    @classmethod
    def of(cls, home: Home, account: str) -> Self:
        """The certificate of ``home``; created if it does not exist.

        The certificate is valid for the loopback address and for host names with the storage
        account ``account``. The key of the authority is discarded, so that the authority cannot
        issue other certificates.

        Raises:
            LocalError: the folder cannot be written, or other users can read the key.
        """
        folder = home.certificates
        trust = TrustFiles(folder / _AUTHORITY, folder / _BUNDLE)
        files = cls(folder / _CERTIFICATE, folder / _KEY, trust)
        with home.disk_errors():
            folder.mkdir(mode=0o700, exist_ok=True)
            # The bundle is written last. Users can delete any file, such as an exposed key.
            if not all(path.is_file() for path in files._all):
                files._create(account)
            private = is_private(files.key)
        if not private:
            raise LocalError(
                "certificate-exposed",
                f"Other users can read or write the key of the certificate in {files.key}.",
                fix=f"Delete it; the next start creates another one: rm -r {folder}",
            )
        return files

    @property
    def _all(self) -> tuple[Path, ...]:
        return self.certificate, self.key, self.trust.authority, self.trust.bundle

    def _create(self, account: str) -> None:
        # Imported here, since only https needs it: the import takes longer than the import of the
        # rest of the daemon.
        import trustme  # noqa: PLC0415

        authority = trustme.CA(organization_name="batchspec")
        issued = authority.issue_cert(
            "127.0.0.1",
            "localhost",
            f"{account}.blob.localhost",
            # Some clients accept only a suffix with a period, like core.windows.net.
            f"{account}.blob.core.localhost",
            organization_name="batchspec",
        )
        root = authority.cert_pem.bytes().decode()
        chain = "".join(pem.bytes().decode() for pem in issued.cert_chain_pems)
        write_private(self.key, issued.private_key_pem.bytes().decode())
        write_private(self.certificate, chain)
        write_private(self.trust.authority, root)
        write_private(self.trust.bundle, _system_authorities() + root)


def _system_authorities() -> str:
    """The certificates that this system trusts, or else those of Mozilla, in PEM format."""
    import ssl  # noqa: PLC0415  as trustme

    import certifi  # noqa: PLC0415

    cafile = ssl.get_default_verify_paths().cafile
    return Path(cafile or certifi.where()).read_text() + "\n"
