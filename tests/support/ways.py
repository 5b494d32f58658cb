"""Ways from a client to a server: directly or through a real proxy, and over a bad network."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.support.proxies import RunningProxy, TlsTus, documented, need_proxy, trusting
from tests.support.proxy import Proxy
from tests.support.raw import Tus
from tests.support.redis_fixture import need_redis_server
from tests.support.redis_server import RedisServer
from tests.support.server import TusServer

if TYPE_CHECKING:
    from collections.abc import Iterator

WAYS = {
    "directly": (None, "local"),
    "behind nginx": ("nginx", "local"),
    "behind HAProxy, with Redis": ("haproxy", "redis"),
}
"""What stands in front of the server, and its state store."""


@dataclass(frozen=True, slots=True)
class Way:
    """A server, what stands in front of it, and what clients need to believe that."""

    server: TusServer
    port: int
    scheme: str = "http"
    environment: dict[str, str] = field(default_factory=dict)

    def network(self, **options: Any) -> Proxy:
        """Make a bad network that ends where clients should go."""
        return Proxy(self.port, scheme=self.scheme, **options)

    def tus(self, network: Proxy) -> Tus:
        """Give the tus verbs over this network."""
        return (TlsTus if self.scheme == "https" else Tus)(network.url)

    def direct(self, url: str) -> str:
        """Give the URL of an upload at the server itself."""
        return self.server.url + url.rpartition("/")[2]


@contextmanager
def open_way(program: str | None, state: str) -> Iterator[Way]:
    """Start a server, and a proxy with the settings of the deployment page in front of it."""
    with ExitStack() as stack:
        if state == "redis":
            need_redis_server()
            state = stack.enter_context(RedisServer()).url
        server = stack.enter_context(TusServer("--trusted-proxies", "127.0.0.1", state=state))
        if program is None:
            yield Way(server, server.port)
        else:
            need_proxy(program)
            config, address = documented(program), f"127.0.0.1:{server.port}"
            front = stack.enter_context(RunningProxy(program, config, server=address, tls=True))
            yield Way(server, front.port, "https", trusting(front.certificate))
        server.check_log()
