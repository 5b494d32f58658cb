"""A proxy that stores bodies before it passes them on, and hangs up on those that are large."""

from __future__ import annotations

import http.client
import socket
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

READ_BEFORE_IT_HANGS_UP = 1024 * 1024
_AT_ONCE = struct.pack("ii", 1, 0)


class CuttingProxy:
    """Passes on to a port what has no more than `most` bytes, from its making until `close`."""

    def __init__(self, port: int, *, most: int) -> None:
        """Begin to listen."""

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _pass_on(self) -> None:
                length = int(self.headers.get("Content-Length", 0))
                if length > most:
                    self.rfile.read(READ_BEFORE_IT_HANGS_UP)
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
                    self.close_connection = True
                    return
                body = self.rfile.read(length)
                upstream = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
                try:
                    upstream.request(self.command, self.path, body, dict(self.headers))
                    answer = upstream.getresponse()
                    content = answer.read()
                finally:
                    upstream.close()
                self.send_response_only(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in {"connection", "transfer-encoding"}:
                        self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

        for method in ("GET", "HEAD", "POST", "PATCH", "DELETE"):
            setattr(Handler, f"do_{method}", Handler._pass_on)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End it."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
