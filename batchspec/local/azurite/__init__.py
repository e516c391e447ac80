"""Azurite, the Azure Storage emulator: Node.js, installation, one running server.

In: `Settings`. Out: an installation and its server process. The daemon restarts the process.
"""

from batchspec.local.azurite.installation import (
    AzuriteStatus,
    Installation,
    NodeJs,
    azurite_status,
    expected_installation,
    find_nodejs,
    install,
    is_complete,
)
from batchspec.local.azurite.server import STOP_SECONDS, AzuriteServer, HttpsListener, LaunchOptions
