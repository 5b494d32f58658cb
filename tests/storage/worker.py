"""A worker in a process of its own: holds an upload, and lets go when it is asked to.

    worker.py DIRECTORY hold UPLOAD_ID      takes the lease and keeps it until it is asked
    worker.py DIRECTORY flow UPLOAD_ID      takes it and writes "H" until it is asked
    worker.py DIRECTORY deaf                opens its mailbox and never answers

It prints `ready MAILBOX` once it is so far.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from tests.storage.fakes import Count, FedBody, opened, take
from tusserver.body import BodyEnd
from tusserver.ports import Answer, Outcome
from tusserver.storage.wake import DatagramMailbox


def say(text):
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


class Flow:
    """An append that goes on until it is stopped."""

    def __init__(self, storage, lease, upload):
        self.body = FedBody(end=None)
        self.progress = Count()
        self._storage = storage
        self._lease = lease
        self._upload = upload
        self._feeding = asyncio.create_task(self._feed())
        self._writing = asyncio.create_task(
            storage.append(
                lease,
                self.body,
                offset=0,
                window=upload.length,
                tap=None,
                progress=self.progress,
            )
        )

    async def _feed(self):
        while True:
            self.body.feed(b"H" * 1000)
            await asyncio.sleep(0.001)

    async def stop(self):
        self._feeding.cancel()
        self.body.stop(BodyEnd.SUPERSEDED)
        stored = await self._writing
        await self._storage.record(self._lease, self._upload.next(offset=stored), sync=False)


async def main(directory, what, upload_id=None):
    mailbox = DatagramMailbox(directory)
    async with opened(directory, mailbox=mailbox.name) as storage:
        await mailbox.open()
        lease = flow = None
        if upload_id is not None:
            lease = await take(storage, upload_id)
        if what == "flow":
            flow = Flow(storage, lease, (await storage.peek(upload_id)).record)

        async def let_go(verb, asked):
            if what == "deaf":
                await asyncio.sleep(60)
            if lease is not None and asked == upload_id:
                if flow is not None:
                    await flow.stop()
                await lease.release()
                say("released")
            return Answer(Outcome.FREE)

        mailbox.serve(let_go)
        say(f"ready {mailbox.name}")
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), *sys.argv[2:]))
