"""The accounts of the embedded service: addresses and keys, containers, and options of rclone."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from measuring import Setting
from peers import BATCHSPEC

_STORAGE = (sys.executable, str(Path(__file__).with_name("storage.py")))


def accounts(setting: Setting) -> dict[str, str]:
    """The variables with the addresses and keys of the embedded service, which is started."""
    setting.run([*BATCHSPEC, "local", "start"])
    words = shlex.split(setting.run([*BATCHSPEC, "local", "env"]))
    return dict(word.split("=", 1) for word in words if "=" in word)


def create_container(setting: Setting, name: str) -> str:
    """Create a container; its URL with a signature for a day."""
    return setting.run([*_STORAGE, "create", name], **accounts(setting)).strip()


def delete_container(setting: Setting, name: str) -> None:
    """Delete a container, if it exists."""
    setting.run([*_STORAGE, "delete", name], **accounts(setting))


def rclone(url: str) -> list[str]:
    """The remote for the signed URL of a container, and the options that select the remote."""
    container = url.partition("?")[0].rpartition("/")[2]
    return [f":azureblob:{container}", "--azureblob-sas-url", url, "--transfers=16"]
