"""What a small request costs the server, in microseconds of CPU, and where they go.

    python -m benchmarks.request_path [--profile] [--count 256] [-- --durability=process]

Runs the program's own server in this process, with its default settings but for the port and the
directory (metrics, access log, limits: everything that a request costs), on a real store in a
temporary directory. A forked client, whose work is not counted, sends OPTIONS, POST, PATCH of
4 KiB and HEAD over real connections. What is told is the CPU time of the whole server process, its
threads included, divided by the requests: least, median and largest of the rounds, and how much
of it the kernel took (syncs, and new files, which ext4 makes dear after many were deleted). An
upload is one POST, one PATCH and one HEAD.

--profile tells instead where the thread of the event loop spends its time, by function, sorted by
its own time (--only: in the requests of one verb). Calls of Python cost more while they are
watched: compare shares, not sums.

What follows `--` are settings of the server, as on its command line.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import os
import pstats
import resource
import shutil
import socket
import statistics
import sys
import tempfile
import time
from collections import Counter
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tusserver.compose.running import Post
from tusserver.compose.serving import build_app
from tusserver.config import Settings, load_settings
from tusserver.logs import start_logging
from tusserver.process.listening import Address, listen

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

BODY = bytes(4096)
VERBS = ("OPTIONS", "POST", "PATCH", "HEAD")
UPLOAD = ("POST", "PATCH", "HEAD")
METADATA = "filename aG9saWRheSBwaWN0dXJlIDAwMS5qcGc=,filetype aW1hZ2UvanBlZw=="
STATUS = {"OPTIONS": b"204", "POST": b"201", "PATCH": b"204", "HEAD": b"200", "DELETE": b"204"}
SHOWN = 60
"""Functions that a profile shows."""


# --- the server ---------------------------------------------------------------------------


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[tuple[str, int]]:
    """Serve as the program does; give host and port."""
    listening = listen(Address(settings.host, settings.port, None, settings.unix_socket_mode))
    build = partial(build_app, settings)
    # The clients are in this process, too: nobody's place is changed.
    post = Post(settings, build, listening, None, settings.max_connections, None)
    told, ready = asyncio.Event(), asyncio.Event()
    task = asyncio.create_task(post.serve(told, ready=ready.set))
    try:
        waiting = asyncio.create_task(ready.wait())
        await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if not task.done():
            yield listening.place
    finally:
        told.set()
        await task
        listening.retire()


# --- the client ---------------------------------------------------------------------------


class Client:
    """Keeps connections, and sends one request at a time on each; blocks."""

    def __init__(self, place: tuple[str, int], connections: int, body: bytes = BODY) -> None:
        """Connect; uploads are of this `body`."""
        self._body = body
        self._host = f"{place[0]}:{place[1]}"
        self._sockets = [socket.create_connection(place) for _ in range(connections)]
        for one in self._sockets:
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, verb: str, paths: Sequence[str]) -> list[str]:
        """Send a request to each of these paths; give what the answers call Location."""
        found: list[str] = []
        for first in range(0, len(paths), len(self._sockets)):
            some = list(zip(self._sockets, paths[first:], strict=False))
            for one, path in some:
                one.sendall(self._request(verb, path))
            found += [_location(one, STATUS[verb]) for one, _ in some]
        return found

    def _request(self, verb: str, path: str) -> bytes:
        fields = {
            "Host": self._host,
            "User-Agent": "request-path/1",
            "Accept": "*/*",
            "Accept-Encoding": "gzip, deflate",
            "Tus-Resumable": "1.0.0",
        }
        if verb == "POST":
            fields |= {"Upload-Length": str(len(self._body)), "Upload-Metadata": METADATA}
            fields |= {"Content-Length": "0"}
        if verb == "PATCH":
            fields |= {"Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
            fields |= {"Content-Length": str(len(self._body))}
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        head = f"{verb} {path} HTTP/1.1\r\n{lines}\r\n".encode()
        return head + self._body if verb == "PATCH" else head

    def close(self) -> None:
        """Disconnect."""
        for one in self._sockets:
            one.close()


def _location(connection: socket.socket, status: bytes) -> str:
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        if not (data := connection.recv(65_536)):
            raise ConnectionError(answer.decode())
        answer += data
    if not answer.startswith(b"HTTP/1.1 " + status):
        raise RuntimeError(answer.decode())
    _, found, rest = answer.partition(b"\r\nLocation: ")
    return rest.partition(b"\r\n")[0].decode() if found else ""


def fork_client(
    base_path: str, *, connections: int, count: int, body: bytes = BODY
) -> socket.socket:
    """Fork a client that sends `count` requests when it is told; give what a `Course` needs.

    Call before there is any thread or event loop.
    """
    ours, theirs = socket.socketpair()
    if not os.fork():
        ours.close()
        _obey(theirs, base_path, connections, count, body)
        os._exit(0)
    theirs.close()
    return ours


def _obey(
    control: socket.socket, base_path: str, connections: int, count: int, body: bytes
) -> None:
    """Be the client: do what single lines say until nobody says anything."""
    words = control.makefile("rw")
    host, port = words.readline().split()
    client = Client((host, int(port)), connections, body)
    paths: list[str] = []
    for line in words:
        verb = line.strip()
        if verb in {"OPTIONS", "POST"}:
            found = client.send(verb, [base_path] * count)
            paths = found if verb == "POST" else paths
        else:
            client.send(verb, paths)
        words.write("done\n")
        words.flush()


# --- measuring ----------------------------------------------------------------------------


class Course:
    """Has the client send requests, and measures what they cost."""

    def __init__(self, control: socket.socket, count: int) -> None:
        """Speak to the client by `control`; it sends `count` requests a verb."""
        control.setblocking(False)  # noqa: FBT003 - the library's
        self._control = control
        self._count = count
        self.profile: cProfile.Profile | None = None
        self.kernel: Counter[str] = Counter()
        """Microseconds that each verb's requests have spent in the kernel, all together."""
        self.watched: tuple[str, ...] = VERBS
        """The verbs whose requests are profiled, if there is a profile."""

    async def tell(self, text: str) -> None:
        """Say something to the client."""
        await asyncio.get_running_loop().sock_sendall(self._control, f"{text}\n".encode())

    async def run(self, verb: str) -> float:
        """Have one verb sent; give microseconds of CPU a request."""
        if self.profile is not None and verb in self.watched:
            self.profile.enable()
        before, kernel = time.process_time(), _in_kernel()
        await self.tell(verb)
        if not await asyncio.get_running_loop().sock_recv(self._control, 16):
            raise RuntimeError("the client has failed")
        took = time.process_time() - before
        self.kernel[verb] += round((_in_kernel() - kernel) * 1e6)
        if self.profile is not None:
            self.profile.disable()
        return took / self._count * 1e6

    async def round(self) -> dict[str, float]:
        """Have every verb sent once; give what each cost, and an upload."""
        took = {verb: await self.run(verb) for verb in VERBS}
        return took | {"upload": sum(took[verb] for verb in UPLOAD)}


def _in_kernel() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_stime


async def measure(settings: Settings, course: Course, arguments: argparse.Namespace) -> None:
    """Serve, measure, print."""
    async with serving(settings) as (host, port):
        await course.tell(f"{host} {port}")
        await course.round()  # Files are imported, caches filled.
        if arguments.profile:
            course.profile = cProfile.Profile()
            course.watched = VERBS if arguments.only is None else (arguments.only,)
        course.kernel.clear()
        rounds = [await course.round() for _ in range(arguments.rounds)]
    if course.profile is not None:
        of = " and a ".join(course.watched)
        print_profile(course.profile, f"microseconds of a {of}", arguments.rounds * arguments.count)
        return
    print(f"{'CPU us a':10} {'least':>8} {'median':>8} {'largest':>8}   in the kernel, mean")
    course.kernel["upload"] = sum(course.kernel[verb] for verb in UPLOAD)
    for name in (*VERBS, "upload"):
        took = sorted(one[name] for one in rounds)
        kernel = course.kernel[name] / arguments.rounds / arguments.count
        figures = f"{took[0]:8.0f} {statistics.median(took):8.0f} {took[-1]:8.0f}"
        print(f"{name:10} {figures} {kernel:8.0f}")


def print_profile(profile: cProfile.Profile, title: str, count: int) -> None:
    """Print functions by the time that is their own, divided by `count`."""
    rows: list[tuple[float, float, int, str]] = []
    found: dict[tuple[str, int, str], tuple[int, int, float, float, object]]
    found = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    for (path, line, name), (_, times, own, whole, _) in found.items():
        place = path if path == "~" else "/".join(Path(path).parts[-2:])
        rows.append((own, whole, times, f"{place}:{line} {name}" if line else name))
    print(title)
    print(f"{'own':>8} {'with its':>8} {'calls':>7}")
    for own, whole, calls, name in sorted(rows, reverse=True)[:SHOWN]:
        figures = f"{own / count * 1e6:8.1f} {whole / count * 1e6:8.1f} {calls / count:7.1f}"
        print(f"{figures}  {name}")


def main() -> None:
    """Read the arguments, fork the client, measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--profile", action="store_true", help="tell where the time goes")
    parser.add_argument("--only", choices=VERBS, help="the verb that is profiled")
    parser.add_argument("--count", type=int, default=256, help="requests a verb and round (256)")
    parser.add_argument("--rounds", type=int, default=7, help="rounds that are measured (7)")
    parser.add_argument("--connections", type=int, default=16, help="open at once (16)")
    parser.add_argument("--dir", type=Path, help="where the temporary directory is made")
    words = sys.argv[1:]
    cut = words.index("--") if "--" in words else len(words)
    arguments = parser.parse_args(words[:cut])
    folder = Path(tempfile.mkdtemp(prefix="tus-requests-", dir=arguments.dir))
    own = ["--port=0", f"--upload-dir={folder / 'uploads'}", *words[cut + 1 :]]
    settings = load_settings(own, {})
    control = fork_client(
        settings.base_path, connections=arguments.connections, count=arguments.count
    )
    log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT, 0o600)
    os.dup2(log, sys.stderr.fileno())
    start_logging(settings.log_level, settings.log_format)
    try:
        asyncio.run(measure(settings, Course(control, arguments.count), arguments))
    except BaseException:
        print((folder / "log").read_text(), file=sys.stdout)
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
