"""The connection to Redis, over which the commands of many callers go together (floor 4).

What is asked in one turn of the loop, or while an answer is under way, goes out in one write, and
each caller gets its own replies or its own error: redis-py takes as long for one round trip as for
the commands of ten callers. A round trip that broke off is tried again, so that a command may be
carried out twice.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from contextvars import Context
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

from hiredis import pack_command
from redis.asyncio import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from tusserver.errors import ConfigError
from tusserver.values import hide_password, is_redis_url

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis.asyncio.connection import AbstractConnection

    Command = tuple[str | bytes | int | float, ...]

ATTEMPT = 2.0
"""Seconds in which a round trip must be over: then another connection is tried."""
MOST_WAITING = 10_000
"""Callers that may wait for their turn; others are refused at once."""
MOST_TOGETHER = 256
"""Callers whose commands go out together."""


@dataclass(slots=True, eq=False)
class _Call:
    """What one caller asked, and where it waits for the replies."""

    packed: list[bytes]
    count: int
    deadline: float
    answer: asyncio.Future[list[Any]]

    def end(self, replies: list[Any]) -> None:
        """Give the replies, or the first error among them, unless nobody waits any longer."""
        if self.answer.done():
            return
        for reply in replies:
            if isinstance(reply, RedisError):
                self.answer.set_exception(reply)
                return
        self.answer.set_result(replies)

    def fail(self, error: BaseException) -> None:
        """Give an error, unless nobody waits any longer."""
        if not self.answer.done():
            self.answer.set_exception(error)


class RedisWire:
    """Sends commands to one Redis, by the connection of redis-py.

    What was asked is carried to its end even when the caller is cancelled, so that no answer is
    left unread. Nobody waits for longer than the patience, all attempts together.
    """

    def __init__(self, url: str, *, patience: float) -> None:
        """Take a redis://, rediss:// or unix:// URL; nothing is connected yet.

        Raises: ConfigError for a URL that is not right.
        """
        self._pool, self._connection = _connection_to(url)
        self._patience = patience
        self._queue: deque[_Call] = deque()
        self._sent: list[_Call] = []
        self._sender: asyncio.Task[None] | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._scripts: dict[str, str] = {}

    def digest(self, script: str) -> str:
        """Name a script for EVALSHA; Redis gets its text when it does not know it."""
        sha = self._scripts.get(script)
        if sha is None:
            sha = hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()
            self._scripts[script] = sha
        return sha

    async def ask(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands in one round trip; give their replies.

        Raises: RedisError for the first one that failed; OSError, TimeoutError.
        """
        if len(self._queue) >= MOST_WAITING:
            raise RedisConnectionError(f"No connection available: {MOST_WAITING} callers wait")
        loop = asyncio.get_running_loop()
        call = _Call(
            packed=[_pack(command) for command in commands],
            count=len(commands),
            deadline=loop.time() + self._patience,
            answer=loop.create_future(),
        )
        self._queue.append(call)
        if self._sender is None:
            # On the next turn: others may ask in this one. In a context of its own, or it would
            # keep that of the request which came first.
            self._sender = loop.create_task(self._send(), name="redis", context=Context())
        if self._alarm is None:
            self._alarm = loop.call_at(call.deadline, self._look)
        return await call.answer

    async def close(self) -> None:
        """Wait for what was asked, then let go of the connection."""
        while self._sender is not None:
            await asyncio.wait((self._sender,))
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        await self._connection.disconnect()

    # --- patience -----------------------------------------------------------------------

    def _look(self) -> None:
        """Give up what has waited for too long, the oldest first; come again for the next."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        wake = None
        for call in chain(self._sent, self._queue):
            if call.deadline > now:
                wake = call.deadline
                break
            call.fail(TimeoutError())
        while self._queue and self._queue[0].deadline <= now:
            self._queue.popleft()
        if self._is_overdue(now):
            # Again until it is obeyed: `asyncio.wait_for`, through which redis-py may send, loses
            # a cancellation that comes just when the sending is done (Python 3.11).
            self._cancel_sending()
            wake = now + 0.05
        self._alarm = None if wake is None else loop.call_at(wake, self._look)

    def _is_overdue(self, now: float) -> bool:
        """Tell whether nobody waits any longer for what was sent."""
        return bool(self._sent) and self._sent[-1].deadline <= now

    def _cancel_sending(self) -> None:
        if self._sender is not None:
            self._sender.cancel()

    # --- the round trips ----------------------------------------------------------------

    async def _send(self) -> None:
        """Send what waits, and what comes to wait meanwhile."""
        try:
            while self._queue:
                count = min(len(self._queue), MOST_TOGETHER)
                self._sent = [self._queue.popleft() for _ in range(count)]
                await self._serve(self._sent)
        finally:
            self._sent = []
            self._sender = None

    async def _serve(self, calls: list[_Call]) -> None:
        """Carry out calls, and give each one its replies or its error."""
        try:
            unknown = await self._carry_out(calls, ())
            if unknown:
                # Redis forgot the scripts: a restart, a fail-over, SCRIPT FLUSH.
                loads = [_pack(("SCRIPT", "LOAD", script)) for script in self._scripts]
                for call, replies in await self._carry_out([call for call, _ in unknown], loads):
                    call.end(replies)
        except (RedisError, OSError) as error:
            for call in calls:
                call.fail(error)
        except asyncio.CancelledError:
            await self._connection.disconnect(nowait=True)
            if not self._is_overdue(asyncio.get_running_loop().time()):
                raise  # By somebody else: the loop is closed.
            _forget_cancellations()
            for call in calls:
                call.fail(TimeoutError())

    async def _carry_out(
        self, calls: Sequence[_Call], before: Sequence[bytes]
    ) -> list[tuple[_Call, list[Any]]]:
        """Carry out calls in one round trip; give those that named a script unknown to Redis."""
        packed = list(before)
        for call in calls:
            packed += call.packed
        at = len(before)
        replies = await self._converse(packed, at + sum(call.count for call in calls))
        unknown = []
        for call in calls:
            mine = replies[at : at + call.count]
            at += call.count
            if any(isinstance(reply, NoScriptError) for reply in mine):
                unknown.append((call, mine))
            else:
                call.end(mine)
        return unknown

    async def _converse(self, packed: list[bytes], count: int) -> list[Any]:
        """Send bytes and read so many replies; error replies are among them."""
        # A connection that the server has closed meanwhile is made anew.
        await self._pool.ensure_connection(self._connection)
        attempt = partial(self._attempt, packed, count)
        replies: list[Any] = await self._connection.retry.call_with_retry(attempt, self._break_off)
        return replies

    async def _attempt(self, packed: list[bytes], count: int) -> list[Any]:
        connection = self._connection
        replies: list[Any] = []
        try:
            async with asyncio.timeout(ATTEMPT):
                await connection.send_packed_command(packed)
                while len(replies) < count:
                    try:
                        replies.append(await connection.read_response())
                    except ResponseError as error:
                        replies.append(error)
        except TimeoutError as exc:
            raise RedisTimeoutError("Timeout reading from socket") from exc
        return replies

    async def _break_off(self, _error: Exception) -> None:
        await self._connection.disconnect(nowait=True)


def _pack(command: Command) -> bytes:
    # The connection of redis-py packs in Python, which takes nine times as long. The annotation
    # of hiredis means a tuple of any length.
    packed: bytes = pack_command(command)  # type: ignore[arg-type]
    return packed


def _forget_cancellations() -> None:
    """Go on as a task that nobody cancelled: else time limits would think they were not meant."""
    task = asyncio.current_task()
    while task is not None and task.uncancel():
        pass


def _connection_to(url: str) -> tuple[ConnectionPool, AbstractConnection]:
    """Make what can make a connection, and one that is not connected yet."""
    reason = "expected redis://[user:password@]host[:port][/database], rediss:// or unix://path"
    if not is_redis_url(url):
        raise ConfigError("state", hide_password(url), reason)
    try:
        pool = ConnectionPool.from_url(
            url,
            # The asyncio Retry: redis-py takes the other one silently and never waits for it.
            retry=Retry(ExponentialWithJitterBackoff(cap=0.5, base=0.05), 3),
            socket_connect_timeout=1.0,
            # A round trip has one, which costs less than one for each reply.
            socket_timeout=None,
            health_check_interval=15,
            client_name="tusserver",
            # With RESP3 redis-py waits for maintenance messages and no longer notices that the
            # server has closed the connection.
            protocol=2,
        )
        # Options in the query string are only looked at when a connection is made.
        return pool, pool.connection_class(**pool.connection_kwargs)
    except (ValueError, TypeError, RedisError) as exc:
        # The text of the error may quote parts of the URL, and so the password.
        raise ConfigError(
            "state", hide_password(url), f"{reason}; an option is wrong ({type(exc).__name__})"
        ) from None
