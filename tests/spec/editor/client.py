"""A small client of the language server protocol: as much of an editor as the tests need."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SETTINGS = {
    "yaml": {"hover": True, "completion": True, "validate": True, "schemaStore": {"enable": False}}
}


@dataclass(slots=True)
class Editor:
    """A running language server. Every answer is waited for; the test's time limit is the limit."""

    process: subprocess.Popen[bytes]
    schema: Path
    _sent: int = 0
    _diagnostics: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def diagnostics(self, text: str) -> list[str]:
        """What the editor underlines in a text, as ``LINE: MESSAGE``, lines from 1."""
        return self._reported(self._open(text))

    def _reported(self, uri: str) -> list[str]:
        while uri not in self._diagnostics:
            self._take(self._read())
        return [
            f"{found['range']['start']['line'] + 1}: {found['message']}"
            for found in self._diagnostics[uri]
        ]

    def diagnostics_of(self, path: Path) -> list[str]:
        """The same for a file, whose first line names its schema."""
        return self._reported(self._open_as(path.as_uri(), path.read_text("utf-8")))

    def completion(self, text: str) -> list[str]:
        """What it offers at the ``^`` in a text."""
        answer = self._at_mark("textDocument/completion", text)
        items = answer["items"] if isinstance(answer, dict) else answer or []
        return [item["label"] for item in items]

    def hover(self, text: str) -> str:
        """What it tells of what stands after the ``^`` in a text."""
        answer = self._at_mark("textDocument/hover", text)
        return str(answer["contents"]["value"]) if answer else ""

    def _at_mark(self, method: str, text: str) -> Any:
        before, _, after = text.partition("^")
        line, character = before.count("\n") + 1, len(before.rpartition("\n")[2])
        position = {"line": line, "character": character}
        uri = self._open(before + after)
        return self.request(method, {"textDocument": {"uri": uri}, "position": position})

    def _open(self, text: str) -> str:
        modeline = f"# yaml-language-server: $schema={self.schema.as_uri()}\n"
        return self._open_as(f"file:///spec-{self._sent}.yaml", modeline + text)

    def _open_as(self, uri: str, text: str) -> str:
        document = {"uri": uri, "languageId": "yaml", "version": 1, "text": text}
        self.notify("textDocument/didOpen", {"textDocument": document})
        return uri

    def request(self, method: str, parameters: object) -> Any:
        """Ask, and wait for the answer."""
        self._sent += 1
        number = self._sent
        self._send({"id": number, "method": method, "params": parameters})
        while (message := self._read()).get("id") != number or "method" in message:
            self._take(message)
        assert "error" not in message, message
        return message["result"]

    def notify(self, method: str, parameters: object) -> None:
        """Tell something."""
        self._sent += 1
        self._send({"method": method, "params": parameters})

    def _take(self, message: dict[str, Any]) -> None:
        """What the server says or asks of itself."""
        if message.get("method") == "textDocument/publishDiagnostics":
            self._diagnostics[message["params"]["uri"]] = message["params"]["diagnostics"]
        elif message.get("method") == "workspace/configuration":
            asked = [item.get("section", "") for item in message["params"]["items"]]
            answer = [SETTINGS.get(section.strip("[]"), {}) for section in asked]
            self._send({"id": message["id"], "result": answer})
        elif "method" in message and "id" in message:
            self._send({"id": message["id"], "result": None})

    def _send(self, message: dict[str, Any]) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        assert self.process.stdin is not None
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        self.process.stdin.flush()

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        length = 0
        while (header := self.process.stdout.readline().strip()) or not length:
            assert header, "the language server has ended"
            name, _, value = header.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        message: dict[str, Any] = json.loads(self.process.stdout.read(length))
        return message


@contextmanager
def opened(command: list[str], schema: Path) -> Iterator[Editor]:
    """An editor on a language server, which is ended afterwards."""
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        editor = Editor(process, schema)
        capabilities = {
            "workspace": {"configuration": True},
            "textDocument": {"hover": {"contentFormat": ["markdown"]}, "completion": {}},
        }
        wanted = {"processId": None, "rootUri": None, "capabilities": capabilities}
        editor.request("initialize", wanted)
        editor.notify("initialized", {})
        editor.notify("workspace/didChangeConfiguration", {"settings": SETTINGS})
        yield editor
    finally:
        process.kill()
        process.wait()
