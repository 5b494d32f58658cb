"""Uploads over a network that cuts connections at seeded places, twenty times and more."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.clients import tus_js, tuspy
from tests.support.content import KIB, MIB, assert_arrived, make_file
from tests.support.proxy import ANSWER, FIN, RST, Proxy, seeded_cuts
from tests.support.redis_fixture import need_redis_server
from tests.support.redis_server import RedisServer
from tests.support.server import MOUNTED, PROGRAM, TusServer
from tests.support.watching import watch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.clients import ClientRun

SIZE = 16 * MIB + 77
CUTS = 22
CHUNK = 256 * KIB
ALL_KINDS = [FIN, RST, ANSWER]


@pytest.fixture(
    scope="module",
    params=[("local", PROGRAM), ("redis", PROGRAM), ("local", MOUNTED)],
    ids=["local", "redis", "mounted"],
)
def servers(request: pytest.FixtureRequest) -> Iterator[list[TusServer]]:
    """Three servers that share directory and state, for all tests: nothing happens to them."""
    with ExitStack() as stack:
        state, mode = request.param
        if state == "redis":
            need_redis_server()
            state = stack.enter_context(RedisServer()).url
        first = stack.enter_context(TusServer(state=state, mode=mode))
        more = [
            stack.enter_context(TusServer(upload_dir=first.upload_dir, state=state, mode=mode))
            for _ in range(2)
        ]
        yield [first, *more]
        for server in (first, *more):
            server.check_log()


@pytest.fixture(params=[1, 3], ids=["one server", "three servers"])
def ports(request: pytest.FixtureRequest, servers: list[TusServer]) -> list[int]:
    """The ports to spread the connections over."""
    return [watch(request, server).port for server in servers[: request.param]]


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    """The file to upload."""
    path = make_file(tmp_path / "file", SIZE)
    yield path
    path.unlink()


@pytest.mark.timeout(60)
def test_a_file_in_one_patch_arrives_through_twenty_cuts(
    ports: list[int], file: Path, upload: Callable[..., ClientRun]
) -> None:
    cuts = seeded_cuts(1, count=CUTS, mean=500 * KIB)
    with Proxy(*ports, cuts=cuts) as proxy, upload(proxy.url, file) as run:
        run.finish()
        assert proxy.cuts_made == CUTS
        # What a reset threw away unread, once a cut.
        assert proxy.forwarded - SIZE <= CUTS * 512 * KIB
        # A client that lost its upload would have made another one.
        assert len(run.urls) == 1
        assert_arrived(run.url, SIZE)


WAYS: dict[str, Callable[[str, Path], ClientRun]] = {}


def _way(name: str, client: Callable[..., ClientRun], **options: Any) -> None:
    WAYS[name] = lambda url, file: client(url, file, **options)


_way("tus-js-client, in chunks", tus_js, chunkSize=CHUNK)
_way("tus-js-client, in three parts", tus_js, parallelUploads=3, chunkSize=CHUNK)
_way("tus-js-client, PATCH as POST", tus_js, overridePatchMethod=True, chunkSize=CHUNK)
_way(
    "tus-js-client, creation with data",
    tus_js,
    uploadDataDuringCreation=True,
    chunkSize=CHUNK,
)
_way(
    "tus-js-client, deferred length",
    tus_js,
    stream=True,
    uploadLengthDeferred=True,
    chunkSize=CHUNK,
)
_way("tuspy, in chunks", tuspy, chunk_size=CHUNK)
_way("tuspy, with checksums", tuspy, chunk_size=CHUNK, upload_checksum=True)
_way("tuspy-async, with checksums", tuspy, chunk_size=CHUNK, upload_checksum=True,
     asynchronous=True)  # fmt: skip


@pytest.mark.timeout(60)
@pytest.mark.parametrize("ports", [3], ids=["three servers"], indirect=True)
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_file_in_pieces_arrives_through_cuts_and_lost_answers(
    ports: list[int], file: Path, way: Callable[[str, Path], ClientRun]
) -> None:
    cuts = seeded_cuts(2, count=CUTS, mean=600 * KIB, kinds=ALL_KINDS)
    with Proxy(*ports, cuts=cuts) as proxy, way(proxy.url, file) as run:
        run.finish()
        assert proxy.cuts_made >= 20
        # A chunk a cut, and the heads of all requests.
        assert proxy.forwarded - SIZE <= CUTS * CHUNK + MIB // 4
        assert_arrived(run.url, SIZE)
