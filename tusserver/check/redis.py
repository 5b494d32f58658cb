"""The state store (floor 5): does Redis answer, keep what it is told, and belong to this store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError, ResponseError
from redis.retry import Retry

from tusserver.check.findings import Finding, error, fine, warning
from tusserver.errors import ConfigError
from tusserver.state.redis import STORE
from tusserver.storage.identity import read_identity
from tusserver.storage.layout import Places
from tusserver.values import LOCAL, format_size

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tusserver.config import Settings

PATIENCE = 3.0
"""Seconds that Redis may take for each answer."""
OLDEST = (6, 2)
"""The oldest version that tusserver is tried with."""
NEARLY_FULL = 0.9


def check_state(settings: Settings) -> Iterator[Finding]:
    """Look at the Redis of the settings, if there is one; only reads."""
    if settings.state == LOCAL:
        yield fine("state", "The state lies beside the data.")
        return
    client = Redis.from_url(
        settings.state,
        socket_timeout=PATIENCE,
        socket_connect_timeout=PATIENCE,
        retry=Retry(NoBackoff(), 0),
    )
    shown = settings.state_shown
    try:
        client.ping()
        info: dict[str, Any] = client.info()
        held = client.get(STORE)
    except (AuthenticationError, NoPermissionError) as failure:
        yield error("redis", f"{shown} refuses: {failure}.", "correct user and password in --state")
    except ResponseError as failure:
        yield error("redis", f"{shown} refuses: {failure}.", "is --state a Redis of its own?")
    except (RedisError, OSError) as failure:
        yield error("redis", f"{shown} does not answer: {failure}.", "start it, or correct --state")
    else:
        yield fine("redis", f"{shown} answers: Redis {info.get('redis_version', '?')}.")
        yield from _promises(info)
        yield from _health(info)
        yield from _owner(settings, held if isinstance(held, bytes) else None)
    finally:
        client.close()


def _promises(info: Mapping[str, Any]) -> Iterator[Finding]:
    """Judge its settings by what it says of itself, which everybody may read."""
    version = tuple(int(part) for part in str(info.get("redis_version", "0")).split(".")[:2])
    if version < OLDEST:
        yield warning(
            "redis_version",
            f"Redis {info.get('redis_version')} is older than what tusserver is tried with.",
            f"use Redis {OLDEST[0]}.{OLDEST[1]} or newer",
        )
    if not info.get("aof_enabled"):
        yield warning(
            "redis_appendonly",
            "Redis keeps no append-only file: a restart loses records, which the ledger then has "
            "to restore.",
            "redis.conf: appendonly yes",
        )
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        yield error(
            "redis_eviction",
            f"Redis may drop records when its memory is full (maxmemory-policy {policy}).",
            "redis.conf: maxmemory-policy noeviction",
        )


def _health(info: Mapping[str, Any]) -> Iterator[Finding]:
    for key in ("aof_last_write_status", "aof_last_bgrewrite_status", "rdb_last_bgsave_status"):
        if info.get(key, "ok") != "ok":
            yield error(
                "redis_persistence",
                f"Redis cannot write to its disk ({key}: {info[key]}), and may refuse all changes.",
                "free space on the disk of Redis; see its log",
            )
    if info.get("role") == "slave":
        yield error(
            "redis_role",
            "This Redis is a replica: it takes no changes.",
            "name the master: --state",
        )
    limit, used = int(info.get("maxmemory", 0)), int(info.get("used_memory", 0))
    if limit and used > limit * NEARLY_FULL:
        yield warning(
            "redis_memory",
            f"Redis uses {used} of {format_size(limit)} bytes of its memory: then it refuses new "
            "uploads.",
            "redis.conf: maxmemory",
        )


def _owner(settings: Settings, held: bytes | None) -> Iterator[Finding]:
    """Compare the store that Redis belongs to with the directory, where both are known."""
    try:
        identity = read_identity(Places(Path(settings.upload_dir)))
    except (ConfigError, OSError):
        return  # Told with the directory.
    if held is None or (
        identity is not None and held.decode(errors="replace") == identity.store_id
    ):
        return
    whose = "of another store" if identity is None else f"of store {held.decode(errors='replace')}"
    own = "is new" if identity is None else f"is store {identity.store_id}"
    yield error(
        "redis_store",
        f"Redis holds the records {whose}, but {settings.upload_dir} {own}.",
        "name another Redis or another database in --state, or run tusserver adopt",
    )
