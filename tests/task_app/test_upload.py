"""The task program and the blob service: names, checksums, refusals, retries, and no URL shown."""

from __future__ import annotations

import base64
import hashlib
import os
import socket
import subprocess
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.task_app.conftest import SECRET, BlobServer, command

BUSY = (503, {"x-ms-error-code": "ServerBusy", "Retry-After": "0"})


def shows_no_url(done: subprocess.CompletedProcess[str], url: str) -> bool:
    written = done.stdout + done.stderr
    return SECRET not in written and urlsplit(url).netloc not in written and "://" not in written


def test_the_result_is_put_as_a_block_blob_with_its_checksum(
    tmp_path: Path, blobs: BlobServer
) -> None:
    (tmp_path / "oak.txt").write_text("tree tree leaf")
    done = command("oak.txt", 2, blobs.url, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (put,) = blobs.puts
    assert put.path == f"/account/output/oak.txt.top.txt?sp=cw&sig={SECRET}%2B%3D"
    assert put.body.decode("utf-8") == done.stdout
    assert done.stdout.endswith("\ntree\t2\nleaf\t1\n")
    assert put.headers["x-ms-blob-type".title()] == "BlockBlob"
    assert base64.b64decode(put.headers["Content-Md5"]) == hashlib.md5(put.body).digest()
    assert put.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert [path.name for path in tmp_path.iterdir()] == ["oak.txt"]
    assert done.stderr == "topn: the result is in oak.txt.top.txt\n"


def test_the_url_can_be_in_the_environment(tmp_path: Path, blobs: BlobServer) -> None:
    (tmp_path / "a.txt").write_text("oak")
    done = command("a.txt", 1, cwd=tmp_path, env={**os.environ, "OUTPUT_URL": blobs.url})
    assert done.returncode == 0
    assert len(blobs.puts) == 1
    assert SECRET not in done.stdout + done.stderr


def test_a_wrong_url_in_the_environment_is_a_wrong_command_line(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("oak")
    url = f"nothing?sig={SECRET}"
    done = command("a.txt", 1, cwd=tmp_path, env={**os.environ, "OUTPUT_URL": url})
    assert done.returncode == 2
    assert "OUTPUT_URL must be a complete http or https URL" in done.stderr
    assert SECRET not in done.stderr


@pytest.mark.parametrize(
    "name", ["a b.txt", "50%.txt", "a#b?c&d=e+f.txt", "ünï—中.txt", "~a'(b)*.txt", "%2e%2e"]
)
def test_any_file_name_arrives_as_it_is(tmp_path: Path, blobs: BlobServer, name: str) -> None:
    (tmp_path / name).write_text("a")
    assert command(name, 1, blobs.url, cwd=tmp_path).returncode == 0
    path, _, query = blobs.puts[0].path.partition("?")
    assert unquote(path) == f"/account/output/{name}.top.txt"
    assert query == f"sp=cw&sig={SECRET}%2B%3D"


def test_folders_of_an_input_are_kept_so_that_no_two_results_meet(
    tmp_path: Path, topn: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "wd"
    here.mkdir()
    monkeypatch.chdir(here)
    outside = "/".join(tmp_path.parts[1:])
    names = {
        "a.txt": "a.txt.top.txt",
        "./x/../a.txt": "a.txt.top.txt",
        "x/a.txt": "x/a.txt.top.txt",
        "../a.txt": f"{outside}/a.txt.top.txt",
        str(tmp_path / "b" / "a.txt"): f"{outside}/b/a.txt.top.txt",
        str(here / "b" / "a.txt"): "b/a.txt.top.txt",
    }
    assert {name: topn.blob_name(Path(name)) for name in names} == names


def test_busy_and_broken_answers_are_tried_again(tmp_path: Path, blobs: BlobServer) -> None:
    (tmp_path / "a").write_text("a")
    blobs.answers = [BUSY, (429, {"Retry-After": "0"}), BUSY]
    done = command("a", 1, blobs.url, cwd=tmp_path)
    assert done.returncode == 0
    assert len(blobs.puts) == 4
    assert len({(put.path, put.body) for put in blobs.puts}) == 1
    assert "upload: 503 ServerBusy; attempt 2 in 0 s" in done.stderr
    assert shows_no_url(done, blobs.url)


def test_pauses_double_and_follow_what_the_server_asks(topn: ModuleType, blobs: BlobServer) -> None:
    in_a_while = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    blobs.answers = [
        (500, {}),
        None,
        (503, {"Retry-After": "7"}),
        (503, {"Retry-After": in_a_while}),
        (503, {"Retry-After": "86400"}),
        (503, {"Retry-After": "soon"}),
    ]
    pauses: list[float] = []
    topn.upload(blobs.url, b"x", sleep=pauses.append)
    assert len(blobs.puts) == 7
    assert pauses[:3] == [1, 2, 7]
    assert 60 < pauses[3] <= 100
    assert pauses[4:] == [topn.LONGEST_PAUSE, 32]


def test_a_service_that_stays_busy_ends_in_exit_code_1(tmp_path: Path, blobs: BlobServer) -> None:
    (tmp_path / "a").write_text("a")
    blobs.answers = [BUSY] * 50
    done = command("a", 1, blobs.url, cwd=tmp_path)
    assert done.returncode == 1
    assert len(blobs.puts) == 7
    assert done.stdout == ""
    assert done.stderr.endswith("the upload failed 7 times, most recently with 503 ServerBusy\n")
    assert shows_no_url(done, blobs.url)


@pytest.mark.parametrize(
    ("status", "code"),
    [(403, "AuthenticationFailed"), (404, "ContainerNotFound"), (400, "Md5Mismatch"), (409, "")],
)
def test_a_refusal_is_told_once_and_not_tried_again(
    tmp_path: Path, blobs: BlobServer, status: int, code: str
) -> None:
    (tmp_path / "a").write_text("a")
    blobs.answers = [(status, {"x-ms-error-code": code} if code else {})]
    done = command("a", 1, blobs.url, cwd=tmp_path)
    assert done.returncode == 1
    assert len(blobs.puts) == 1
    assert done.stderr == f"topn: the upload was refused ({f'{status} {code}'.strip()})\n"


def test_a_redirect_is_not_followed(tmp_path: Path, blobs: BlobServer) -> None:
    (tmp_path / "a").write_text("a")
    blobs.answers = [(307, {"Location": blobs.url})]
    done = command("a", 1, blobs.url, cwd=tmp_path)
    assert (done.returncode, len(blobs.puts)) == (1, 1)
    assert "refused (307)" in done.stderr
    assert shows_no_url(done, blobs.url)


def test_what_the_server_says_is_not_repeated(tmp_path: Path, blobs: BlobServer) -> None:
    (tmp_path / "a").write_text("a")
    blobs.answers = [(403, {"x-ms-error-code": f"No://{SECRET}\x1b[31m" + "x" * 999})]
    done = command("a", 1, blobs.url, cwd=tmp_path)
    assert done.returncode == 1
    assert "\x1b" not in done.stderr
    assert "://" not in done.stderr
    assert len(done.stderr) < 200


def test_a_server_that_is_not_there_is_told_by_the_kind_of_failure(topn: ModuleType) -> None:
    with socket.socket() as bound:  # Bound and not listening: a connection is refused.
        bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}/c/b?sig={SECRET}"
        pauses: list[float] = []
        with pytest.raises(topn.TaskError) as caught:
            topn.upload(url, b"x", sleep=pauses.append)
    assert (
        str(caught.value) == "the upload failed 7 times, most recently with ConnectionRefusedError"
    )
    assert pauses == [1, 2, 4, 8, 16, 32]


def test_an_unforeseen_failure_tells_its_kind_alone(
    topn: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(url: str, *_: object) -> None:
        raise LookupError(url)

    monkeypatch.setattr(topn, "upload", broken)
    assert topn.main([__file__, "1", f"http://host/c?sig={SECRET}"]) == 1
    assert capsys.readouterr() == ("", "topn: failed: LookupError\n")


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.sampled_from(["", "/"]))
def test_a_blob_s_url_keeps_the_signature_and_the_name(
    topn: ModuleType, name: str, slash: str
) -> None:
    url = topn.blob_url(f"https://a.example/c{slash}?sv=1&sig=a%2Bb%3D", name)
    parts = urlsplit(url)
    assert unquote(parts.path) == f"/c/{name}"
    assert (parts.netloc, parts.query, parts.fragment) == ("a.example", "sv=1&sig=a%2Bb%3D", "")
