"""Final uploads (floor 4; tus 1.0.0, "Concatenation", unfinished parts included).

The manifest is committed first; then each part is pinned under its own lease, so that it can
neither expire nor be removed. When all parts are complete the final upload is complete: its
bytes lie in the parts until the assembly, a job that any process can resume, has joined them
inside the kernel. No two leases are ever held at once.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from tusserver.caller import EVERYONE
from tusserver.engine.beginnings import Beginnings
from tusserver.engine.work import Phase, Work
from tusserver.errors import (
    DigestMismatch,
    HeaderInvalid,
    PartInvalid,
    PartNotFound,
    StorageFault,
    TusError,
    TypeRefused,
    UploadLocked,
)
from tusserver.protocol.messages import Created, Extras
from tusserver.protocol.rules import check_parts, expires_at, is_expired, is_visible, limits_of
from tusserver.upload import EventState, Kind, Status

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from tusserver.caller import Caller
    from tusserver.engine.finish import Finisher
    from tusserver.engine.parts import EngineParts
    from tusserver.engine.remove import Remover
    from tusserver.engine.takeover import Takeover
    from tusserver.ports import Decision, Lease, RequestInfo
    from tusserver.protocol.messages import Create, Part
    from tusserver.upload import Upload, UploadId

logger = logging.getLogger(__name__)

AT_ONCE = 32
"""Records loaded at the same time."""
ASSEMBLIES = 4
"""Assemblies that run at the same time."""
MAX_ASSEMBLIES = 1000
"""Assemblies that wait in memory; the sweeper finds the others again."""


class Concatenation:
    """Makes, completes and assembles final uploads."""

    def __init__(
        self,
        parts: EngineParts,
        *,
        takeover: Takeover,
        finisher: Finisher,
        remover: Remover,
    ) -> None:
        """Use the engine's parts."""
        self._parts = parts
        self._takeover = takeover
        self._finisher = finisher
        self._remover = remover
        self._beginnings = Beginnings(parts)
        self._assembling: set[UploadId] = set()
        self._benches = asyncio.Semaphore(ASSEMBLIES)

    async def create(
        self,
        command: Create,
        final: Upload,
        *,
        admit: Callable[[Upload], Awaitable[None]],
        request: RequestInfo | None,
    ) -> Created:
        """Commit the manifest, pin the parts, complete it if they are complete.

        `admit` counts the upload in once its length is known. Raises: PartNotFound, PartInvalid,
        MaxSizeExceeded, HeaderInvalid (a length that is not the sum), TypeRefused, StorageFull,
        HookFailed, Rejected, what `admit` raises. Nothing is left behind then.
        """
        caller = EVERYONE if request is None else request.caller
        found = _seen_by(caller, command.parts, await self.load_parts(final))
        total = check_parts(found, self._parts.now(), limits_of(caller, self._parts.limits))
        if command.length is not None and command.length != total:
            raise HeaderInvalid("Upload-Length", "not the sum of the parts: leave it away")
        final = replace(final, length=total)
        await self._check_narrowed(final, found, request)
        await admit(final)
        lease = await self._parts.storage.create(final, sync=self._parts.syncs)
        try:
            await self._add(lease, final)
        finally:
            await lease.release()
        try:
            await self._pin_all(final)
            final, decision = await self._complete(final.upload_id, request)
        except TusError as error:
            # Who finished a part meanwhile may be at it, or have completed and told it.
            is_kept = not isinstance(error, StorageFault)
            left = await self._discard(final.upload_id, unless_complete=is_kept)
            if left is None:
                raise
            return Created(upload=left)
        extras = Extras(headers=decision.headers) if decision is not None else Extras()
        return Created(upload=final, extras=extras)

    async def _check_narrowed(
        self, final: Upload, found: Sequence[Upload | None], request: RequestInfo | None
    ) -> None:
        """Refuse what can only be judged later, when nobody knows what this caller may do.

        Raises: PartInvalid, TypeRefused.
        """
        caller = EVERYONE if request is None else request.caller
        if caller.max_size is not None and final.length is None:
            raise PartInvalid(
                "This credential limits the size: join parts once their lengths are known."
            )
        if caller.types and self._parts.kinds.looks_inside:
            if not _are_whole(found):
                raise PartInvalid(
                    "This credential limits the kind of file: join parts once they are complete."
                )
            await self._beginnings.check_joined(found, final, request)

    async def _add(self, lease: Lease, final: Upload) -> None:
        """Make the manifest known; leave nothing behind if that fails."""
        try:
            await self._parts.records.add(final)
        except TusError:
            await self._parts.storage.remove(lease)
            raise

    async def load_parts(self, final: Upload) -> list[Upload | None]:
        """Load the records of the parts, in their order, repeats included."""
        unique = list(dict.fromkeys(final.parts))
        found: dict[UploadId, Upload | None] = {}
        for start in range(0, len(unique), AT_ONCE):
            batch = unique[start : start + AT_ONCE]
            loads = await asyncio.gather(*map(self._takeover.load, batch))
            found.update(zip(batch, (upload for upload, _ in loads), strict=True))
        return [found[part_id] for part_id in final.parts]

    def part_finished(self, part_id: UploadId) -> None:
        """Complete the final uploads that waited for this part, in the background."""
        self._parts.crew.start_job(
            self._complete_waiting(part_id), name=f"finals waiting for {part_id}"
        )

    async def _complete_waiting(self, part_id: UploadId) -> None:
        for final_id in await self._parts.storage.pins(part_id):
            await self.resume(final_id)

    async def resume(self, final_id: UploadId) -> None:
        """Do what a final upload still lacks, if it can be done now. Logs what fails."""
        try:
            final, holder = await self._parts.records.load(final_id)
            if final is None or final.kind is not Kind.FINAL:
                return
            if final.status is Status.OPEN:
                if _are_whole(await self.load_parts(final)):
                    # A crash may have come before all of them were pinned.
                    await self._pin_all(final)
                    await self._complete_or_discard(final_id)
            elif final.is_complete and not final.assembled and holder is None:
                self._assemble_soon(final_id)
        except TusError as error:
            logger.warning("final upload %s waits: %s", final_id, error.message)

    # --- steps ---------------------------------------------------------------------------

    async def _pin_all(self, final: Upload) -> None:
        # A pin that is there already may not be on the disk yet: whoever makes it is at it.
        for part_id in dict.fromkeys(final.parts):
            await self._pin(part_id, final.upload_id)

    async def _pin(self, part_id: UploadId, final_id: UploadId) -> None:
        """Pin one part under its lease, so that no removal can come in between."""
        parts = self._parts
        async with self._takeover.hold(Work(part_id, chore=True)) as lease:
            part, _ = await parts.records.load(part_id)
            if lease is None or part is None or part.status.rank > Status.COMPLETE.rank:
                raise PartNotFound
            await parts.storage.pin(part_id, final_id, sync=parts.syncs)
            if part.expires_at is not None:
                await parts.records.commit(lease, part.next(expires_at=None), sync=parts.syncs)

    async def _complete_or_discard(self, final_id: UploadId) -> None:
        """Complete a final upload that waited for its parts, unless it turns out refused."""
        try:
            await self._complete(final_id, None)
        except TypeRefused as error:
            logger.warning("final upload %s is removed: %s", final_id, error.message)
            await self._discard(final_id)

    async def _complete(
        self, final_id: UploadId, request: RequestInfo | None
    ) -> tuple[Upload, Decision | None]:
        """Complete a final upload if all its parts are; give its record."""
        parts = self._parts
        work = Work(final_id, chore=True)
        async with self._takeover.hold(work) as lease:
            final, _ = await parts.records.load(final_id)
            if lease is None or final is None:
                raise PartNotFound
            found = await self.load_parts(final)
            if final.is_complete and not final.assembled:
                # Whoever was joining it may have been stopped for this look.
                self._assemble_soon(final_id)
            if final.status is not Status.OPEN or not _are_whole(found):
                return final, None
            if is_expired(final, parts.now()):
                return final, None  # Clients were told that it is gone; the sweeper removes it.
            total = check_parts(found, parts.now(), parts.limits) or 0
            await self._beginnings.check_joined(found, final, request)
            if final.length is None:
                await parts.storage.check_space(total)
            finished = self._finisher.finished(final, total)
            # Its bytes lie in the parts, which are durable; the event waits for the assembly.
            complete = replace(finished, event=EventState.NONE, synced=final.synced)
            decision = await self._finisher.consent(work, complete, request)
            work.phase = Phase.FINISHING
            await parts.records.commit(lease, complete, sync=parts.syncs)
        self._assemble_soon(final_id)
        return complete, decision

    def _assemble_soon(self, final_id: UploadId) -> None:
        """Assemble a final upload in the background, if that is not being done already."""
        if final_id in self._assembling or len(self._assembling) >= MAX_ASSEMBLIES:
            return  # The sweeper comes back to it.
        self._assembling.add(final_id)
        self._parts.crew.start_job(
            self._assemble_or_log(final_id),
            name=f"assembly of {final_id}",
            then=partial(self._assembling.discard, final_id),
        )

    async def _assemble_or_log(self, final_id: UploadId) -> None:
        try:
            async with self._benches:
                if not self._parts.slots.is_stopping:
                    await self.assemble(final_id)
        except DigestMismatch as error:
            logger.warning("final upload %s is removed: %s", final_id, error.message)
            await self._discard(final_id)
        except TusError as error:
            logger.warning("assembly of %s is put off: %s", final_id, error.message)

    async def assemble(self, final_id: UploadId) -> None:
        """Join the parts into one file, inside the kernel; then tell that it is finished."""
        parts = self._parts
        work = Work(final_id, chore=True)
        async with self._takeover.hold(work) as lease:
            final, _ = await parts.records.load(final_id)
            if lease is None or final is None or not final.is_complete or final.assembled:
                return
            whole = await self._join(work, lease, final)
            if not whole:
                return
            digest = await self._finisher.digests.of_joined(work, final)
            work.phase = Phase.FINISHING
            event_id = final.event_id
            final = final.next(
                assembled=True,
                synced=final.offset if parts.syncs else 0,
                event=EventState.PENDING if event_id else EventState.NONE,
                digest=digest,
            )
            await self._finisher.commit(lease, final)
        await self._unpin(final)

    async def _join(self, work: Work, lease: Lease, final: Upload) -> bool:
        parts = self._parts
        found = await self.load_parts(final)
        if not _are_whole(found):
            raise PartNotFound
        pieces = [(part.upload_id, part.offset) for part in found if part is not None]

        def stop() -> bool:
            return work.stopped is not None or parts.slots.is_stopping

        if not await parts.storage.concat(lease, pieces, stop=stop):
            return False
        if parts.syncs:
            try:
                await parts.storage.sync(final.upload_id)
            except StorageFault:
                # What the disk refused must not stay in memory: see `falls`.
                await parts.storage.trim(lease, 0)
                raise
        return True

    async def _unpin(self, final: Upload) -> None:
        """Let the parts go: from now on they expire as other uploads do."""
        for part_id in dict.fromkeys(final.parts):
            if self._parts.slots.is_stopping:
                return  # Whoever looks at a pin next sees that nobody needs it.
            await self._parts.storage.unpin(part_id, final.upload_id)
            await self.let_expire(part_id)

    async def let_expire(self, part_id: UploadId) -> None:
        """Give a part that no final upload needs any more its time of expiry."""
        with suppress(UploadLocked):  # The sweeper comes back to it.
            async with self._takeover.hold_if_free(Work(part_id, chore=True)) as lease:
                await self._let_expire(lease, part_id)

    async def _let_expire(self, lease: Lease | None, part_id: UploadId) -> None:
        parts = self._parts
        part, _ = await parts.records.load(part_id)
        if lease is None or part is None or part.status.rank > Status.COMPLETE.rank:
            return
        if part.expires_at is None and not await self._remover.is_pinned(part):
            expiry = expires_at(part.kind, part.status, parts.now(), parts.limits)
            if expiry is not None:
                await parts.records.commit(lease, part.next(expires_at=expiry))

    async def _discard(self, final_id: UploadId, *, unless_complete: bool = False) -> Upload | None:
        """Undo a final upload that could not be made, as far as that can be done now.

        By the ledger alone: the state store may be why it could not be made. Once the ledger has
        the removal mark, the sweeper does the rest. Gives what was left because it is complete, or
        because whoever has it is about to complete it.
        """
        try:
            async with self._takeover.hold(Work(final_id, chore=True)) as lease:
                final = (await self._parts.storage.peek(final_id)).record
                if final is not None and final.is_complete and unless_complete:
                    return final
                if lease is not None and final is not None:
                    await self._remover.erase(lease, final)
        except TusError as error:
            if unless_complete and isinstance(error, UploadLocked):
                final = (await self._parts.storage.peek(final_id)).record
                if final is not None and final.status.rank <= Status.COMPLETE.rank:
                    return final
            logger.warning("final upload %s is not removed yet: %s", final_id, error.message)
        return None


def _are_whole(found: Sequence[Upload | None]) -> bool:
    """Tell whether all parts are there and complete."""
    return all(part is not None and part.is_complete for part in found)


def _seen_by(
    caller: Caller, parts: Sequence[Part], found: Sequence[Upload | None]
) -> list[Upload | None]:
    """Leave out the parts that are not there for who asks, or for whom the part's URL names."""
    return [
        upload if upload is not None and is_visible(upload, part.caller or caller) else None
        for part, upload in zip(parts, found, strict=True)
    ]
