"""Counting in Redis, which many processes share (floor 4)."""

from __future__ import annotations

import asyncio
import logging
import secrets
from typing import TYPE_CHECKING, Any, Protocol

from tusserver.errors import StateUnavailable
from tusserver.quota import lua
from tusserver.quota.ceilings import BURST, MINUTE, STEP
from tusserver.quota.counter import (
    NEW_SECONDS,
    ROOM,
    Comparison,
    Dues,
    Filled,
    Holding,
    Limit,
    Refusal,
    scopes_of,
)
from tusserver.upload import UploadId

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tusserver.quota.ceilings import Ceilings
    from tusserver.quota.counter import Claim, Entry, Row

logger = logging.getLogger(__name__)

ALIVE_SECONDS = 10.0
"""How long a process is believed alive after its last sign of life."""


class Scripts(Protocol):
    """What runs scripts in Redis."""

    async def evaluate(self, script: str, keys: Sequence[str], *arguments: str | float) -> Any:
        """Run a script; give its reply. Raises: StateUnavailable."""


class RedisCounter:
    """A `Counter` for processes on any number of machines."""

    beats = True
    holds = True
    lapse = ALIVE_SECONDS
    patience = 0.0

    def __init__(self, scripts: Scripts, ceilings: Ceilings, *, minute: float = MINUTE) -> None:
        """Count within these limits; `minute` is how long a creation counts, in seconds."""
        self._scripts = scripts
        self._ceilings = ceilings
        self._minute = minute
        self._worker = secrets.token_hex(8)
        self._tokens: set[str] = set()

    async def open(self) -> None:
        """Make a script known to Redis: one that it does not know is repeated, out of its turn."""
        await self.settle(Dues())

    async def close(self) -> None:
        """Drop the appends of this process."""
        if self._tokens:
            try:
                await self.settle(Dues(left=tuple(self._tokens)))
            except StateUnavailable:
                logger.info("Redis forgets the appends of this process by itself")

    async def claim(self, claim: Claim, dues: Dues, needed: Filled) -> int | Refusal:
        """Count a claim; see `Counter.claim`."""
        limits = [limit for one in self._ceilings.both for limit in one.of_uploads]
        reply = await self._evaluate(
            dues,
            lua.CLAIM,
            [lua.CREATIONS + scope for scope in scopes_of(claim.owner)],
            claim.upload_id,
            claim.owner,
            claim.least,
            claim.most,
            claim.written,
            int(claim.creating),
            needed.value,
            self._minute,
            *map(_text, limits),
        )
        if reply[0]:
            return int(reply[1])
        wait = float(reply[3])
        is_held = reply[4:] == [1]
        return Refusal(Limit(reply[1].decode()), reply[2] == 1, wait or None, is_held=is_held)

    async def enter(self, entry: Entry, dues: Dues) -> Refusal | None:
        """Count a running append; see `Counter.enter`."""
        self._tokens.add(entry.token)
        reply = await self._evaluate(
            dues,
            lua.ENTER,
            (lua.WORKERS,),
            entry.token,
            self._worker,
            entry.upload_id,
            entry.owner,
            _text(self._ceilings.owner.appends),
            _text(self._ceilings.all.appends),
            ALIVE_SECONDS,
        )
        if not reply:
            return None
        self._tokens.discard(entry.token)
        return Refusal(Limit.APPENDS, reply == 1)

    async def settle(self, dues: Dues) -> None:
        """Count what is due."""
        await self._evaluate(dues, lua.SETTLE, ())

    async def hold(self, dues: Dues, made: Mapping[UploadId, Row], places: int) -> Holding:
        """Count uploads that were made in held places; see `Counter.hold`."""
        values: list[str | float] = []
        for row in made.values():
            values += [row.upload_id, row.owner, _text(row.length), row.offset]
            values += [int(row.is_open), row.version]
        held, is_ample = await self._evaluate(
            dues,
            lua.HOLD,
            (lua.HOLDERS,),
            self._worker,
            ALIVE_SECONDS,
            places,
            (self._ceilings.number or 0) - ROOM,
            len(made),
            *values,
        )
        return Holding(held, is_ample == 1)

    async def ghosts(self) -> tuple[str, ...]:
        """Name processes that died holding places; see `Counter.ghosts`."""
        keys = (lua.COUNTS, lua.HOLDERS)
        reply = await self._scripts.evaluate(lua.GHOSTS, keys, NEW_SECONDS)
        return tuple(name.decode() for name in reply)

    async def bury(self, ghosts: Sequence[str]) -> None:
        """Give their places back."""
        await self._scripts.evaluate(lua.BURY, (lua.COUNTS, lua.HOLDERS), *ghosts)

    async def _evaluate(
        self, dues: Dues, script: str, keys: Sequence[str], *arguments: str | float
    ) -> Any:
        """Run a script that counts what is due before anything else; give its reply.

        What is asked afterwards finds that counted: commands are carried out in their order.
        """
        values: list[str | float] = [len(dues.rows)]
        for row in dues.rows.values():
            gone = int(row.gone) + int(row.gone and row.is_new)
            values += [row.upload_id, gone, _text(row.length), row.offset]
            values += [int(row.is_open), row.version]
        names = (lua.COUNTS, lua.IDS, lua.APPENDS, *keys)
        asked = self._scripts.evaluate(script, names, *arguments, *values, *dues.left)
        refunds = (self.draw(owner, -count) for owner, count in dues.refunds.items())
        reply, *_ = await asyncio.gather(asked, *refunds) if dues.refunds else (await asked,)
        self._tokens.difference_update(dues.left)
        return reply

    async def draw(self, owner: str, count: int) -> float:
        """Take bytes of bandwidth; see `Counter.draw`."""
        reply = await self._scripts.evaluate(
            lua.DRAW,
            [lua.BUCKET + scope for scope in scopes_of(owner)],
            count,
            BURST,
            *(_text(one.bandwidth) for one in self._ceilings.both),
        )
        return float(reply)

    async def beat(self, entries: Sequence[Entry]) -> None:
        """Say that this process lives, and which appends it runs."""
        values = []
        for entry in entries:
            values += [entry.token, f"{self._worker} {entry.upload_id} {entry.owner}"]
        keys = (lua.APPENDS, lua.WORKERS)
        await self._scripts.evaluate(lua.BEAT, keys, self._worker, ALIVE_SECONDS, *values)

    async def filled(self) -> Filled:
        """Tell how completely the records were counted."""
        script = "return redis.call('HGET', KEYS[1], 'filled')"
        reply = await self._scripts.evaluate(script, (lua.COUNTS,))
        return Filled.NO if reply is None else Filled(reply.decode())

    async def set_filled(self, filled: Filled) -> None:
        """Say how completely they were."""
        script = "return redis.call('HSET', KEYS[1], 'filled', ARGV[1])"
        await self._scripts.evaluate(script, (lua.COUNTS,), filled.value)

    async def confirm_filled(self, filled: Filled) -> bool:
        """Say so, unless all was lost; see `Counter.confirm_filled`."""
        reply = await self._scripts.evaluate(lua.CONFIRM, (lua.COUNTS,), filled.value)
        return bool(reply)

    async def compare(
        self, rows: Sequence[Row], *, after: UploadId | None, upto: UploadId | None, grace: float
    ) -> Comparison:
        """Put a range of ids right; see `Counter.compare`."""
        values: list[str | float] = []
        for row in rows:
            values += [row.upload_id, row.owner, _text(row.length), row.offset]
            values += [int(row.is_open), row.version, int(row.is_new)]
        changed, lost, added = await self._scripts.evaluate(
            lua.COMPARE,
            (lua.COUNTS, lua.IDS),
            "-" if after is None else f"({after}",
            "+" if upto is None else f"[{upto}",
            grace,
            2 * STEP,
            *values,
        )
        return Comparison(tuple(UploadId(name.decode()) for name in added), changed, lost)

    async def tidy(self) -> None:
        """Do nothing: keys that no longer matter expire."""


def _text(value: int | None) -> str:
    return "" if value is None else str(value)
