"""Records in Redis, which many processes share (floor 4).

Keys: `tus:{<id>}` is a hash with one record, written by the scripts of `lua.py`; `tus:exp`
(score: `expires_at`) and `tus:ids` are sorted sets that find uploads; `tus:store` is the id of
the store beside which the data lies. One script writes a record and its entries in both sets. In a
cluster these lie in other slots, which a script may not touch; there they are hints: written before
a record, taken back after it is gone. Whoever reads them looks at the record again.

A command whose answer got lost is sent again by the client library, and one that was given up
may still be executed later: every write here gives the same result the second time.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from redis.exceptions import ClusterCrossSlotError, RedisError

from tusserver.errors import ConfigError, StateConflict, StateUnavailable
from tusserver.measures import NO_METER, timed
from tusserver.protocol.rules import is_expired
from tusserver.state import lua
from tusserver.state.codec import format_upload, parse_upload
from tusserver.state.trouble import Complaints
from tusserver.state.wire import RedisWire
from tusserver.upload import UploadId, is_upload_id
from tusserver.values import hide_password

if TYPE_CHECKING:
    from builtins import list as list_of
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from tusserver.measures import Meter
    from tusserver.state.wire import Command
    from tusserver.upload import Upload

logger = logging.getLogger(__name__)

STORE = "tus:store"
EXPIRIES = "tus:exp"
IDS = "tus:ids"

MAX_WRITTEN = 256
"""Uploads of which is known what was written last."""
PATIENCE = 2.5
"""Seconds in which Redis must have answered, all attempts together: then 503 is better."""


def record_key(upload_id: UploadId) -> str:
    """Name the hash of an upload; the braces put all keys of an upload into one slot."""
    return f"tus:{{{upload_id}}}"


class RedisState:
    """A `StateStore` in Redis, by redis-py.

    All methods are safe to cancel: what was asked is carried to its end.
    """

    is_ledger = False
    kind = "redis"

    def __init__(
        self,
        url: str,
        *,
        patience: float = PATIENCE,
        meter: Meter = NO_METER,
    ) -> None:
        """Take a redis://, rediss:// or unix:// URL; nothing is connected yet.

        Raises: ConfigError for a URL that is not right.
        """
        self._url = hide_password(url)
        self._wire = RedisWire(url, patience=patience)
        self._meter = meter
        self._complaints = Complaints(self._url)
        self._store_id: str | None = None
        self._has_slots = False
        self._written: dict[UploadId, tuple[bytes, Upload]] = {}
        """What was written last: bytes that are found again need not be parsed."""

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
            replies = await self._wire.ask(
                (("CONFIG", "GET", "appendonly"), ("CONFIG", "GET", "maxmemory-policy"))
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
        if data is None:
            return None
        written, upload = self._written.get(upload_id, (b"", None))
        return upload if upload is not None and written == data else parse_upload(data)

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
        newer = await self._put(lua.RESTORE, upload)
        if newer is None:
            return upload
        stored = parse_upload(newer)
        await self._execute(*_hints(stored))
        return stored

    async def delete(self, upload_id: UploadId) -> None:
        """Drop a record; does nothing if it is gone."""
        key = record_key(upload_id)
        if not self._has_slots:
            drop = self._wire.digest(lua.DROP)
            try:
                await self._execute(("EVALSHA", drop, 3, key, IDS, EXPIRIES, upload_id))
            except ClusterCrossSlotError:
                self._has_slots = True
            else:
                return
        await self._execute(("DEL", key), ("ZREM", EXPIRIES, upload_id), ("ZREM", IDS, upload_id))

    async def _write(self, script: str, upload: Upload) -> None:
        if await self._put(script, upload):
            return
        stored = await self.get(upload.upload_id)
        if stored is not None:
            await self._execute(*_hints(stored))
        found = "no record" if stored is None else f"version {stored.version}"
        raise StateConflict(
            f"The state store holds {found} of the upload: version {upload.version} "
            "does not follow from that."
        )

    async def _put(self, script: str, upload: Upload) -> Any:
        """Run a script on a record and on what finds it; give its reply."""
        sha, key = self._wire.digest(script), record_key(upload.upload_id)
        data = format_upload(upload)
        self._remember(upload, data)
        record = (upload.version, upload.status.rank, data)
        if not self._has_slots:
            expiry = "" if upload.expires_at is None else upload.expires_at.timestamp()
            found_by = (upload.upload_id, expiry)
            try:
                (reply,) = await self._execute(
                    ("EVALSHA", sha, 3, key, IDS, EXPIRIES, *record, *found_by)
                )
            except ClusterCrossSlotError:
                self._has_slots = True
            else:
                return reply
        *_, reply = await self._execute(*_hints(upload), ("EVALSHA", sha, 1, key, *record))
        return reply

    def _remember(self, upload: Upload, data: bytes) -> None:
        """Know what bytes mean that are about to be written: they are read in a moment."""
        self._written.pop(upload.upload_id, None)
        self._written[upload.upload_id] = data, upload
        if len(self._written) > MAX_WRITTEN:
            del self._written[next(iter(self._written))]

    # --- scripts of others --------------------------------------------------------------

    async def evaluate(self, script: str, keys: Sequence[str], *arguments: str | float) -> Any:
        """Run a script over this connection; give its reply. It may be sent twice.

        Raises: StateUnavailable.
        """
        sha = self._wire.digest(script)
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
        """Wait for the commands that are under way, then let go of the connection."""
        await self._wire.close()

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

    async def _execute(self, *commands: Command) -> list_of[Any]:
        """Send commands in one round trip; give their replies.

        Raises: StateUnavailable; ClusterCrossSlotError when the keys of a command lie in several
        slots, and the server is one of a cluster.
        """
        try:
            with timed(self._meter.state_asked):
                replies = await self._wire.ask(commands)
        except ClusterCrossSlotError:
            raise
        except (RedisError, OSError) as exc:
            self._complaints.failed(exc)
            raise StateUnavailable from exc
        self._complaints.answered()
        return replies


def _hints(upload: Upload) -> list_of[Command]:
    """Make the commands that let `expired` and `list` find an upload."""
    by_id: Command = ("ZADD", IDS, 0, upload.upload_id)
    if upload.expires_at is None:
        return [by_id, ("ZREM", EXPIRIES, upload.upload_id)]
    return [by_id, ("ZADD", EXPIRIES, upload.expires_at.timestamp(), upload.upload_id)]


def _readable(upload_id: UploadId, data: bytes | None) -> Upload | None:
    """Parse a record of an index; one that cannot be read must not hide the others."""
    try:
        return None if data is None else parse_upload(data)
    except StateConflict as error:
        logger.warning("upload %s is left out: %s", upload_id, error.message)
        return None


def _pairs(reply: list_of[bytes]) -> list_of[tuple[str, str]]:
    """Read a reply of CONFIG GET."""
    texts = [text.decode(errors="replace") for text in reply]
    return list(zip(texts[::2], texts[1::2], strict=True))
