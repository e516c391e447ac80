"""A running Azurite: readiness, access only with the key, a stop without loss, no orphans."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from azure.core.exceptions import HttpResponseError
from azure.storage.blob import BlobServiceClient

from batchspec.local import LocalError
from batchspec.local.azurite import (
    AzuriteServer,
    Installation,
    LaunchOptions,
    expected_installation,
    find_nodejs,
)
from batchspec.local.process import Lock, is_locked, wait_free
from batchspec.local.settings import Settings

if TYPE_CHECKING:
    from tests.conftest import BlobStore

KEY = base64.b64encode(b"k" * 64).decode()
WELL_KNOWN = (
    "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey="
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==;"
    "BlobEndpoint=http://127.0.0.1:{port}/devstoreaccount1;"
)


@pytest.fixture
def launch(azurite_installed: Path, tmp_path: Path) -> LaunchOptions:
    settings = Settings.read(os.environ)
    return LaunchOptions(
        node=find_nodejs(settings),
        installed=expected_installation(settings.cache),
        account="acc",
        key=KEY,
        log=tmp_path / "azurite.log",
        location=tmp_path / "blobs",
    )


def client(port: int, key: str = KEY) -> BlobServiceClient:
    return BlobServiceClient(
        f"http://127.0.0.1:{port}/acc",
        credential={"account_name": "acc", "account_key": key},
        retry_total=0,
    )


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def script(launch: LaunchOptions, tmp_path: Path, source: str) -> LaunchOptions:
    """Launch options that run a script instead of Azurite."""
    entry = tmp_path / "src" / "blob" / "main.js"
    modules = {
        entry: source,
        entry.parent / "utils" / "constants.js": 'exports.USERDELEGATIONKEY_SIGNING_SEED = "";',
        entry.parent / "node_modules" / "express.js": "exports.request = {get query() {}};",
        entry.parents[1] / "common" / "utils" / "utils.js": "",
        entry.parent / "generated" / "artifacts" / "operation.js": "exports.default = {};",
        entry.parent / "generated" / "artifacts" / "specifications.js": "",
        entry.parent / "generated" / "utils" / "utils.js": "",
        entry.parent / "generated" / "middleware" / "dispatch.middleware.js": "",
    }
    for path, text in modules.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return replace(launch, installed=Installation(tmp_path, entry, "0"))


def test_a_graceful_stop_keeps_recently_acknowledged_writes(launch: LaunchOptions) -> None:
    server = AzuriteServer.spawn(launch, port=0)
    with client(server.wait_ready()) as store:
        store.create_container("box").upload_blob("b", b"hello")
    assert server.stop()

    again = AzuriteServer.spawn(launch, port=0)
    try:
        with client(again.wait_ready()) as store:
            assert store.get_blob_client("box", "b").download_blob().readall() == b"hello"
    finally:
        again.stop()


def test_blobs_in_the_saved_index_survive_sigkill(launch: LaunchOptions) -> None:
    assert launch.location is not None
    index = launch.location / "__azurite_db_blob__.json"
    first = AzuriteServer.spawn(launch, port=0)
    container = client(first.wait_ready()).create_container("data")
    for number in range(20):
        container.upload_blob(f"blob-{number}", b"x" * number)
    until(lambda: index.exists() and "blob-19" in index.read_text())
    first.process.kill()
    first.process.wait()
    second = AzuriteServer.spawn(launch, port=0)
    container = client(second.wait_ready()).get_container_client("data")
    found = {
        blob.name: container.download_blob(blob.name).readall() for blob in container.list_blobs()
    }
    assert found == {f"blob-{number}": b"x" * number for number in range(20)}
    second.stop()


def test_azurite_does_not_wait_for_the_disk_after_each_blob(launch: LaunchOptions) -> None:
    # A descriptor that does not exist is an error of the real function.
    line = "require('fs').fdatasync(-1, error => process.exit(error === null ? 0 : 1))"
    (module,) = (part for part in launch.command(0) if part.endswith("blob_writes.js"))
    node = os.fspath(launch.node.executable)
    subprocess.run([node, "--require", module, "-e", line], check=True)


def run_module(launch: LaunchOptions, name: str, source: str) -> None:
    """Run a script after a module that is loaded before Azurite."""
    (module,) = (part for part in launch.command(0) if part.endswith(name))
    command = [launch.node.executable, "--require", module, "-e", source, launch.installed.entry]
    subprocess.run(command, check=True)


def test_a_blob_is_written_completely(launch: LaunchOptions, tmp_path: Path) -> None:
    path = tmp_path / "extent"
    source = f"""
      const assert = require("assert"), fs = require("fs"), path = {json.dumps(str(path))};
      const write = fs.write; // of at most 1,000 bytes
      fs.write = (fd, data, from, length, ...more) =>
        write(fd, data, from, Math.min(length, 1000), ...more);
      const fd = fs.openSync(path, "a");
      const stream = fs.createWriteStream(path, {{fd, autoClose: false}});
      stream.on("finish", () => fs.appendFileSync(fd, "end")); // still open
      for (const letter of "abc") stream.write(Buffer.alloc(2500, letter));
      stream.end();
      const closed = fs.createWriteStream(path, {{fd: 12345, autoClose: false}});
      closed.on("error", (error) => fs.writeFileSync(path + ".error", error.code));
      closed.end("x");
    """
    run_module(launch, "blob_writes.js", source)
    assert path.read_text() == "a" * 2500 + "b" * 2500 + "c" * 2500 + "end"
    assert Path(f"{path}.error").read_text() == "EBADF"


def test_the_query_of_a_request_is_parsed_once(launch: LaunchOptions) -> None:
    source = """
      const assert = require("assert"), path = require("path"), query = require("querystring");
      const { request } = require(require.resolve("express", {paths: [process.argv[1]]}));
      const app = { get: () => query.parse };
      const make = (url) => Object.assign(Object.create(request), { app, url });
      const one = make("/data/a?comp=block&sig=a%2Bb");
      assert.deepEqual({...one.query}, {comp: "block", sig: "a+b"});
      assert.strictEqual(one.query, one.query);
      assert.throws(() => { "use strict"; one.query.comp = "list"; }, TypeError);
      assert.deepEqual({...make("/data?a=1&a=2").query}, {a: ["1", "2"]});
      one.url = "/data";
      assert.deepEqual({...one.query}, {});
    """
    run_module(launch, "request_caches.js", source)


def test_signatures_are_those_of_the_key_and_the_text(launch: LaunchOptions) -> None:
    source = """
      const assert = require("assert"), crypto = require("crypto"), path = require("path");
      const folder = path.dirname(process.argv[1]);
      const { computeHMACSHA256: sign } = require(path.join(folder, "../common/utils/utils.js"));
      for (let round = 0; round < 2; round++)
        for (let key = 0; key < 20; key++)
          for (let text = 0; text < 80; text++) {
            const secret = Buffer.from([key, 200, 0]);
            const hmac = crypto.createHmac("sha256", secret).update(`${text}\u00e9`);
            assert.strictEqual(sign(`${text}\u00e9`, secret), hmac.digest("base64"));
          }
    """
    run_module(launch, "request_caches.js", source)


def test_each_request_has_the_operation_of_azurite(launch: LaunchOptions) -> None:
    # With a header that no client sends, the module calls the dispatcher of Azurite unchanged.
    source = """
      const assert = require("assert"), path = require("path");
      const folder = path.join(path.dirname(process.argv[1]), "generated");
      const generated = (name) => require(path.join(folder, name));
      const { default: operations } = generated("artifacts/operation.js");
      const { default: specifications } = generated("artifacts/specifications.js");
      const { default: dispatch } = generated("middleware/dispatch.middleware.js");
      const logger = { verbose() {}, info() {}, error() {} };
      const operation = (method, dispatchPattern, query, headers) => {
        const context = { dispatchPattern };
        let given;
        dispatch(context, {
          getMethod: () => method,
          getPath: () => assert.fail(),
          getHeader: (name) => headers[name.toLowerCase()],
          getQuery: (name) => query[name],
        }, (...values) => {
          given = values.map((value) => value.name);
          assert.strictEqual(generated("artifacts/operation.js").default, operations);
        }, logger);
        return { found: operations[context.operation], given };
      };
      const found = new Set();
      const value = ({ mapper }) => mapper.defaultValue ?? mapper.type.allowedValues?.[0] ?? "x";
      for (const specification of Object.values(specifications))
        for (const method of ["GET", "PUT", "HEAD", "POST", "DELETE", "OPTIONS"])
          for (const pattern of ["/", "/container", "/container/blob"])
            for (const all of [true, false]) {
              const some = (parameters = []) =>
                parameters.filter(({ mapper }) => all || mapper.required);
              const query = Object.fromEntries(some(specification.queryParameters)
                .map((each) => [each.mapper.serializedName, value(each)]));
              const headers = Object.fromEntries(some(specification.headerParameters)
                .map((each) => [(each.mapper.serializedName ?? "").toLowerCase(), value(each)]));
              const one = operation(method, pattern, query, headers);
              headers["x-http-method"] = "none";
              assert.deepEqual(one, operation(method, pattern, query, headers));
              found.add(one.found);
            }
      assert.ok(found.size > 50, `${found.size} operations`);
      assert.ok(found.has("BlockBlob_Upload") && found.has(undefined));
    """
    run_module(launch, "request_caches.js", source)


def test_only_the_key_of_the_account_gives_access(azurite: BlobStore) -> None:
    port = int(azurite.url.rpartition(":")[2].partition("/")[0])
    with BlobServiceClient.from_connection_string(azurite.connection_string) as right:
        assert list(right.list_containers()) is not None
    for wrong in (
        azurite.connection_string.replace(azurite.key, KEY),
        WELL_KNOWN.format(port=port),
    ):
        with (
            BlobServiceClient.from_connection_string(wrong, retry_total=0) as stranger,
            pytest.raises(HttpResponseError) as caught,
        ):
            list(stranger.list_containers())
        assert caught.value.status_code in {403, 404}


def test_a_port_in_use_is_an_error_with_the_log(launch: LaunchOptions, tmp_path: Path) -> None:
    first = AzuriteServer.spawn(launch, port=0)
    try:
        second = AzuriteServer.spawn(
            replace(launch, location=tmp_path / "other", log=tmp_path / "other.log"),
            port=first.wait_ready(),
        )
        with pytest.raises(LocalError) as caught:
            second.wait_ready()
    finally:
        first.stop()
    assert caught.value.code == "azurite-port-taken"
    assert any("EADDRINUSE" in line for line in caught.value.lines)
    assert caught.value.log == tmp_path / "other.log"


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ("console.log('The option \"bogus\" is unknown')", "azurite-exited"),
        ("require('nothing-of-that-name')", "azurite-damaged"),
        ("process.exit(7)", "azurite-exited"),
    ],
    ids=["an exit with 0", "a missing module", "an exit with 7"],
)
def test_an_exit_before_it_listens_is_an_error(
    launch: LaunchOptions, tmp_path: Path, source: str, code: str
) -> None:
    server = AzuriteServer.spawn(script(launch, tmp_path, source), port=0)
    with pytest.raises(LocalError) as caught:
        server.wait_ready()
    assert caught.value.code == code
    if "bogus" in source:
        assert caught.value.lines == ('The option "bogus" is unknown',)


def test_the_line_in_the_log_alone_is_not_readiness(launch: LaunchOptions, tmp_path: Path) -> None:
    source = (
        "console.log('successfully listens on http://127.0.0.1:1'); "
        "process.on('SIGTERM', () => {}); setInterval(() => {}, 1000)"
    )
    server = AzuriteServer.spawn(script(launch, tmp_path, source), port=0)
    with pytest.raises(LocalError) as caught:
        server.wait_ready(0.5)
    assert caught.value.code == "azurite-not-ready"
    assert server.process.returncode is not None, "it was left running"


def test_azurite_is_ready_only_when_it_handles_sigterm(
    launch: LaunchOptions, tmp_path: Path
) -> None:
    source = """
        const server = require("http").createServer((_, reply) => reply.end());
        server.listen(0, "127.0.0.1", () => {
            const address = `http://127.0.0.1:${server.address().port}`;
            console.log(`successfully listens on ${address}`);
            setTimeout(() => process.once("SIGTERM", () => process.exit(0)), 300);
        });
    """
    server = AzuriteServer.spawn(script(launch, tmp_path, source), port=0)
    server.wait_ready()
    assert server.stop()
    assert server.process.returncode == 0


def test_a_server_that_ignores_sigterm_is_killed(launch: LaunchOptions, tmp_path: Path) -> None:
    source = "process.on('SIGTERM', () => {}); console.log('deaf'); setInterval(() => {}, 1000)"
    server = AzuriteServer.spawn(script(launch, tmp_path, source), port=0)
    until(lambda: b"deaf" in launch.log.read_bytes())
    assert not server.stop(0.1)
    assert server.process.returncode == -signal.SIGKILL


def test_azurite_has_a_separate_session_and_environment(
    launch: LaunchOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURITE_DB", "mysql://somewhere")
    monkeypatch.setenv("NODE_OPTIONS", "--require=/nowhere.js")
    source = "console.log(JSON.stringify(process.env)); setInterval(() => {}, 1000)"
    server = AzuriteServer.spawn(script(launch, tmp_path, source), port=0)
    try:
        until(lambda: b"AZURITE_ACCOUNTS" in launch.log.read_bytes())
        assert os.getsid(server.process.pid) != os.getsid(0)
    finally:
        server.stop(0)
    assert "AZURITE_DB" not in launch.log.read_text()
    assert "NODE_OPTIONS" not in launch.log.read_text()


def test_no_key_is_in_the_command_line_or_the_log(launch: LaunchOptions) -> None:
    server = AzuriteServer.spawn(launch, port=0)
    try:
        server.wait_ready()
    finally:
        server.stop()
    assert KEY not in " ".join(launch.command(0))
    assert KEY not in launch.log.read_text()
    assert KEY not in repr(launch)


ORPHAN = """
import os, sys, time
from pathlib import Path
from batchspec.local.azurite import NodeJs
from batchspec.local.azurite import Installation
from batchspec.local.azurite import LaunchOptions, AzuriteServer
from batchspec.local.process import Lock
node, folder, entry, home = map(Path, sys.argv[1:])
lock = Lock.take(home / "lock")
server = AzuriteServer.spawn(
    LaunchOptions(
        NodeJs(node), Installation(folder, entry, "0"), "acc", "a2V5", home / "log",
        home / "blobs", inherit=(lock.fileno,),
    ),
    port=0,
)
server.wait_ready()
print(server.process.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's death signal is Linux's")
def test_azurite_ends_with_its_parent_and_has_the_lock_until_then(
    launch: LaunchOptions, tmp_path: Path
) -> None:
    installed = launch.installed
    command = [sys.executable, "-c", ORPHAN, launch.node.executable]
    with subprocess.Popen(
        [*command, installed.folder, installed.entry, tmp_path], stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout
        azurite = int(parent.stdout.readline())
        assert is_locked(tmp_path / "lock")
        os.kill(azurite, signal.SIGSTOP)  # so that it cannot end yet
        parent.kill()
        parent.wait()
        assert is_locked(tmp_path / "lock"), "Azurite uses the folder, and no lock shows it"
        os.kill(azurite, signal.SIGCONT)
    assert wait_free(tmp_path / "lock", 60)
    assert "successfully closed" in (tmp_path / "log").read_text()
    assert Lock.take(tmp_path / "lock")
