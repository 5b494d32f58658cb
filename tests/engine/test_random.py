"""Many clients do what they like while processes of the store are killed; a model knows better."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import random
import secrets
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.engine.fleet import Fleet, Lost
from tests.engine.worker import data_of
from tests.support.files import pins_of
from tusserver.engine.takeover import LOOK_LIMIT
from tusserver.protocol.digests import format_digest

logger = logging.getLogger(__name__)

SECONDS = 8.0
CLIENTS = 6
WORKERS = 3
MAX_LENGTH = 300_000
BUSY = {"upload_locked", "append_superseded"}


class Model:
    """What is known of one upload from the answers."""

    def __init__(self, upload_id, length):
        self.upload_id = upload_id
        self.length = length
        self.told = 0
        """The highest offset that was told."""
        self.attempts = []
        """(offset, data) of all bodies that were sent."""
        self.kept = []
        """(offset, data) of what was acknowledged."""
        self.complete = False
        self.flowed = False
        """Whether an append may have gone on when the offset was told last."""

    def tell(self, offset):
        assert self.told <= offset <= self.length, (
            f"{self.upload_id}: {offset} was told after {self.told}"
        )
        self.told = offset

    def check(self, content):
        """Prove that the content is made of bodies, each from where the one before it ended."""
        assert len(content) == self.length
        for offset, data in self.kept:
            assert content[offset : offset + len(data)] == data, "an acknowledged body is not there"
        reached, todo = set(), [0]
        while todo:
            start = todo.pop()
            if start in reached:
                continue
            reached.add(start)
            for offset, data in self.attempts:
                if offset == start:
                    same = _common(content[start : start + len(data)], data)
                    ends = {other for other, _ in self.attempts} | {self.length}
                    todo += [end for end in ends if start < end <= start + same]
        assert self.length in reached, f"{self.upload_id}: bytes of nobody after {max(reached)}"


def _common(left, right):
    if left == right[: len(left)]:
        return len(left)
    return next(
        at for at, (one, other) in enumerate(zip(left, right, strict=False)) if one != other
    )


class Client:
    """A client that makes, fills, joins and removes uploads, over any worker."""

    def __init__(self, fleet, rng, name):
        self.fleet, self.rng, self.name = fleet, rng, name
        self.done = []
        self.finals = []
        self.lost_creations = 0
        self.open = True
        self._count = 0
        self._background = set()

    async def run(self):
        """Do one thing after the other while the test lasts, and finish what was begun."""
        while self.open:
            if self.rng.random() < 0.3:
                await self._concatenate()
            elif (upload := await self._create()) is not None:
                await self._fill(upload)
        for task in list(self._background):
            with suppress(Lost):
                await task

    async def _create(self, *, partial=False):
        length = self.rng.choice([0, 1, self.rng.randrange(2, MAX_LENGTH)])
        try:
            answer = await self.fleet.any()("create", length=length, partial=partial)
        except Lost:
            self.lost_creations += 1
            return None
        assert "error" not in answer, answer
        upload = Model(answer["upload_id"], length)
        upload.complete = length == 0
        return upload

    async def _concatenate(self):
        parts = [await self._create(partial=True) for _ in range(self.rng.randrange(1, 4))]
        parts = [part for part in parts if part is not None]
        if not parts:
            return
        before = self.rng.randrange(len(parts) + 1)
        for part in parts[:before]:
            await self._fill(part, keep=True)
        joined = [self.rng.choice(parts) for _ in range(self.rng.randrange(1, 4))]
        try:
            answer = await self.fleet.any()("join", parts=[part.upload_id for part in joined])
        except Lost:
            self.lost_creations += 1
        else:
            assert "error" not in answer, answer
            self.finals.append((answer["upload_id"], joined))
        for part in parts[before:]:
            await self._fill(part, keep=True)

    # --- one upload ---------------------------------------------------------------------

    async def _fill(self, upload, *, keep=False):
        while not upload.complete:
            with suppress(Lost):
                if not keep and self.rng.random() < 0.02:
                    await self._terminate(upload)
                    return
                offset = await self._head(upload)
                while upload.flowed and not upload.complete:
                    offset = await self._head(upload)
                if not upload.complete:
                    await self._act(upload, offset)
        self.done.append(upload)

    async def _head(self, upload):
        for _ in range(10):
            asked = time.monotonic()
            answer = await self.fleet.any()("head", upload_id=upload.upload_id)
            # A processor that is short of time makes pieces of a body come for that long.
            upload.flowed = time.monotonic() - asked >= LOOK_LIMIT
            if answer.get("error") not in BUSY:
                break
        assert "error" not in answer, (upload.upload_id, answer)
        upload.tell(answer["offset"])
        upload.complete = answer["complete"]
        assert upload.complete == (upload.told == upload.length)
        return answer["offset"]

    async def _act(self, upload, offset):
        acts = [self._append, self._append, self._cut, self._stall]
        acts += [self._lie, self._miss, self._race]
        await self.rng.choice(acts)(upload, offset)

    def _send(self, upload, offset, *, end, digest=None, worker=None):
        """Send a body at an offset; give its data, the answer to come, and its begin."""
        self._count += 1
        seed = f"{self.name}/{self._count}"
        room = upload.length - offset
        size = room if self.rng.random() < 0.4 else self.rng.randrange(room + 1)
        pieces, left = [], size
        while left > 0:
            piece = min(left, self.rng.randrange(1, 65_536))
            pieces.append((self.rng.choice([0.0, 0.0, 0.01]), piece))
            left -= piece
        data = data_of(seed, size)
        if digest != "wrong":
            upload.attempts.append((offset, data))
        asked = (worker or self.fleet.any()).ask(
            "append",
            upload_id=upload.upload_id,
            offset=offset,
            seed=seed,
            pieces=pieces,
            end=end,
            digest=digest,
        )
        return data, *asked

    async def _append(self, upload, offset):
        digest = self.rng.choice([None, None, "right"])
        data, answer, _ = self._send(upload, offset, end="complete", digest=digest)
        self._accepted(upload, offset, data, await answer)

    def _accepted(self, upload, offset, data, answer):
        if upload.flowed and answer.get("error") == "offset_mismatch":
            assert answer["offset"] > offset, (upload.upload_id, offset, answer)
            upload.tell(answer["offset"])
            return
        assert answer.get("offset") == offset + len(data), (upload.upload_id, offset, answer)
        assert "error" not in answer, (upload.upload_id, offset, answer)
        upload.tell(answer["offset"])
        upload.kept.append((offset, data))

    async def _cut(self, upload, offset):
        """The connection breaks: what came before is kept, unless a checksum was announced."""
        digest = self.rng.choice([None, None, "right"])
        data, answer, _ = self._send(upload, offset, end="disconnected", digest=digest)
        answer = await answer
        assert answer == {"error": "request_malformed"}, answer
        kept = 0 if digest else len(data)
        with suppress(Lost):
            assert await self._head(upload) == offset + kept

    async def _stall(self, upload, offset):
        """The connection falls silent: the client asks elsewhere and goes on from there."""
        digest = self.rng.choice([None, None, "right"])
        _, answer, begun = self._send(upload, offset, end=None, digest=digest)
        task = asyncio.ensure_future(answer)
        self._background.add(task)
        await begun.wait()
        if self.rng.random() < 0.5:
            await asyncio.sleep(self.rng.uniform(0, 0.3))
        offset = await self._head(upload)
        if not upload.complete:
            data, answer, _ = self._send(upload, offset, end="complete")
            self._accepted(upload, offset, data, await answer)

    async def _lie(self, upload, offset):
        """The checksum is wrong: nothing is kept."""
        _, answer, _ = self._send(upload, offset, end="complete", digest="wrong")
        assert await answer == {"error": "checksum_mismatch"}
        with suppress(Lost):
            assert await self._head(upload) == offset

    async def _miss(self, upload, offset):
        """The offset is wrong: the true one is told."""
        other = self.rng.choice([place for place in (offset - 1, offset + 1) if place >= 0])
        _, answer, _ = self._send(upload, min(other, upload.length), end="complete")
        upload.attempts.pop()
        assert await answer == {"error": "offset_mismatch", "offset": offset}

    async def _race(self, upload, offset):
        """Several bodies at one offset: at most one of them is accepted."""
        sent = [self._send(upload, offset, end="complete") for _ in range(3)]
        answers = await asyncio.gather(*(answer for _, answer, _ in sent), return_exceptions=True)
        accepted = 0
        for (data, _, _), answer in zip(sent, answers, strict=True):
            if isinstance(answer, Lost):
                continue
            if isinstance(answer, BaseException):
                raise answer
            if "error" in answer:
                assert answer["error"] in {*BUSY, "offset_mismatch"}, answer
            elif data:
                accepted += 1
                assert answer["offset"] == offset + len(data)
                upload.kept.append((offset, data))
        assert accepted <= 1

    async def _terminate(self, upload):
        with suppress(Lost):
            answer = await self.fleet.any()("terminate", upload_id=upload.upload_id)
            assert answer.get("error") in {None, *BUSY, "upload_not_found"}, answer
        while True:
            with suppress(Lost):
                worker = self.fleet.any()
                answer = await worker("head", upload_id=upload.upload_id)
                if answer.get("error") == "upload_not_found":
                    return
                await worker("terminate", upload_id=upload.upload_id)


async def content_of(worker, upload_id):
    answer = await worker("content", upload_id=upload_id)
    assert "error" not in answer, (upload_id, answer)
    content = b"".join(_read(path, length) for path, length in answer["segments"])
    digest = format_digest("sha256", hashlib.sha256(content).digest())
    assert answer["digest"] == ("" if answer["kind"] == "partial" else digest)
    return content


def _read(path, length):
    return Path(path).read_bytes()[:length]


async def unsettled(fleet, directory):
    """Name what is not finished yet."""
    busy = [await worker("busy") for worker in fleet.workers]
    found = [(name, what) for one in busy for name, what in one.items() if what]
    return found + [("pin", name) for name in pins_of(directory)]


async def check_all(fleet, clients, directory):
    """Check all that must hold when nothing goes on any more."""
    for _ in range(100):
        left = await unsettled(fleet, directory)
        if not left:
            break
        await asyncio.sleep(0.1)
    assert not left, left
    worker, known = fleet.any(), set()
    for client in clients:
        contents = {}
        for upload in client.done:
            contents[upload] = await content_of(worker, upload.upload_id)
            upload.check(contents[upload])
            known.add(upload.upload_id)
        for final_id, parts in client.finals:
            expected = b"".join(contents[part] for part in parts)
            assert await content_of(worker, final_id) == expected
            known.add(final_id)
    await worker("tidy")
    assert not list(directory.rglob("*.tmp"))
    there = {path.name.removesuffix(".meta") for path in directory.glob("??/*")}
    assert known <= there
    # What was made for a client that never learned of it.
    assert len(there - known) <= sum(client.lost_creations for client in clients)


@pytest.mark.timeout(90)
@pytest.mark.clause("CORE-PATCH-20", "CORE-HEAD-10")
async def test_whatever_happens_the_bytes_are_those_that_were_accepted(upload_dir, state_url):
    seed = os.environ.get("TUSSERVER_TEST_SEED") or secrets.token_hex(4)
    logger.info("the same again: TUSSERVER_TEST_SEED=%s", seed)
    rng = random.Random(seed)
    fleet = Fleet(upload_dir, state_url, random.Random(f"{seed} fleet"))
    clients = [Client(fleet, random.Random(f"{seed} {n}"), f"{seed}-{n}") for n in range(CLIENTS)]
    rng.shuffle(clients)
    tasks = []
    try:
        await fleet.open(WORKERS)
        trouble = asyncio.create_task(fleet.trouble())
        running = [asyncio.create_task(client.run()) for client in clients]
        tasks += [trouble, *running]
        await first_failure(tasks, seconds=SECONDS)
        for client in clients:
            client.open = False
        await first_failure(running, seconds=30)
        assert all(task.done() for task in running), "a client hangs"
        trouble.cancel()
        await asyncio.wait([trouble])
        await check_all(fleet, clients, upload_dir)
        assert fleet.kills
        assert await fleet.close() == [0] * WORKERS
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await fleet.kill()


async def first_failure(tasks, *, seconds):
    """Let tasks go on for a while; raise what the first one raises."""
    first = asyncio.FIRST_EXCEPTION
    done, _ = await asyncio.wait(tasks, timeout=seconds, return_when=first)
    for task in done:
        task.result()
