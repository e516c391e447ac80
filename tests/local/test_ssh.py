"""Users sign in to nodes: keys and passwords, sessions, file transfer, ends of a sign-in."""

from __future__ import annotations

import asyncio
import base64
import importlib
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from batchspec.local.agent import USERS, SshServers
from batchspec.local.agent.node_login import NodeUser, hash_password, read_public_key
from batchspec.local.model import NodeState
from batchspec.local.task_users import UserIds, is_root, separate
from tests.local.engine_stub import NOW
from tests.local.engines import pool, processes_of, running_with_engine, wait_until
from tests.local.running import Service

asyncssh = pytest.importorskip("asyncssh", reason="the extra local is not installed")
SECRET = "correct horse battery"
KEY = asyncssh.generate_private_key("ssh-ed25519")
PUBLIC = KEY.export_public_key().decode().strip()
OTHER = asyncssh.generate_private_key("ssh-ed25519")


@dataclass(frozen=True)
class Place:
    """A service with one node."""

    service: Service
    node_id: str

    @property
    def users(self) -> str:
        return f"/pools/p/nodes/{self.node_id}/users"

    @property
    def root(self) -> Path:
        (found,) = (self.service.data / "nodes").glob(f"*/{self.node_id}")
        return found

    @property
    def port(self) -> int:
        settings = self.service.client.get_node_remote_login_settings("p", self.node_id)
        assert settings.remote_login_ip_address == "127.0.0.1"
        return settings.remote_login_port

    def add(self, name: str, **more: object) -> None:
        assert self.service.request("POST", self.users, {"name": name, **more}).status == 201

    def connect(self, name: str, **options: Any) -> Any:
        options = {"password": None, "client_keys": None} | options
        return asyncssh.connect(
            "127.0.0.1",
            self.port,
            username=name,
            known_hosts=None,
            config=None,
            agent_path=None,
            **options,
        )

    def accepts(self, name: str, **options: Any) -> bool:
        async def attempt() -> bool:
            try:
                async with self.connect(name, **options):
                    return True
            except asyncssh.PermissionDenied:
                return False

        return asyncio.run(attempt())


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with running_with_engine(tmp_path_factory.mktemp("ssh") / "batch") as service:
        yield with_node(service)


def with_node(service: Service) -> Place:
    service.client.create_pool(pool())
    wait_until(lambda: [node.state for node in service.client.list_nodes("p")] == ["idle"])
    (node,) = service.client.list_nodes("p")
    return Place(service, node.id)


def test_a_user_signs_in_with_a_key_and_with_a_password(place: Place) -> None:
    place.add("ann", sshPublicKey=PUBLIC, password=SECRET)
    (place.root / "shared" / "model.bin").write_bytes(b"\0\xff\n")

    async def use() -> None:
        async with place.connect("ann", client_keys=[KEY]) as connection:
            shown = await connection.run("pwd; whoami >&2; ls shared; exit 7", check=False)
            assert shown.stdout.splitlines() == [str(place.root), "model.bin"]
            assert shown.stderr.strip()
            assert shown.exit_status == 7
            binary = await connection.run("cat shared/model.bin", encoding=None)
            assert binary.stdout == b"\0\xff\n"
        async with place.connect("ann", password=SECRET) as connection:
            echoed = await connection.run("cat; env", input="typed\n")
            assert echoed.stdout.startswith("typed\n")
            assert "USER=ann" in echoed.stdout
            assert "AZ_BATCH_" not in echoed.stdout

    asyncio.run(use())


def test_the_client_of_openssh_signs_in(place: Place, tmp_path: Path) -> None:
    if shutil.which("ssh") is None:
        pytest.skip("this machine has no ssh")
    place.add("olga", sshPublicKey=PUBLIC)
    identity = tmp_path / "id"
    identity.touch(mode=0o600)
    identity.write_bytes(KEY.export_private_key())
    line = ["ssh", "-F", "none", "-i", str(identity), "-p", str(place.port)]
    for option in (
        "BatchMode=yes",
        "StrictHostKeyChecking=no",
        f"UserKnownHostsFile={tmp_path / 'hosts'}",
    ):
        line += ["-o", option]
    command = "cd startup && pwd"
    ran = subprocess.run(
        [*line, "olga@127.0.0.1", command], capture_output=True, text=True, check=False, timeout=60
    )
    assert (ran.returncode, ran.stdout) == (0, f"{place.root}/startup\n"), ran.stderr


def test_a_terminal(place: Place) -> None:
    place.add("tess", password=SECRET)

    async def use() -> None:
        async with (
            place.connect("tess", password=SECRET) as connection,
            connection.create_process(term_type="xterm", term_size=(99, 33)) as shell,
        ):
            shell.stdin.write("stty size; tty; echo $TERM; exit 3\n")
            shown = await shell.stdout.read()
            assert "33 99" in shown
            assert "/dev/" in shown
            assert "xterm" in shown
            await shell.wait()
            assert shell.exit_status == 3

    asyncio.run(use())


def test_files_are_transferred(place: Place, tmp_path: Path) -> None:
    place.add("finn", password=SECRET)
    (tmp_path / "up").write_text("data")

    async def use() -> None:
        async with (
            place.connect("finn", password=SECRET) as connection,
            connection.start_sftp_client() as files,
        ):
            await files.put(tmp_path / "up", "shared/up")
            assert "up" in await files.listdir(f"{place.root}/shared")
            await files.get("shared/up", tmp_path / "down")

    asyncio.run(use())
    assert (place.root / "shared" / "up").read_text() == "data"
    assert (tmp_path / "down").read_text() == "data"


def test_unknown_users_and_wrong_credentials_are_refused(place: Place) -> None:
    place.add("pass", password=SECRET)
    place.add("key", sshPublicKey=PUBLIC)
    place.add("none")
    place.add("empty", password="")
    assert not place.accepts("pass", password="wrong")
    assert not place.accepts("key", client_keys=[OTHER])
    for name in ("none", "empty", "key", "nobody", "root"):
        assert not place.accepts(name, password=""), name
        assert not place.accepts(name, password=SECRET), name
    for name in ("none", "empty", "pass"):
        assert not place.accepts(name, client_keys=[KEY]), name


def test_deleted_changed_and_expired_users_do_not_sign_in(place: Place) -> None:
    place.add("dora", password=SECRET, sshPublicKey=PUBLIC)
    assert place.accepts("dora", password=SECRET)
    path = f"{place.users}/dora"
    assert place.service.request("PUT", path, {"password": "another"}).status == 200
    assert not place.accepts("dora", password=SECRET)
    assert not place.accepts("dora", client_keys=[KEY])
    assert place.accepts("dora", password="another")
    assert place.service.request("DELETE", path).status == 200
    assert not place.accepts("dora", password="another")

    place.add("ed", password=SECRET)
    node = place.service.store.nodes.get("p", place.node_id)
    assert node is not None
    users = dict(node.detail[USERS])
    assert users["ed"]["password"]
    past = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
    detail = {**node.detail, USERS: users | {"ed": {**users["ed"], "expires": past}}}
    place.service.store.nodes.update(node, node.state, datetime.now(UTC), detail=detail)
    assert not place.accepts("ed", password=SECRET)


def test_no_process_outlives_its_session(place: Place) -> None:
    place.add("rex", password=SECRET)

    async def use() -> None:
        async with place.connect("rex", password=SECRET) as connection:
            process = await connection.create_process("echo on; setsid sleep 1000 & sleep 1001")
            assert await process.stdout.readline() == "on\n"

    asyncio.run(use())
    wait_until(lambda: processes_of(place.root, "sleep") == [])
    wait_until(lambda: list((place.service.data / "ssh-sessions").iterdir()) == [])


def test_ports_are_not_forwarded(place: Place) -> None:
    place.add("fay", password=SECRET)

    async def use() -> None:
        async with place.connect("fay", password=SECRET) as connection:
            with pytest.raises(asyncssh.ChannelOpenError):
                await connection.open_connection("127.0.0.1", 22)

    asyncio.run(use())


def test_reboot_keeps_the_server_and_a_restart_its_port_and_key(tmp_path: Path) -> None:
    data = tmp_path / "batch"
    with running_with_engine(data) as service:
        place = with_node(service)
        place.add("ann", password=SECRET)
        port = place.port
        node = service.client.get_node("p", place.node_id)
        (endpoint,) = node.endpoint_configuration.inbound_endpoints
        assert (endpoint.frontend_port, endpoint.backend_port) == (port, 22)

        async def host_key() -> bytes:
            async with place.connect("ann", password=SECRET) as connection:
                return connection.get_server_host_key().public_data

        key = asyncio.run(host_key())
        (file,) = (data / "ssh-keys" / "p").iterdir()
        assert file.stat().st_mode & 0o777 == 0o600
        booted = node.last_boot_time
        service.request("POST", f"/pools/p/nodes/{place.node_id}/reboot")
        wait_until(lambda: service.client.get_node("p", place.node_id).last_boot_time != booted)
        wait_until(lambda: service.client.get_node("p", place.node_id).state == "idle")
        assert place.accepts("ann", password=SECRET)
    with running_with_engine(data) as service:
        place = Place(service, place.node_id)
        assert place.port == port
        assert asyncio.run(host_key()) == key
        service.request("POST", "/pools/p/resize", {"targetDedicatedNodes": 0})
        wait_until(lambda: not list(service.client.list_nodes("p")))
        assert not (data / "ssh-keys" / "p").exists()
        wait_until(lambda: not is_open(port))


async def test_a_server_that_could_not_start_starts_again(tmp_path: Path) -> None:
    servers = SshServers(tmp_path, lambda *_: None)
    key = tmp_path / "ssh-keys" / "p" / "n"
    key.parent.mkdir(parents=True)
    key.write_text("no key")
    first = servers.open("P", "n")
    while await asyncio.to_thread(is_open, first):
        await asyncio.sleep(0.01)
    key.unlink()
    second = servers.open("p", "N")
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", second)
        assert (await reader.readline()).startswith(b"SSH-2.0-batchspec")
        writer.close()
        assert servers.open("p", "n") == second
    finally:
        await servers.close_all()


def is_open(port: int) -> bool:
    async def attempt() -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionError:  # refused, or reset: the port closed meanwhile
            return False
        writer.close()
        return True

    return asyncio.run(attempt())


@pytest.fixture
def separate_place() -> Iterator[tuple[Place, UserIds]]:
    """A service that runs tasks and sessions as separate users, with the umask of the daemon."""
    if not is_root():
        pytest.skip("only root can start processes of other users")
    folder, before = Path(tempfile.mkdtemp(dir="/tmp")), os.umask(0o077)
    try:
        ids = separate(folder, [folder]).ids
        assert ids is not None
        with running_with_engine(folder, users=ids) as service:
            yield with_node(service), ids
    finally:
        os.umask(before)
        shutil.rmtree(folder)


def test_sessions_and_transfers_have_the_rights_of_their_user(
    separate_place: tuple[Place, UserIds], tmp_path: Path
) -> None:
    place, ids = separate_place
    data = place.service.data
    (data / "secret").write_text("s")
    place.add("ann", sshPublicKey=PUBLIC)
    place.add("eve", sshPublicKey=PUBLIC, isAdmin=True)
    (tmp_path / "f").write_text("content")

    async def use() -> None:
        async with place.connect("ann", client_keys=[KEY]) as connection:
            uid = int((await connection.run("id -u")).stdout)
            assert ids.first < uid < ids.group
            script = f"id -g; cat; cat {data}/secret || echo refused; touch shared/s || echo no"
            shown = await connection.run(script, input="typed\n")
            assert shown.stdout.splitlines() == [f"{ids.group}", "typed", "refused"]
            assert (place.root / "shared" / "s").stat().st_uid == uid
            typed = await connection.run("tty; id -u", term_type="xterm")
            assert typed.stdout.splitlines()[0].startswith("/dev/pts/")
            assert typed.stdout.splitlines()[1] == str(uid)
            async with connection.start_sftp_client() as files:
                await files.put(tmp_path / "f", "shared/f")
                assert (place.root / "shared" / "f").stat().st_uid == uid
                assert sorted(await files.listdir("shared")) == [".", "..", "f", "s"]
                assert await files.realpath("shared") == str(place.root / "shared")
                for refused in (
                    files.get(f"{data}/secret", tmp_path / "s"),
                    files.put(tmp_path / "f", f"{place.root}/f"),
                    files.remove(f"{data}/secret"),
                    files.rename(f"{data}/secret", "shared/secret"),
                    files.chmod(f"{data}/secret", 0o777),
                    files.symlink("x", f"{data}/link"),
                    files.mkdir(f"{data}/d"),
                    files.listdir(f"{data}/ssh-keys"),
                ):
                    with pytest.raises(asyncssh.SFTPError, match=r"denied|permitted"):
                        await refused
        async with place.connect("eve", client_keys=[KEY]) as connection:
            shown = await connection.run(f"id -u; cat {data}/secret")
            assert shown.stdout == "0\ns"

    asyncio.run(use())


def test_wrong_passwords_are_limited_in_time() -> None:
    now = 0.0
    wrong = ssh_protocol().WrongPasswords(lambda: now)
    assert all(wrong.may_try("ann") for _ in range(12))
    assert not wrong.may_try("ann")
    assert wrong.may_try("bob")
    now = 299.0
    assert not wrong.may_try("ann")
    now = 301.0
    assert wrong.may_try("ann")
    wrong.forget("ann")
    assert all(wrong.may_try("ann") for _ in range(12))
    assert not wrong.may_try("ann")


def test_new_connections_get_no_further_passwords(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssh_protocol(), "_MAX_WRONG", 2)
    place.add("lim", password=SECRET, sshPublicKey=PUBLIC)
    assert place.accepts("lim", password=SECRET)
    assert not place.accepts("lim", password="wrong")
    assert not place.accepts("lim", password="wrong")
    assert not place.accepts("lim", password=SECRET)
    assert place.accepts("lim", client_keys=[KEY])


def ssh_protocol() -> Any:
    return importlib.import_module("batchspec.local.agent.ssh_protocol")


def test_remote_login_settings(service: Service) -> None:
    service.request("POST", "/pools", pool())
    found = service.store.pools.get("p")
    assert found is not None
    service.store.nodes.add(found, ["n"], NOW, dedicated=True, slots=1)
    creating = service.request("GET", "/pools/p/nodes/n/remoteloginsettings")
    assert (creating.status, creating.code) == (409, "OperationNotValidOnNode")
    assert creating.values["Reason"] == "The node is creating."
    node = service.store.nodes.get("p", "n")
    assert node is not None
    service.store.nodes.update(node, NodeState.STARTING, NOW)
    settings = service.client.get_node_remote_login_settings("p", "n")
    with socket.create_connection(
        (settings.remote_login_ip_address, settings.remote_login_port), timeout=30
    ) as connection:
        assert connection.recv(4) == b"SSH-"
    missing = service.request("GET", "/pools/p/nodes/none/remoteloginsettings")
    assert (missing.status, missing.code) == (404, "NodeNotFound")


def test_without_the_library(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SshServers, "is_installed", staticmethod(lambda: False))
    answer = place.service.request("GET", f"/pools/p/nodes/{place.node_id}/remoteloginsettings")
    assert (answer.status, answer.code) == (409, "OperationNotValidOnNode")
    assert "pip install" in answer.values["Reason"]


def test_forms_of_public_keys() -> None:
    line_in_base64 = base64.b64encode(PUBLIC.encode()).decode()
    for text in (PUBLIC, PUBLIC.split()[1], f"{PUBLIC} ann@host", line_in_base64):
        assert read_public_key(text) == KEY.public_data


@pytest.mark.parametrize("text", ["", " ", "a2V5", "ssh-rsa", "ssh-rsa %%%", "é"])
def test_texts_without_a_public_key(text: str) -> None:
    assert read_public_key(text) is None
    user = NodeUser(datetime.now(UTC), public_key=text)
    assert not user.has_key(b"")
    assert not user.has_key(KEY.public_data)


def test_each_password_has_another_salt() -> None:
    one, other = hash_password(SECRET), hash_password(SECRET)
    assert one != other
    assert hash_password("") is None
    assert NodeUser(datetime.now(UTC), one).has_password(SECRET)
    assert not NodeUser(datetime.now(UTC), one).has_password(SECRET + " ")
    assert not NodeUser(datetime.now(UTC)).has_password("")
