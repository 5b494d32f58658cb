"""Who asks, found out before a byte of a body is read (floor 5)."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, assert_never

from tusserver.gates import AccessRequest, Action
from tusserver.protocol.messages import (
    Append,
    Create,
    Describe,
    Discover,
    Download,
    Part,
    Terminate,
)
from tusserver.upload import Kind

if TYPE_CHECKING:
    from tusserver.caller import Caller
    from tusserver.engine.core import UploadEngine
    from tusserver.gates import Authorizer
    from tusserver.ports import RequestInfo
    from tusserver.protocol.messages import Command
    from tusserver.upload import Upload, UploadId

    _Guarded = Append | Create | Describe | Download | Terminate


class Gate:
    """Asks the engine's authoriser about every request but OPTIONS."""

    def __init__(self, engine: UploadEngine) -> None:
        """Guard this engine; without an authoriser anybody may do anything."""
        self._engine = engine
        self._authorizer: Authorizer | None = engine.parts.authorizer

    @property
    def is_guarded(self) -> bool:
        """Tell whether anybody is asked at all."""
        return self._authorizer is not None

    async def admit(self, command: Command, request: RequestInfo) -> tuple[Command, RequestInfo]:
        """Find out who asks; give the command and the request with the callers filled in.

        Raises: what `Authorizer.authorize` raises.
        """
        authorizer = self._authorizer
        if authorizer is None or isinstance(command, Discover):
            return command, request
        caller = await authorizer.authorize(await self._access(command, request))
        if isinstance(command, Create) and command.parts:
            parts = await self._prove_parts(authorizer, command.parts, request)
            command = replace(command, parts=parts)
        return command, replace(request, caller=caller)

    async def admit_faulty(self, segment: str | None, request: RequestInfo) -> None:
        """Ask about a request that is refused anyway: a stranger is told nothing but 401."""
        if self._authorizer is not None:
            action = Action.CREATE if segment is None else Action.DESCRIBE
            await self._authorizer.authorize(AccessRequest(action=action, request=request))

    async def _access(self, command: _Guarded, request: RequestInfo) -> AccessRequest:
        match command:
            case Create():
                kind = Kind.PARTIAL if command.partial else Kind.SINGLE
                return AccessRequest(
                    action=Action.CREATE,
                    request=request,
                    length=command.length,
                    kind=Kind.FINAL if command.parts else kind,
                    metadata=command.metadata,
                )
            case Append():
                return await self._access_to(Action.APPEND, command.upload_id, request)
            case Describe():
                return await self._access_to(Action.DESCRIBE, command.upload_id, request)
            case Download():
                return await self._access_to(Action.DOWNLOAD, command.upload_id, request)
            case Terminate():
                return await self._access_to(Action.TERMINATE, command.upload_id, request)
            case _:
                assert_never(command)

    async def _access_to(
        self, action: Action, upload_id: UploadId, request: RequestInfo
    ) -> AccessRequest:
        return AccessRequest(
            action=action,
            request=request,
            upload_id=upload_id,
            upload=await self._record(upload_id),
        )

    async def _record(self, upload_id: UploadId) -> Upload | None:
        if self._authorizer is None or not self._authorizer.needs_upload:
            return None
        upload, _ = await self._engine.parts.records.load(upload_id)
        return upload

    async def _prove_parts(
        self, authorizer: Authorizer, parts: tuple[Part, ...], request: RequestInfo
    ) -> tuple[Part, ...]:
        """Have the credentials checked that the URLs of parts carry, each one once.

        About each part by itself: what proves one may not prove another.
        """
        proven: dict[tuple[str, str], Caller] = {}
        shown = []
        for part in parts:
            key = part.query, part.upload_id
            if part.query and key not in proven:
                await asyncio.sleep(0)  # there may be many, and each takes the processor
                uri = f"{request.uri.partition('?')[0]}{part.upload_id}?{part.query}"
                access = await self._access_to(
                    Action.JOIN, part.upload_id, replace(request, uri=uri)
                )
                proven[key] = await authorizer.authorize(access)
            shown.append(replace(part, caller=proven.get(key)))
        return tuple(shown)
