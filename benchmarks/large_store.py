"""What a store with many uploads costs: its start, its first page, its sweeping.

    python -m benchmarks.large_store [--state redis://127.0.0.1:6379/0] [--runs 3]

Makes 100,000 uploads (ledgers and data files written directly), a tenth of them expired, and runs
the real program on them while a steady load of small requests goes on. Prints a line a run.
The Redis must be an empty one of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp

from tusserver.state import lua
from tusserver.state.local import LocalState
from tusserver.state.redis import RedisState, _call, _hints
from tusserver.storage.ledger import format_ledger
from tusserver.storage.local import LocalStorage
from tusserver.upload import Status, Upload, new_upload_id

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

LENGTH = 4096
METADATA = "filename aG9saWRheSBwaWN0dXJlIDAwMS5qcGc=,filetype aW1hZ2UvanBlZw=="
BATCH = 500
PATIENCE = 120.0
LOOK_EVERY = 0.02
TUS = {"Tus-Resumable": "1.0.0"}
TYPED = {"Content-Type": "application/offset+octet-stream"}


# --- making a store -----------------------------------------------------------------------


def records(count: int, *, epoch: str, expired: bool) -> Iterator[Upload]:
    """Make records: half of them finished; the expired ones are all unfinished."""
    now = datetime.now(UTC)
    life = timedelta(hours=-1) if expired else timedelta(days=7)
    for number in range(count):
        done = not expired and number % 2 == 0
        yield Upload(
            upload_id=new_upload_id(),
            created_at=now - timedelta(days=1),
            length=LENGTH,
            offset=LENGTH if done else LENGTH // 2,
            synced=LENGTH if done else LENGTH // 2,
            epoch=epoch,
            metadata=METADATA,
            status=Status.COMPLETE if done else Status.OPEN,
            expires_at=None if done else now + life,
        )


def write_files(root: Path, store_id: str, uploads: list[Upload]) -> None:
    """Write what the server would have written for these uploads."""
    for upload in uploads:
        shard = root / upload.upload_id[:2]
        shard.mkdir(exist_ok=True)
        (shard / upload.upload_id).write_bytes(bytes(LENGTH))
        ledger = format_ledger(upload, store_id, None)
        (shard / f"{upload.upload_id}.meta").write_bytes(ledger)


@asynccontextmanager
async def store(
    root: Path, url: str
) -> AsyncIterator[tuple[LocalStorage, LocalState | RedisState]]:
    """Open the parts that keep uploads, as a server does."""
    kind = "local" if url == "local" else "redis"
    storage = LocalStorage(root, reserve=0, state_kind=kind, mailbox_name="")
    await storage.open()
    state = LocalState(storage) if url == "local" else RedisState(url)
    try:
        await state.attach(storage.store_id)
        yield storage, state
    finally:
        await state.close()
        await storage.close()


async def fill(root: Path, url: str, count: int, *, expired: bool) -> None:
    """Put uploads into the store."""
    async with store(root, url) as (storage, state):
        made = records(count, epoch=storage.epoch, expired=expired)
        while batch := list(itertools.islice(made, BATCH)):
            await asyncio.to_thread(write_files, root, storage.store_id, batch)
            if isinstance(state, RedisState):
                await add_all(state, batch)


async def add_all(state: RedisState, uploads: list[Upload]) -> None:
    """Put records into Redis in one go."""
    commands = [
        command for upload in uploads for command in (*_hints(upload), _call(lua.ADD, upload))
    ]
    await state._execute(*commands)  # noqa: SLF001 - one by one they take minutes


async def first_page(root: Path, url: str) -> float:
    """Time the first call that lists uploads, in milliseconds."""
    async with store(root, url) as (_, state):
        before = time.perf_counter()
        assert len(await state.list(None, 100)) == 100  # noqa: S101, PLR2004
        return (time.perf_counter() - before) * 1000


# --- the program under load ---------------------------------------------------------------


class Server:
    """The real program, and what it logs."""

    def __init__(self, root: Path, url: str, *flags: str) -> None:
        """Start it; `started` is the time in seconds until it answered a request."""
        before = time.perf_counter()
        self._log = root.parent / "log"
        words = ["--port=0", f"--upload-dir={root}", f"--state={url}", "--reserve=0", *flags]
        words += ["--no-access-log", "--max-open=none"]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, "-m", "tusserver", *words],
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )
        while (found := re.search(r"(http://\S+/)\n", self.log)) is None:
            if time.perf_counter() - before > PATIENCE or self.process.poll() is not None:
                raise RuntimeError(self.log)
            time.sleep(0.002)
        self.url = found[1]
        self.started = time.perf_counter() - before

    @property
    def log(self) -> str:
        """Give what it has printed."""
        return self._log.read_text(errors="replace")

    def cpu(self) -> float:
        """Give the seconds of CPU it has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii").split()
        return (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")

    async def idle(self) -> None:
        """Wait until it does nothing by itself any more."""
        before, quiet = self.cpu(), 0
        while quiet < 2:  # noqa: PLR2004 - seconds
            await asyncio.sleep(1)
            now = self.cpu()
            quiet = quiet + 1 if now - before < 0.05 else 0  # noqa: PLR2004
            before = now

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait(PATIENCE)


@dataclass(frozen=True, slots=True)
class Load:
    """A steady stream of uploads, each a POST, a PATCH, a HEAD and a GET."""

    url: str
    rate: float

    async def run(self, stop: asyncio.Event) -> list[float]:
        """Send until `stop` is set; give the milliseconds each request took."""
        took: list[float] = []
        connector = aiohttp.TCPConnector(limit=64)
        async with (
            aiohttp.ClientSession(connector=connector, headers=TUS) as session,
            asyncio.TaskGroup() as group,
        ):
            begin = asyncio.get_running_loop().time()
            for number in itertools.count(1):
                if stop.is_set():
                    break
                group.create_task(self._upload(session, took))
                due = begin + number * 4 / self.rate
                await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))
        return took

    async def _upload(self, session: aiohttp.ClientSession, took: list[float]) -> None:
        creation = {"Upload-Length": str(LENGTH)}
        location = await self._send(session, took, "POST", self.url, 201, headers=creation)
        url = f"{self.url.partition('/files')[0]}{location}"
        headers = {"Upload-Offset": "0", **TYPED}
        await self._send(session, took, "PATCH", url, 204, headers=headers, data=bytes(LENGTH))
        await self._send(session, took, "HEAD", url, 200)
        await self._send(session, took, "GET", url, 200)

    async def _send(
        self,
        session: aiohttp.ClientSession,
        took: list[float],
        method: str,
        url: str,
        status: int,
        **more: object,
    ) -> str:
        before = time.perf_counter()
        async with session.request(method, url, **more) as answer:
            await answer.read()
            if answer.status != status:
                raise RuntimeError(f"{method} {url}: {answer.status}")
        took.append((time.perf_counter() - before) * 1000)
        return answer.headers.get("Location", "")


def percentile(values: list[float], share: float) -> float:
    """Give the value below which this share of the values lies."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


async def under_load(server: Server, rate: float, until: asyncio.Future[None]) -> list[float]:
    """Send requests until something has happened; give what they took."""
    stop = asyncio.Event()
    until.add_done_callback(lambda _: stop.set())
    took = await Load(server.url, rate).run(stop)
    until.result()
    return took


async def swept(server: Server, count: int) -> None:
    """Wait until the server says that it swept so many uploads."""
    for _ in range(int(PATIENCE / LOOK_EVERY)):
        if sum(map(int, re.findall(r"swept ([0-9]+) uploads", server.log))) >= count:
            return
        await asyncio.sleep(LOOK_EVERY)
    raise TimeoutError


async def run(root: Path, url: str, arguments: argparse.Namespace) -> str:
    """Measure once; give the line to print."""
    page = await first_page(root, url)
    server = Server(root, url, "--sweep-interval=1h")
    try:
        started = server.started
        await server.idle()
        for_a_while = asyncio.ensure_future(asyncio.sleep(arguments.seconds))
        quiet = await under_load(server, arguments.rate, for_a_while)
        round_cpu = server.cpu()
    finally:
        server.stop()
    await fill(root, url, arguments.expired, expired=True)
    server = Server(root, url, "--sweep-interval=1h", "--sweep-grace=0")
    try:
        before = time.perf_counter()
        watch = asyncio.ensure_future(swept(server, arguments.expired))
        busy = await under_load(server, arguments.rate, watch)
        sweeping = time.perf_counter() - before
    finally:
        server.stop()
    rows = [
        f"start {started:.2f} s and {server.started:.2f} s with expired",
        f"first page {page:.0f} ms",
        f"sweep {sweeping:.1f} s",
        *(
            f"{name} p50 {percentile(took, 0.5):.1f} p99 {percentile(took, 0.99):.1f} "
            f"max {max(took):.0f} ms of {len(took)}"
            for name, took in (("quiet", quiet), ("sweeping", busy))
        ),
        f"p99 x {percentile(busy, 0.99) / percentile(quiet, 0.99):.2f}",
        f"CPU of first server {round_cpu:.1f} s",
    ]
    return "; ".join(rows)


async def main() -> None:
    """Make the store, measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--state", default="local")
    parser.add_argument("--uploads", type=int, default=100_000)
    parser.add_argument("--expired", type=int, default=10_000)
    parser.add_argument("--rate", type=float, default=100.0, help="requests a second")
    parser.add_argument("--seconds", type=float, default=10.0, help="of quiet load")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--dir", help="keep the store here and use it again")
    arguments = parser.parse_args()
    parent = Path(arguments.dir or tempfile.mkdtemp(prefix="tus-large-"))
    root = parent / "uploads"
    try:
        if not root.exists():
            before = time.perf_counter()
            await fill(root, arguments.state, arguments.uploads, expired=False)
            print(f"made {arguments.uploads} uploads in {time.perf_counter() - before:.1f} s")
        for number in range(arguments.runs):
            line = await run(root, arguments.state, arguments)
            print(f"run {number + 1}: {line}", flush=True)
    finally:
        if not arguments.dir:
            shutil.rmtree(parent)


if __name__ == "__main__":
    asyncio.run(main())
