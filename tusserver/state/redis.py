"""Records in Redis, which many processes share (floor 4).

Keys: `tus:{<id>}` is a hash with one record, written by the scripts of `lua.py`; `tus:exp`
(score: `expires_at`) and `tus:ids` are sorted sets that find uploads; `tus:store` is the id of
the store beside which the data lies. In a cluster the sorted sets lie on other nodes than the
records, so they are hints: written before a record, taken back after it is gone, and whoever
reads them looks at the record again.

A command whose answer got lost is sent again by the client library, and one that was given up
may still be executed later: every write here gives the same result the second time.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from typing import TYPE_CHECKING, Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import NoScriptError, RedisError

from tusserver.errors import ConfigError, StateConflict, StateUnavailable
from tusserver.measures import NO_METER, timed
from tusserver.protocol.rules import is_expired
from tusserver.state import lua
from tusserver.state.codec import format_upload, parse_upload
from tusserver.state.trouble import Complaints
from tusserver.upload import UploadId, is_upload_id
from tusserver.values import hide_password, is_redis_url

if TYPE_CHECKING:
    from builtins import list as list_of
    from collections.abc import Coroutine, Iterable, Sequence
    from datetime import datetime

    from tusserver.measures import Meter
    from tusserver.upload import Upload

    Command = tuple[str | bytes | int | float, ...]

logger = logging.getLogger(__name__)

STORE = "tus:store"
EXPIRIES = "tus:exp"
IDS = "tus:ids"

PATIENCE = 2.5
"""Seconds in which Redis must have answered, all attempts together: then 503 is better."""

_SHA = {
    script: hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()
    for script in (lua.ADD, lua.SAVE, lua.RESTORE)
}


def record_key(upload_id: UploadId) -> str:
    """Name the hash of an upload; the braces put all keys of an upload into one slot."""
    return f"tus:{{{upload_id}}}"


class RedisState:
    """A `StateStore` in Redis, by redis-py.

    All methods are safe to cancel: a command that was begun is carried to its end by a task
    of its own, so that no connection is ever left with an unread answer.
    """

    is_ledger = False
    kind = "redis"

    def __init__(
        self,
        url: str,
        *,
        max_connections: int = 32,
        patience: float = PATIENCE,
        meter: Meter = NO_METER,
    ) -> None:
        """Take a redis://, rediss:// or unix:// URL; nothing is connected yet.

        Raises: ConfigError for a URL that is not right.
        """
        self._url = hide_password(url)
        self._client = Redis.from_pool(_make_pool(url, max_connections, patience))
        self._patience = patience
        self._meter = meter
        self._complaints = Complaints(self._url)
        self._running: set[asyncio.Task[list_of[Any]]] = set()
        self._store_id: str | None = None
        self._scripts = dict(_SHA)

    @property
    def url(self) -> str:
        """Give the URL without its password."""
        return self._url

    # --- whose state this is ------------------------------------------------------------

    async def attach(self, store_id: str) -> None:
        """Check that the state belongs to this store; claim it when it belongs to nobody.

        Raises: ConfigError when it belongs to another store; StateUnavailable.
        """
        claimed, held = await self._execute(("SET", STORE, store_id, "NX"), ("GET", STORE))
        if claimed:
            logger.info(
                "Redis at %s held no store id: it is new, or was flushed; "
                "the ledger will restore uploads",
                self._url,
            )
        found = held.decode(errors="replace")
        if found != store_id:
            raise ConfigError(
                "state",
                self._url,
                f"holds the records of store {found}, but the upload directory is store "
                f"{store_id}: name the right Redis, or run `tusserver adopt` to give this one "
                "to the directory",
            )
        self._store_id = store_id
        for warning in await self.check():
            logger.warning("%s", warning)

    async def claimed_by(self) -> str | None:
        """Name the store it belongs to; None for one that is new, or was flushed."""
        (held,) = await self._execute(("GET", STORE))
        return None if held is None else str(held.decode(errors="replace"))

    async def adopt(self, store_id: str) -> None:
        """Give this Redis to a store, whichever it belonged to."""
        await self._execute(("SET", STORE, store_id))

    async def check(self) -> list_of[str]:
        """Name the settings of Redis with which it can lose records, and what mends them.

        Gives nothing when the settings may not be read.
        """
        try:
            replies = await self._supervise(
                self._send([("CONFIG GET", "appendonly"), ("CONFIG GET", "maxmemory-policy")])
            )
        except (RedisError, OSError):
            return []
        settings = {name: value for reply in replies for name, value in _pairs(reply)}
        warnings = []
        if settings.get("appendonly") == "no":
            warnings.append(
                f"Redis at {self._url} does not keep an append-only file: a restart loses records "
                "that the ledger has to restore. Mend it with: CONFIG SET appendonly yes"
            )
        policy = settings.get("maxmemory-policy", "noeviction")
        if policy != "noeviction":
            warnings.append(
                f"Redis at {self._url} drops records when its memory is full "
                f"(maxmemory-policy {policy}). "
                "Mend it with: CONFIG SET maxmemory-policy noeviction"
            )
        return warnings

    # --- records ------------------------------------------------------------------------

    async def add(self, upload: Upload) -> None:
        """Put a new record. Raises: StateConflict when another one is there."""
        await self._write(lua.ADD, upload)

    async def get(self, upload_id: UploadId) -> Upload | None:
        """Read a record; None if there is none."""
        (data,) = await self._execute(("HGET", record_key(upload_id), "data"))
        return None if data is None else parse_upload(data)

    async def save(self, upload: Upload) -> None:
        """Replace version n-1 by version n; the same version n again is no error.

        Raises: StateConflict when another version is there, none, or a status further on.
        """
        await self._write(lua.SAVE, upload)

    async def restore(self, upload: Upload) -> Upload:
        """Put a record unless a newer one is there; give the one that is there afterwards.

        The status further on, then the higher version is newer. Of two records with the same
        version the given one stays: it comes from the ledger, which is the truth.
        """
        *_, newer = await self._execute(*_hints(upload), _call(lua.RESTORE, upload))
        if newer is None:
            return upload
        stored = parse_upload(newer)
        await self._execute(*_hints(stored))
        return stored

    async def delete(self, upload_id: UploadId) -> None:
        """Drop a record; does nothing if it is gone."""
        await self._execute(
            ("DEL", record_key(upload_id)),
            ("ZREM", EXPIRIES, upload_id),
            ("ZREM", IDS, upload_id),
        )

    async def _write(self, script: str, upload: Upload) -> None:
        *_, is_there = await self._execute(*_hints(upload), _call(script, upload))
        if is_there:
            return
        stored = await self.get(upload.upload_id)
        if stored is not None:
            await self._execute(*_hints(stored))
        found = "no record" if stored is None else f"version {stored.version}"
        raise StateConflict(
            f"The state store holds {found} of the upload: version {upload.version} "
            "does not follow from that."
        )

    # --- scripts of others --------------------------------------------------------------

    async def evaluate(self, script: str, keys: Sequence[str], *arguments: str | float) -> Any:
        """Run a script over this connection; give its reply. It may be sent twice.

        Raises: StateUnavailable.
        """
        sha = self._scripts.get(script)
        if sha is None:
            sha = hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()
            self._scripts[script] = sha
        (reply,) = await self._execute(("EVALSHA", sha, len(keys), *keys, *arguments))
        return reply

    # --- finding uploads ----------------------------------------------------------------

    async def expired(self, now: datetime, limit: int) -> list_of[UploadId]:
        """Name uploads whose `expires_at` is not after `now`, the oldest first: a hint.

        An id without a record is named too: drop it. Puts the store id back after a flush.
        """
        commands: list_of[Command] = [
            ("ZRANGEBYSCORE", EXPIRIES, "-inf", now.timestamp(), "LIMIT", 0, limit)
        ]
        if self._store_id is not None:
            commands.append(("SET", STORE, self._store_id, "NX"))
        members, *_ = await self._execute(*commands)
        due: list_of[UploadId] = []
        outdated: list_of[Command] = []
        for upload_id, data in await self._fetch(members):
            upload = _readable(upload_id, data)
            if data is None or (upload is not None and is_expired(upload, now)):
                due.append(upload_id)
            elif upload is not None:
                # Left by a write that was refused; it would stand before others for ever.
                outdated += _hints(upload)
        if outdated:
            await self._execute(*outdated)
        return due

    async def list(self, after: UploadId | None, limit: int) -> list_of[Upload]:
        """Read up to `limit` records in the order of their ids, after `after`."""
        records: list_of[Upload] = []
        start = b"-" if after is None else b"(" + after.encode()
        while len(records) < limit:
            room = limit - len(records)
            (members,) = await self._execute(
                ("ZRANGEBYLEX", IDS, start, "+", "LIMIT", 0, room),
            )
            if not members:
                break
            start = b"(" + members[-1]
            for upload_id, data in await self._fetch(members):
                upload = _readable(upload_id, data)
                if upload is not None:
                    records.append(upload)
                elif data is None:
                    await self._forget(upload_id)
        return records

    async def close(self) -> None:
        """Wait for the commands that are under way, then let go of the connections."""
        if self._running:
            await asyncio.wait(self._running)
        await self._client.aclose()

    async def _fetch(self, members: Iterable[bytes]) -> list_of[tuple[UploadId, bytes | None]]:
        """Read what an index names; what cannot be an id of ours is left out."""
        names = (member.decode(errors="replace") for member in members)
        upload_ids = [UploadId(name) for name in names if is_upload_id(name)]
        if not upload_ids:
            return []
        reads = (("HGET", record_key(upload_id), "data") for upload_id in upload_ids)
        return list(zip(upload_ids, await self._execute(*reads), strict=True))

    async def _forget(self, upload_id: UploadId) -> None:
        """Drop an id without a record from the index; put it back if the record just came."""
        _, exists = await self._execute(("ZREM", IDS, upload_id), ("EXISTS", record_key(upload_id)))
        if exists:
            await self._execute(("ZADD", IDS, 0, upload_id))

    # --- the wire -----------------------------------------------------------------------

    async def _execute(self, *commands: Command) -> list_of[Any]:
        """Send commands in one round trip; give their replies. Raises: StateUnavailable."""
        try:
            with timed(self._meter.state_asked):
                replies = await self._supervise(self._exchange(commands))
        except (RedisError, OSError) as exc:
            self._complaints.failed(exc)
            raise StateUnavailable from exc
        self._complaints.answered()
        return replies

    async def _supervise(self, exchange: Coroutine[Any, Any, list_of[Any]]) -> list_of[Any]:
        """Run an exchange in a task that only running out of patience can cancel.

        Raises: TimeoutError, and what the exchange raises.
        """
        task = asyncio.create_task(exchange)
        self._running.add(task)
        alarm = asyncio.get_running_loop().call_later(self._patience, self._give_up, task)
        task.add_done_callback(lambda _: alarm.cancel())
        task.add_done_callback(self._ended)
        await asyncio.wait((task,))
        if task.cancelled():
            raise TimeoutError
        return task.result()

    def _give_up(self, task: asyncio.Task[list_of[Any]]) -> None:
        # Again until it is obeyed: `asyncio.wait_for`, through which redis-py sends, loses a
        # cancellation that comes just when the sending is done (Python 3.11).
        if not task.done():
            task.cancel()
            asyncio.get_running_loop().call_later(0.05, self._give_up, task)

    def _ended(self, task: asyncio.Task[list_of[Any]]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            # Who asked may have been cancelled: then nobody else looks at the exception.
            task.exception()

    async def _exchange(self, commands: Sequence[Command]) -> list_of[Any]:
        replies = await self._send(commands)
        if any(isinstance(reply, NoScriptError) for reply in replies):
            # Redis forgot the scripts: a restart, a fail-over, SCRIPT FLUSH.
            await self._send([("SCRIPT LOAD", script) for script in self._scripts])
            replies = await self._send(commands)
        for reply in replies:
            if isinstance(reply, RedisError):
                raise reply
        return replies

    async def _send(self, commands: Sequence[Command]) -> list_of[Any]:
        """Send commands in one write; error replies are among the replies."""
        # No transaction: in a cluster the keys of one upload and the indexes lie apart.
        async with self._client.pipeline(transaction=False) as pipeline:
            for command in commands:
                pipeline.execute_command(*command)
            return await pipeline.execute(raise_on_error=False)


def _make_pool(url: str, max_connections: int, patience: float) -> BlockingConnectionPool:
    reason = "expected redis://[user:password@]host[:port][/database], rediss:// or unix://path"
    if not is_redis_url(url):
        raise ConfigError("state", hide_password(url), reason)
    try:
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=max_connections,
            timeout=patience,
            # The asyncio Retry: redis-py takes the other one silently and never waits for it.
            retry=Retry(ExponentialWithJitterBackoff(cap=0.5, base=0.05), 3),
            socket_connect_timeout=1.0,
            socket_timeout=2.0,
            health_check_interval=15,
            client_name="tusserver",
            # With RESP3 redis-py waits for maintenance messages and no longer notices, when it
            # takes a connection from the pool, that the server has closed it.
            protocol=2,
        )
        # Options in the query string are only looked at when a connection is made.
        pool.connection_class(**pool.connection_kwargs)
    except (ValueError, TypeError, RedisError) as exc:
        # The text of the error may quote parts of the URL, and so the password.
        raise ConfigError(
            "state", hide_password(url), f"{reason}; an option is wrong ({type(exc).__name__})"
        ) from None
    return pool


def _hints(upload: Upload) -> list_of[Command]:
    """Make the commands that let `expired` and `list` find an upload."""
    by_id: Command = ("ZADD", IDS, 0, upload.upload_id)
    if upload.expires_at is None:
        return [by_id, ("ZREM", EXPIRIES, upload.upload_id)]
    return [by_id, ("ZADD", EXPIRIES, upload.expires_at.timestamp(), upload.upload_id)]


def _call(script: str, upload: Upload) -> Command:
    key, data = record_key(upload.upload_id), format_upload(upload)
    return ("EVALSHA", _SHA[script], 1, key, upload.version, upload.status.rank, data)


def _readable(upload_id: UploadId, data: bytes | None) -> Upload | None:
    """Parse a record of an index; one that cannot be read must not hide the others."""
    try:
        return None if data is None else parse_upload(data)
    except StateConflict as error:
        logger.warning("upload %s is left out: %s", upload_id, error.message)
        return None


def _pairs(reply: object) -> list_of[tuple[str, str]]:
    """Read a reply of CONFIG GET, in the shape of any version of redis-py; errors are empty."""
    if isinstance(reply, dict):
        return [(_text(name), _text(value)) for name, value in reply.items()]
    return []


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
