"""One process of a store: an engine that takes its requests as lines of JSON.

`python -m tests.engine.worker DIRECTORY STATE`; it ends with its standard input.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import random
import sys
from pathlib import Path

from tusserver.body import BodyEnd
from tusserver.compose import SystemClock
from tusserver.engine.core import UploadEngine
from tusserver.engine.parts import EngineParts
from tusserver.engine.records import Records
from tusserver.errors import OffsetMismatch, TusError
from tusserver.hooks.callables import CallableHooks
from tusserver.protocol.digests import DigestRules
from tusserver.protocol.messages import Append, Checksum, Create, Part
from tusserver.state.local import LocalState
from tusserver.state.redis import RedisState
from tusserver.storage.local import LocalStorage
from tusserver.storage.wake import DatagramMailbox

logger = logging.getLogger(__name__)

SWEEP_SECONDS = 0.3
EXTENSIONS = frozenset({"creation", "checksum", "termination", "concatenation", "download"})


def data_of(seed: str, size: int) -> bytes:
    """Make the bytes of one attempt: the same in every process, other than all others."""
    return random.Random(seed).randbytes(size)


class PlannedBody:
    """A body whose pieces come after pauses; then it ends, or falls silent for good."""

    length = None

    def __init__(self, steps, end, begun):
        self.end = None
        self.last_byte_at = asyncio.get_running_loop().time()
        self._steps = steps
        self._closing = end
        self._begun = begun
        self._stopped = asyncio.Event()

    async def read(self):
        self._begun()
        if self.end is not None:
            return b""
        pause, data = self._steps.pop(0) if self._steps else (None, b"")
        if data or self._closing is None:
            try:
                async with asyncio.timeout(pause):
                    await self._stopped.wait()
            except TimeoutError:
                self.last_byte_at = asyncio.get_running_loop().time()
        if self.end is not None:
            return b""
        if not data:
            self.end = self._closing
        return data

    def stop(self, why):
        if self.end is None:
            self.end = why
            self._stopped.set()

    def trailer(self, _name):
        return None


def no_one():
    return None


async def no_op():
    return None


class Worker:
    """An engine and the requests that come to it."""

    def __init__(self, directory: Path, state_url: str):
        mailbox = DatagramMailbox(directory)
        local = state_url == "local"
        kind = "local" if local else "redis"
        storage = LocalStorage(directory, reserve=0, state_kind=kind, mailbox_name=mailbox.name)
        state = LocalState(storage) if local else RedisState(state_url)
        self.parts = EngineParts(
            storage=storage,
            state=state,
            records=Records(storage, state),
            mailbox=mailbox,
            hooks=CallableHooks(),
            clock=SystemClock(),
            extensions=EXTENSIONS,
            digests=DigestRules(name="sha-256"),
        )
        self.engine = UploadEngine(self.parts, sweep_interval=SWEEP_SECONDS)
        self._tasks = set()

    async def run(self):
        """Serve until the standard input ends."""
        await self.engine.start()
        say({"ready": True})
        reader = asyncio.StreamReader(limit=2**20)
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := await reader.readline():
            task = asyncio.create_task(self._answer(json.loads(line)))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        await self.engine.close()

    async def _answer(self, request):
        number, verb = request.pop("number"), request.pop("verb")
        try:
            answer = await getattr(self, f"do_{verb}")(number, **request)
        except OffsetMismatch as error:
            answer = {"error": error.code, "offset": error.offset}
        except TusError as error:
            answer = {"error": error.code}
        except Exception as error:
            logger.exception("%s failed", verb)
            answer = {"error": f"bug: {error!r}"}
        say({"number": number, **answer})

    async def do_create(self, _number, *, length, partial):
        command = Create(length=length, partial=partial, concat="partial" if partial else "")
        body = PlannedBody([], BodyEnd.COMPLETE, no_one)
        created = await self.engine.create(command, body, proceed=no_op)
        return {"upload_id": created.upload.upload_id}

    async def do_join(self, _number, *, parts):
        named = tuple(Part(upload_id=part) for part in parts)
        command = Create(length=None, parts=named, concat="final;...")
        body = PlannedBody([], BodyEnd.COMPLETE, no_one)
        created = await self.engine.create(command, body, proceed=no_op)
        return {"upload_id": created.upload.upload_id}

    async def do_append(self, number, *, upload_id, offset, seed, pieces, end, digest):
        steps, data = [], data_of(seed, sum(size for _, size in pieces))
        at = 0
        for pause, size in pieces:
            steps.append((pause, data[at : at + size]))
            at += size
        checksum = None
        if digest:
            hashed = data if digest == "right" else data + b"?"
            checksum = Checksum("sha1", hashlib.sha1(hashed).digest())  # noqa: S324
        body = PlannedBody(
            steps, None if end is None else BodyEnd(end), lambda: say({"begun": number})
        )
        command = Append(upload_id=upload_id, offset=offset, checksum=checksum)
        done = await self.engine.append(command, body, proceed=no_op)
        return {"offset": done.upload.offset}

    async def do_head(self, _number, *, upload_id):
        described = await self.engine.describe(upload_id)
        complete = described.upload.is_complete
        return {"offset": described.offset, "complete": complete}

    async def do_terminate(self, _number, *, upload_id):
        await self.engine.terminate(upload_id)
        return {}

    async def do_content(self, _number, *, upload_id):
        upload, segments = await self.engine.content(upload_id)
        found = [(str(segment.path), segment.length) for segment in segments]
        told = {"assembled": upload.assembled, "kind": upload.kind.value, "digest": upload.digest}
        return {"segments": found, **told}

    async def do_busy(self, _number):
        """Name what this process has not finished."""
        slots = self.parts.slots
        return {
            "holders": len(slots._holders),
            "waiters": len(slots._waiters),
            "coming": len(slots._coming),
            "leases": len(self.parts.storage._held),
            "tasks": sorted(task.get_name() for task in self.parts.crew._tasks),
        }

    async def do_tidy(self, _number):
        """Delete what a killed process left that is no upload."""
        return {"orphans": await self.parts.storage.sweep_orphans(older_than=0.0)}


def say(message):
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(Worker(Path(sys.argv[1]), sys.argv[2]).run())
