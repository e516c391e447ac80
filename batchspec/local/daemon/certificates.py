"""The certificate with which the services use https, and the files that make clients trust it."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from batchspec.local.daemon.home import Home, is_private, write_private
from batchspec.local.settings import TrustFiles
from batchspec.local.startup import LocalError

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

        It is valid for the loopback address and for host names with the storage account
        ``account``. The key of the authority is not kept, so that it cannot issue another one.

        Raises:
            LocalError: the folder cannot be written, or other users can read the key.
        """
        folder = home.certificates
        trust = TrustFiles(folder / _AUTHORITY, folder / _BUNDLE)
        files = cls(folder / _CERTIFICATE, folder / _KEY, trust)
        with home.disk_errors():
            folder.mkdir(mode=0o700, exist_ok=True)
            # The bundle is written last; a user may have deleted any file, such as an exposed key.
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
        # Its import takes longer than that of the rest of the daemon, and only https needs it.
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
    """The certificates that this system trusts, in PEM format; those of Mozilla if it has none."""
    import certifi  # noqa: PLC0415  as trustme

    cafile = ssl.get_default_verify_paths().cafile
    return Path(cafile or certifi.where()).read_text() + "\n"
