"""What the clients can do arrives byte for byte over a network that works."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.clients import tus_js, tuspy
from tests.support.content import GIB, KIB, MIB, assert_arrived, make_file
from tests.support.proxy import Proxy
from tests.support.raw import Tus

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.clients import ClientRun
    from tests.support.server import TusServer

CHUNK = 5 * MIB
SEVERAL_CHUNKS = 3 * CHUNK + 123


@pytest.mark.parametrize(
    "size", [0, 1, 5 * MIB, SEVERAL_CHUNKS], ids=["empty", "a byte", "5 MiB", "15 MiB and a bit"]
)
def test_a_file_arrives_with_the_defaults_of_a_client(
    server: TusServer, tmp_path: Path, upload: Callable[..., ClientRun], size: int
) -> None:
    file = make_file(tmp_path / "file", size)
    with upload(server.url, file) as run:
        assert_arrived(run.finish().url, size)


@pytest.mark.parametrize(
    "size", [CHUNK, 2 * CHUNK, SEVERAL_CHUNKS], ids=["a chunk", "two chunks", "a bit more"]
)
def test_a_file_arrives_in_chunks(server: TusServer, tmp_path: Path, size: int) -> None:
    file = make_file(tmp_path / "file", size)
    with tus_js(server.url, file, chunkSize=CHUNK) as run:
        assert_arrived(run.finish().url, size)
        assert run.statuses("POST") == [201]
        assert run.statuses("PATCH") == [204] * -(-size // CHUNK)


@pytest.mark.parametrize("asynchronous", [False, True], ids=["plain", "async"])
@pytest.mark.parametrize("size", [1, SEVERAL_CHUNKS], ids=["a byte", "15 MiB and a bit"])
def test_a_file_arrives_in_chunks_with_checksums(
    server: TusServer, tmp_path: Path, *, asynchronous: bool, size: int
) -> None:
    file = make_file(tmp_path / "file", size)
    options = {"chunk_size": CHUNK, "upload_checksum": True, "asynchronous": asynchronous}
    with tuspy(server.url, file, **options) as run:
        assert_arrived(run.finish().url, size)


WAYS: dict[str, dict[str, Any]] = {
    "the length is deferred": {
        "stream": True,
        "uploadLengthDeferred": True,
        "chunkSize": CHUNK,
    },
    "data comes with the creation": {"uploadDataDuringCreation": True},
    "a chunk comes with the creation": {"uploadDataDuringCreation": True, "chunkSize": CHUNK},
    "PATCH is sent as POST": {"overridePatchMethod": True, "chunkSize": CHUNK},
    "two parts at once": {"parallelUploads": 2},
    "five parts at once, in chunks": {"parallelUploads": 5, "chunkSize": MIB},
    "requests have ids and metadata": {
        "addRequestId": True,
        "metadata": {"filename": "Grüße 漢字.bin", "filetype": "application/x-noise", "empty": ""},
    },
}


@pytest.mark.parametrize("options", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("size", [7, SEVERAL_CHUNKS], ids=["7 bytes", "15 MiB and a bit"])
def test_a_file_arrives_in_every_way_that_tus_js_client_knows(
    server: TusServer, tmp_path: Path, options: dict[str, Any], size: int
) -> None:
    file = make_file(tmp_path / "file", size)
    with tus_js(server.url, file, **options) as run:
        assert_arrived(run.finish().url, size)
        assert not run.told("retry"), run.account()


@pytest.mark.clause("CLI-02")
def test_an_upload_in_parts_arrives_with_redis_too(
    make_server: Callable[..., TusServer], tmp_path: Path, state_url: str
) -> None:
    server = make_server(state=state_url)
    file = make_file(tmp_path / "file", SEVERAL_CHUNKS)
    with tus_js(server.url, file, parallelUploads=4) as run:
        assert_arrived(run.finish().url, SEVERAL_CHUNKS)


def test_an_aborted_upload_is_resumed_by_another_process(server: TusServer, tmp_path: Path) -> None:
    file = make_file(tmp_path / "file", SEVERAL_CHUNKS)
    options = {"storage": tmp_path / "urls.json", "chunkSize": MIB}
    with tus_js(server.url, file, abort_after=4 * MIB, **options) as run:
        run.settle()
        assert run.told("aborted")
        assert not run.told("success")
        url = run.url
    with tus_js(server.url, file, resume=True, **options) as run:
        run.finish()
        assert run.told("previous") == [{"event": "previous", "url": url}]
        assert run.urls == [url]
        assert len(run.statuses("PATCH")) <= 12
        assert_arrived(url, SEVERAL_CHUNKS)


@pytest.mark.clause("CLI-03")
def test_tuspy_resumes_in_another_process(server: TusServer, tmp_path: Path) -> None:
    file = make_file(tmp_path / "file", SEVERAL_CHUNKS)
    options = {"storage": tmp_path / "urls.json", "chunk_size": 64 * KIB}
    with Proxy(server.port, rate=4 * MIB) as proxy:
        with tuspy(proxy.url, file, **options) as run:
            run.wait_for("progress")
            run.kill()
            url = run.url
            assert not run.told("success")
        with tuspy(proxy.url, file, **options) as run:
            run.finish()
            assert run.urls == [url]
            assert run.told("url")[0]["offset"] > 0
            assert_arrived(url, SEVERAL_CHUNKS)


def test_an_upload_is_terminated_in_the_middle(server: TusServer, tmp_path: Path) -> None:
    file = make_file(tmp_path / "file", SEVERAL_CHUNKS)
    with tus_js(server.url, file, chunkSize=MIB, abort_after=4 * MIB, terminate=True) as run:
        run.settle()
        assert run.told("aborted"), run.account()
        assert run.statuses("DELETE") == [204]
        assert Tus(server.url).head(Tus(server.url).target(run.url)).status == 404
        assert not server.data_file(run.url).exists()


@pytest.mark.timeout(90)
@pytest.mark.parametrize("client", [tus_js, tuspy])
def test_a_gibibyte_arrives_in_one_patch(
    make_server: Callable[..., TusServer], tmp_path: Path, client: Callable[..., ClientRun]
) -> None:
    server = make_server()
    file = make_file(tmp_path / "file", GIB)
    try:
        with client(server.url, file) as run:
            run.finish(within=60)
            file.unlink()
            assert_arrived(run.url, GIB)
    finally:
        file.unlink(missing_ok=True)
