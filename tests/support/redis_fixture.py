"""The fixtures that bring a real Redis; without redis-server their tests are skipped."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.support.redis_server import REMEDY, RedisServer, find_redis_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_SHARED = pytest.StashKey[RedisServer]()


def need_redis_server() -> None:
    """Skip the test, with the remedy, where there is no redis-server."""
    if find_redis_server() is None:
        pytest.skip(REMEDY)


@pytest.fixture
def redis_server(request: pytest.FixtureRequest) -> RedisServer:
    """An empty, running Redis, shared by the tests of a session one after the other.

    A test may kill, pause or restart it; one that changes its settings starts its own with
    `start_redis`.
    """
    need_redis_server()
    stash = request.config.stash
    server = stash.get(_SHARED, None)
    if server is None:
        server = stash[_SHARED] = RedisServer()
        request.config.add_cleanup(server.stop)
    server.resume()
    if not server.is_running:
        server.start()
    server.flush()
    return server


@pytest.fixture
def start_redis() -> Iterator[Callable[..., RedisServer]]:
    """Start servers with options of redis.conf; they are stopped when the test is over."""
    need_redis_server()
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(RedisServer(**options))
