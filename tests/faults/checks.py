"""What must hold when nothing goes on any more: of every upload, file and event."""

from __future__ import annotations

import os
import time
from contextlib import closing, suppress
from functools import partial
from typing import TYPE_CHECKING

from tests.faults.client import Client, Gone, expected_content
from tests.faults.kinds import KINDS
from tests.faults.stream import first_difference
from tests.support.files import pins_of
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.model import Upload
    from tests.faults.world import World
    from tests.hooks.receivers import HookReceiver
    from tests.support.server import TusServer

SETTLED = 60.0
LATE = 4.0
DAY = 86_400.0


def run_clients(world: World, seed: str, kinds=KINDS) -> list[Client]:
    """Start one client of each kind."""
    clients = [kind(world, f"{seed}/{number}") for number, kind in enumerate(kinds)]
    for client in clients:
        client.thread.start()
    return clients


def settle(world: World, clients: list[Client]) -> None:
    """Let clients finish what they have begun."""
    world.ending.set()
    for client in clients:
        client.thread.join(SETTLED)
    world.check()
    assert not [client.thread.name for client in clients if client.thread.is_alive()]


def look_at_all(looker: Client, world: World) -> None:
    """Ask for every upload: what was removed is gone, what was complete is whole."""
    for upload in world.known():
        if upload.removed:
            looker.is_gone(upload)
        elif upload.complete and not upload.partial and not upload.removing:
            looker.verify(upload)
            world.count("compared at the end")
        elif upload.parts and not upload.complete and not upload.gone:
            look_at_joined(upload, world)
        elif not upload.complete and not upload.gone:
            try:
                looker.head(upload)
            except Gone:
                world.count("uploads expired")


def look_at_joined(upload: Upload, world: World) -> None:
    """Wait for a joined upload to have its bytes, or to expire without its parts.

    It is completed a moment after these, also where that moment was a death.
    """
    age = time.monotonic() - upload.touched
    is_whole = all(part.complete for part in upload.parts)
    is_due = is_whole and age < world.promise.expire_after - LATE
    if not is_settled(upload, world):
        within = world.promise.expire_after + LATE
        assert eventually(partial(is_settled, upload, world), within=within), upload.target
        assert upload.complete or not is_due, upload.wrong("never became one file")


def is_settled(upload: Upload, world: World) -> bool:
    """Tell whether a joined upload has got its bytes, or is gone."""
    since = time.monotonic()
    answer = world.tus.head(upload.target)
    assert answer.status in {200, 404, 423, 503}, answer
    if answer.status == 404:
        upload.miss(since=since)
    elif answer.offset is not None:
        upload.tell(answer.offset)
    return upload.gone or upload.complete


def check_all(server: TusServer, world: World, seed: str) -> set[str]:
    """Check what must hold of every upload when nothing goes on; name those nobody knows."""
    with closing(Client(world, f"{seed}/at the end")) as looker:
        look_at_all(looker, world)
    staying = {u for u in world.known() if u.complete and not u.partial and not u.removing}
    unknown = Unknown(world)

    def untidy() -> set[str]:
        there, known = files_of(server.upload_dir), names_of(staying)
        more = {name for name in there - known if not unknown.is_whole(name)}
        return more | (known - there)

    if not eventually(lambda: not untidy(), within=world.promise.expire_after + LATE):
        # What has no valid record goes after a day: here it comes.
        for name in untidy():
            path = server.upload_dir / name[:2] / name
            with suppress(FileNotFoundError):
                os.utime(path, (time.time() - 2 * DAY,) * 2)
        assert server.terminate() == 0
        server.start()
    assert eventually(lambda: not untidy(), within=SETTLED), [
        f"{name} ({unknown.status(name)}): {world.ledger(name.removesuffix('.meta'))[:1500]}"
        for name in untidy()
    ]
    unknown.check()
    for upload in staying:
        found = server.data_file(upload.target).read_bytes()
        assert found == expected_content(upload), upload.wrong(
            f"on the disk: {first_difference(found, expected_content(upload))}"
        )
    assert not pins_of(server.upload_dir)
    return set(unknown.whole)


class Unknown:
    """Uploads whose client never had an answer to their creation: none knows of them."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._tus = world.tus
        self.whole: dict[str, bool] = {}
        """Those that are complete, and whether they were joined of parts."""

    def status(self, name: str) -> int:
        return self._tus.head(f"{self._tus.path}{name.removesuffix('.meta')}").status

    def is_whole(self, name: str) -> bool:
        """Tell whether it is there, complete: then it stays."""
        upload_id = name.removesuffix(".meta")
        if upload_id not in self.whole:
            answer = self._tus.head(f"{self._tus.path}{upload_id}")
            length = answer.get("Upload-Length")
            is_whole = answer.status == 200 and str(answer.offset) == length
            kind = answer.get("Upload-Concat") or ""
            if is_whole and kind != "partial":
                self.whole[upload_id] = kind.startswith("final")
        return upload_id in self.whole

    def check(self) -> None:
        """Compare how many there are with how many creations had no answer."""
        counts, known = self._world.counts, self._world.known()
        refused = counts["joinings told to wait"] if counts["power cuts"] else 0
        for joined, unanswered in (
            (False, counts["creations without an answer"]),
            (True, counts["joinings without an answer"] + refused),
        ):
            found = [name for name, was_joined in self.whole.items() if was_joined is joined]
            undone = sum(upload.undone for upload in known if bool(upload.parts) is joined)
            assert len(found) <= unanswered + undone, (joined, found, unanswered, undone)


def names_of(uploads) -> set[str]:
    return {name for one in uploads for name in (one.upload_id, f"{one.upload_id}.meta")}


def files_of(directory: Path) -> set[str]:
    return {path.name for path in directory.glob("[0-9a-f][0-9a-f]/*")}


def check_events(receiver: HookReceiver, world: World, unknown: set[str]) -> None:
    """Each finish was told, under one id however often.

    Joined uploads are finished once they are one file: one removed before that is none ever.
    """
    known = (u for u in world.known() if u.complete and not u.partial)
    finished = {u.upload_id: u for u in known if u.joined or not (u.parts and u.removing)}

    def untold() -> set[str]:
        told = {got.upload_id for got in receiver.of("post-finish")}
        return (set(finished) | unknown) - told

    assert eventually(lambda: not untold(), within=SETTLED), [
        finished[one].wrong("its finish was never told") if one in finished else one
        for one in untold()
    ]
    ids: dict[str, str] = {}
    told = receiver.of("post-finish")
    for got in told:
        assert ids.setdefault(got.upload_id, got.event_id) == got.event_id, got.upload_id
    world.counts["finishes told"] = len(ids)
    world.counts["finishes told more than once"] = len(told) - len(ids)
