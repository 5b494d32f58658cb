"""The first bytes of uploads, looked at before they are stored (floor 4).

A request that brings too few of them is stored, and the question is put again with the next
one, at the latest before the upload is finished.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from typing import TYPE_CHECKING

from tusserver.body import BodyEnd
from tusserver.caller import EVERYONE
from tusserver.engine.kinds import FIRST, PeekedBody
from tusserver.errors import StorageFault, TypeRefused
from tusserver.upload import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tusserver.caller import Caller
    from tusserver.engine.parts import EngineParts
    from tusserver.engine.receive import Intake
    from tusserver.ports import RequestInfo, Segment
    from tusserver.upload import Upload


class Beginnings:
    """Has the first bytes of uploads checked, where the operator wants that."""

    def __init__(self, parts: EngineParts) -> None:
        """Use the engine's parts."""
        self._parts = parts

    def wrap(self, intake: Intake) -> Intake:
        """Let the body be looked at, if it brings bytes that decide about its upload."""
        record = intake.record
        if not self._parts.kinds.looks_inside or record.kind is not Kind.SINGLE:
            return intake
        return replace(intake, body=PeekedBody(intake.body)) if record.offset < FIRST else intake

    async def check(self, intake: Intake) -> None:
        """Look at the beginning of an upload if this request makes it known.

        Raises: TypeRefused (the body was stopped), StorageFault.
        """
        body = intake.body
        if not isinstance(body, PeekedBody):
            return
        record = intake.record
        stored = await self._read([record])
        beginning = stored + await body.peek(FIRST - record.offset)
        if intake.length is not None:
            beginning = beginning[: intake.length]
        if len(beginning) < FIRST and len(beginning) != intake.length:
            return
        try:
            self._check(beginning, record, _caller(intake.request))
        except TypeRefused:
            body.stop(BodyEnd.REFUSED)
            raise

    async def check_joined(
        self, parts: Iterable[Upload | None], final: Upload, request: RequestInfo | None
    ) -> None:
        """Look at the beginning of what complete parts make together. Raises: TypeRefused."""
        if self._parts.kinds.looks_inside:
            beginning = await self._read([part for part in parts if part is not None])
            self._check(beginning, final, _caller(request))

    def _check(self, beginning: bytes, upload: Upload, caller: Caller) -> None:
        self._parts.kinds.check_beginning(beginning, upload.metadata, caller)

    async def _read(self, uploads: Sequence[Upload]) -> bytes:
        """Read the first stored bytes of uploads, one after the other."""
        segments, room = [], FIRST
        for upload in uploads:
            length = min(upload.offset, room)
            if length:
                segments.append(self._parts.storage.segment(upload.upload_id, length))
            room -= length
        return await asyncio.to_thread(_read, segments) if segments else b""


def _read(segments: Sequence[Segment]) -> bytes:
    """Read segments. Blocks. Raises: StorageFault."""
    pieces = []
    try:
        for segment in segments:
            with segment.path.open("rb", buffering=0) as file:
                pieces.append(os.pread(file.fileno(), segment.length, 0))
    except OSError as exc:
        raise StorageFault from exc
    return b"".join(pieces)


def _caller(request: RequestInfo | None) -> Caller:
    return EVERYONE if request is None else request.caller
