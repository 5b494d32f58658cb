"""A real redis-server of our own: on a free port, in a directory of its own."""

from __future__ import annotations

import atexit
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import redis

from tests.support.ports import free_port

if TYPE_CHECKING:
    from types import TracebackType

REMEDY = "no redis-server found; remedy: apt-get install redis-server"
START_SECONDS = 10.0


def find_redis_server() -> str | None:
    """Give the path of the redis-server program; None when there is none."""
    return shutil.which("redis-server")


class RedisServer:
    """Runs from its making until `stop`; survives `kill`, `restart`, `pause` with its data.

    Options are those of redis.conf, with underscores: `RedisServer(maxmemory="2mb")`.
    """

    def __init__(self, **options: str) -> None:
        program = find_redis_server()
        if program is None:
            raise FileNotFoundError(REMEDY)
        self._program = program
        self.directory = Path(tempfile.mkdtemp(prefix="redis-"))
        self.port = free_port()
        self._options = {
            "bind": "127.0.0.1",
            "save": "",
            "appendonly": "yes",
            "appendfsync": "everysec",
            "maxmemory_policy": "noeviction",
            "unixsocket": str(self.directory / "socket"),
        } | options
        self._process: subprocess.Popen[bytes] | None = None
        self._paused = False
        atexit.register(self.stop)
        self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Give the URL of database 0, with the password if there is one."""
        password = self._options.get("requirepass")
        return f"redis://{f':{password}@' if password else ''}127.0.0.1:{self.port}/0"

    @property
    def unix_url(self) -> str:
        """Give the URL of the socket in the file system."""
        return f"unix://{self._options['unixsocket']}"

    @property
    def pid(self) -> int:
        """Give the process id of the running server."""
        assert self._process is not None, "the server does not run"
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Tell whether the process is there, paused or not."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it on the data that is in its directory; return when it answers."""
        command = [self._program, "--port", str(self.port), "--dir", str(self.directory)]
        for name, value in self._options.items():
            command += [f"--{name.replace('_', '-')}", value]
        log = self.directory / "log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=output)
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"redis-server did not start:\n{log.read_text()[-2000:]}")
            time.sleep(0.01)

    def stop(self) -> None:
        """End it and delete its directory. Does nothing the second time."""
        # Nothing is kept, so nothing is to be waited for: SIGTERM is refused while Redis
        # writes its first append-only file.
        atexit.unregister(self.stop)
        self._end(signal.SIGKILL)
        shutil.rmtree(self.directory, ignore_errors=True)

    def kill(self) -> None:
        """Kill it (SIGKILL); the directory stays, `start` goes on from there.

        With `appendfsync everysec` Redis answers before it has written while a sync is under
        way, so that up to two seconds may be lost: use "always" where nothing may be.
        """
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop it in an orderly way and start it again on its data."""
        self._end(signal.SIGTERM)
        self.start()

    def pause(self) -> None:
        """Stop the process (SIGSTOP): it answers nothing, but its connections stay."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        self._paused = True

    def resume(self) -> None:
        """Let a paused process go on."""
        if self._paused and self._process is not None:
            self._process.send_signal(signal.SIGCONT)
        self._paused = False

    def cli(self, *args: str | bytes | float) -> Any:
        """Run one command over a connection of its own; give its reply with text decoded."""
        with self._client() as client:
            return client.execute_command(*args)

    def flush(self) -> None:
        """Drop everything, scripts too."""
        self.cli("FLUSHALL")
        self.cli("SCRIPT FLUSH")

    def _client(self) -> redis.Redis:
        return redis.Redis(
            host="127.0.0.1",
            port=self.port,
            password=self._options.get("requirepass"),
            decode_responses=True,
            encoding_errors="surrogateescape",
            protocol=2,
        )

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                answer = connection.recv(100)
        except OSError:
            return False
        return answer.startswith((b"+PONG", b"-NOAUTH"))

    def _end(self, how: signal.Signals) -> None:
        self.resume()
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(START_SECONDS)
        self._process = None
